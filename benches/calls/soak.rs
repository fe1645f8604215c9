//! Calls over a wire that loses messages: when all is over, nothing may be left.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::batch::{Inbox, Outbox, local, socket};
use crate::process::{Program, free_ports};
use crate::server::strowger;

/// New calls per second to each of the two numbers.
const RATE: u32 = 50;

/// After the last call so long passes until the gauges are looked at: 64·T1 and some.
const QUIET: Duration = Duration::from_secs(40);

/// A lost BYE and its repeats may hold a caller so long after its last call.
const TAIL: Duration = Duration::from_secs(60);

/// The gauges that count what lives.
const GAUGES: [&str; 3] = ["strowger_calls_active", "strowger_legs_active", "strowger_transactions_active"];

const FORWARDED: &str = "+12015550101";
const HUNTED: &str = "+12015550102";

/// Loses messages and looks for what is left.
#[derive(Args)]
pub struct Soak {
    /// Calls to each of the two numbers
    #[arg(long, default_value_t = 2_000)]
    calls: u32,
    /// Percent lost, each way
    #[arg(long, default_value_t = 5)]
    loss: u32,
    /// Shards, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3])]
    shards: Vec<u8>,
}

impl Soak {
    pub fn run(&self) -> Result<(), String> {
        for shards in &self.shards {
            crate::note(&format!("{shards} shards, {} % lost each way, 2 × {} calls", self.loss, self.calls));
            self.run_with(*shards)?;
        }
        Ok(())
    }

    fn run_with(&self, shards: u8) -> Result<(), String> {
        let words = |e: io::Error| e.to_string();
        let folder = tempfile::tempdir().map_err(words)?;
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [server, admin, gateway, alice, bob, first, second, third] = free_ports(host)?;
        let config = configure(folder.path(), shards, [server, admin, gateway, alice, bob]).map_err(words)?;
        let node = strowger(&config, folder.path())?;
        let _phones = [gateway, alice, bob]
            .map(|port| Self::sipp("benches/peers/lossy_phone.xml", port, folder.path(), self.loss, &[]))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let (rate, calls) = (RATE.to_string(), self.calls.to_string());
        let mut splitters = Vec::new();
        let mut callers = Vec::new();
        for (port, number) in [(first, FORWARDED), (second, HUNTED)] {
            let mut entrance = server;
            if shards > 1 {
                let splitter = Splitter::start(server, port).map_err(words)?;
                entrance = splitter.port;
                splitters.push(splitter);
            }
            let to = format!("127.0.0.1:{entrance}");
            let more = ["-s", number, "-r", &rate, "-m", &calls, "-d", "1000", &to];
            callers.push(Self::sipp("tests/sipp/caller_talks.xml", port, folder.path(), self.loss, &more)?);
        }
        let to = format!("127.0.0.1:{server}");
        let more = ["-s", FORWARDED, "-m", "1", &to];
        let mut rude = Self::sipp("tests/sipp/caller_never_acks.xml", third, folder.path(), 0, &more)?;
        let offered = Duration::from_secs(u64::from(self.calls / RATE));
        for caller in &mut callers {
            caller.wait(offered + TAIL)?;
        }
        let hung_up_on = rude.wait(TAIL)?.success();
        hung_up_on.then_some(()).ok_or_else(|| format!("no BYE to who never ACKs: {}", rude.last_words()))?;
        thread::sleep(QUIET);
        let verdict = judge(admin, &folder.path().join("data/cdr"), self.calls * 2 + 1);
        verdict.map_err(|e| format!("{e}\n{}", node.last_words()))
    }

    fn sipp(scenario: &str, port: u16, folder: &Path, loss: u32, more: &[&str]) -> Result<Program, String> {
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(format!("{}/{scenario}", env!("CARGO_MANIFEST_DIR")));
        command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-p", &port.to_string()]);
        command.args(["-lost", &loss.to_string(), "-l", "20000"]).args(more);
        Program::start(&format!("sipp-{port}"), &mut command, folder)
    }
}

