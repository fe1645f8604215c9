//! Programs that a test or a bench starts: each writes into its own log, is waited for with a limit and is
//! ended by its id, whatever becomes of the test.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a condition of another process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long an ended program may take to go before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// Lines of a program's log that an error repeats.
const LAST_WORDS: usize = 30;

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`; what it prints goes to `<folder>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Program, String> {
        let log = folder.join(format!("{name}.log"));
        let open = || -> io::Result<(File, File)> {
            let out = File::create(&log)?;
            Ok((out.try_clone()?, out))
        };
        let (out, err) = open().map_err(|e| format!("{}: {e}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        match command.stdin(Stdio::null()).stdout(out).stderr(err).spawn() {
            Ok(child) => Ok(Program { name: name.to_owned(), child, log }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(format!("`{program}` is not installed; scripts/test installs what the tests need"))
            }
            Err(e) => Err(format!("{program}: {e}")),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of that, for an error.
    pub fn last_words(&self) -> String {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    /// Waits until `done` is true of what it has printed; an early end is an error.
    pub fn wait_until(&mut self, limit: Duration, done: impl Fn(&str) -> bool) -> Result<(), String> {
        until(limit, || done(&self.printed()) || !matches!(self.child.try_wait(), Ok(None)));
        if done(&self.printed()) {
            return Ok(());
        }
        Err(format!("{} did not get so far; it printed:\n{}", self.name, self.last_words()))
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let mut end = None;
        until(limit, || {
            end = self.child.try_wait().ok().flatten();
            end.is_some()
        });
        end.ok_or_else(|| {
            format!("{} still runs after {limit:?}; it printed:\n{}", self.name, self.last_words())
        })
    }

    /// Asks it to end, twice (a server that drains ends at the second), then kills it.
    pub fn end(&mut self) {
        let id = Pid::from_raw(self.id().cast_signed());
        for limit in [GRACE / 10, GRACE] {
            if !matches!(self.child.try_wait(), Ok(None)) || kill(id, Signal::SIGTERM).is_err() {
                return;
            }
            until(limit, || !matches!(self.child.try_wait(), Ok(None)));
        }
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Looks at `condition` until it holds or `limit` has passed; says whether it held.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(LOOK);
    }
}

/// Ports of `host` that are free for UDP and TCP, chosen by the system, no two the same.
pub fn free_ports<const N: usize>(host: IpAddr) -> Result<[u16; N], String> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    let mut fill = || -> io::Result<()> {
        for port in &mut ports {
            // Held until all are chosen.
            let (tcp, udp) = loop {
                let tcp = TcpListener::bind((host, 0))?;
                if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?) {
                    break (tcp, udp);
                }
            };
            *port = tcp.local_addr()?.port();
            held.push((tcp, udp));
        }
        Ok(())
    };
    fill().map_err(|e| format!("no free port on {host}: {e}"))?;
    Ok(ports)
}