fn configure(folder: &Path, shards: u8, ports: [u16; 5]) -> io::Result<std::path::PathBuf> {
    let [server, admin, gateway, alice, bob] = ports;
    let config = folder.join("config");
    fs::create_dir_all(config.join("routing"))?;
    fs::write(
        config.join("strowger.toml"),
        format!(
            "[node]\nname = \"soak\"\ndata_dir = \"{}\"\nshards = {shards}\n\
             [[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:{server}\"\n\
             [admin]\naddr = \"127.0.0.1:{admin}\"\n",
            folder.join("data").display()
        ),
    )?;
    // Both agents take many calls at once: it is the wire that is tested.
    let agent = |name: &str, port: u16| {
        format!("[[agent]]\nname = \"{name}\"\ncontact = \"sip:{name}@127.0.0.1:{port}\"\nmax_calls = 1000\n")
    };
    fs::write(
        config.join("routing/all.toml"),
        format!(
            "[dial]\nallow = [\"+1\"]\n\
             [[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\noutbound = true\noptions_interval = 0\n\
             gateways = [{{ uri = \"sip:127.0.0.1:{gateway}\" }}]\n{}{}\
             [[number]]\ndid = \"{FORWARDED}\"\nforward_to = \"+12025550199\"\n\
             [[number]]\ndid = \"{HUNTED}\"\nring = [\"alice\", \"bob\"]\n",
            agent("alice", alice),
            agent("bob", bob)
        ),
    )?;
    Ok(config)
}

/// Every gauge is 0, and there is one record per call.
fn judge(admin: u16, records: &Path, calls: u32) -> Result<(), String> {
    let mut answer =
        ureq::get(format!("http://127.0.0.1:{admin}/metrics")).call().map_err(|e| e.to_string())?;
    let metrics = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
    for gauge in GAUGES {
        let line = metrics.lines().find(|line| line.starts_with(gauge)).unwrap_or(gauge);
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        if value != Some(0.0) {
            return Err(format!("not 0 after {QUIET:?}: {line}"));
        }
        crate::note(&format!("  {line}"));
    }
    // So many had to be repeated: the losses took place.
    for line in metrics.lines().filter(|line| line.starts_with("strowger_sip_retransmissions_total")) {
        crate::note(&format!("  {line}"));
    }
    let files = fs::read_dir(records).map_err(|e| format!("{}: {e}", records.display()))?.flatten();
    let texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
    let written: usize = texts.map(|text| text.lines().count()).sum();
    crate::note(&format!("  {written} records of {calls} calls"));
    if u32::try_from(written) == Ok(calls) {
        Ok(())
    } else {
        Err(format!("{written} records of {calls} calls"))
    }
}

/// Stands before the server and sends ACK, CANCEL and BYE from another port than all else.
struct Splitter {
    port: u16,
    over: Arc<AtomicBool>,
    works: Option<JoinHandle<io::Result<()>>>,
}

impl Splitter {
    fn start(server: u16, caller: u16) -> io::Result<Splitter> {
        let sockets = [socket(0)?, socket(0)?, socket(0)?];
        let port = sockets[0].local_addr()?.port();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let works = thread::spawn(move || split(&sockets, server, caller, &told));
        Ok(Splitter { port, over, works: Some(works) })
    }
}

impl Drop for Splitter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(works) = self.works.take() {
            works.join().ok();
        }
    }
}

fn split(sockets: &[UdpSocket; 3], server: u16, caller: u16, over: &AtomicBool) -> io::Result<()> {
    let [entrance, some, others] = sockets;
    let (mut inbox, mut to_caller) = (Inbox::new(), Outbox::new());
    let (mut by_some, mut by_others) = (Outbox::new(), Outbox::new());
    while !over.load(Ordering::Relaxed) {
        let mut wanted = sockets.each_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        poll(&mut wanted, PollTimeout::from(100u8))?;
        while inbox.receive(entrance)? > 0 {
            for (message, _) in inbox.messages() {
                let apart = [&b"ACK "[..], b"CANCEL ", b"BYE "].iter().any(|word| message.starts_with(word));
                let by = if apart { &mut by_others } else { &mut by_some };
                by.wire.extend_from_slice(message);
                by.post(local(server).into());
            }
            by_some.flush(some)?;
            by_others.flush(others)?;
        }
        for socket in [some, others] {
            while inbox.receive(socket)? > 0 {
                for (message, _) in inbox.messages() {
                    to_caller.wire.extend_from_slice(message);
                    to_caller.post(local(caller).into());
                }
                to_caller.flush(entrance)?;
            }
        }
    }
    Ok(())
}
