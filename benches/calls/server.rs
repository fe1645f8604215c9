//! The servers that are compared, each with the same 100,000 numbers and the same far end.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::{Load, Offer, Ports};
use crate::message::NUMBERS;
use crate::process::{Program, until};

/// How long a server may take until its first calls go through.
const START: Duration = Duration::from_secs(60);

/// How nice a server is to a load program that has no processor of its own: a tenth of its weight.
const YIELDING: &str = "10";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// Moves the datagrams without looking at them.
    Relay,
    Strowger,
    /// With its fast allocator: -x fm -X fm.
    KamailioFm,
    /// As Debian ships it.
    Kamailio,
}

impl Kind {
    pub const COUNT: usize = 4;

    pub fn title(self) -> &'static str {
        match self {
            Kind::Relay => "bare relay of the same datagrams",
            Kind::Strowger => "Strowger, B2BUA",
            Kind::KamailioFm => "Kamailio, proxy, `-x fm -X fm`",
            Kind::Kamailio => "Kamailio, proxy, as Debian ships it",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Kind::Relay => "relay",
            Kind::Strowger => "strowger",
            Kind::KamailioFm => "kamailio-fm",
            Kind::Kamailio => "kamailio",
        }
    }
}

/// One of them, running.
pub struct Server {
    pub kind: Kind,
    pub ports: Ports,
    folder: PathBuf,
    program: Program,
}

impl Server {
    /// Starts it and calls until it answers.
    pub fn start(kind: Kind, ports: Ports, folder: &Path) -> Result<Server, String> {
        let folder = folder.join(kind.file());
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let program = launch(kind, ports, &folder)?;
        Server { kind, ports, folder, program }.working()
    }

    /// Strowger with so many shards and its metrics, and out of the load program's way: where it has threads for
    /// every processor it would starve who offers the calls, and the far end with it.
    pub fn overloaded(ports: Ports, folder: &Path, shards: u8, admin: u16) -> Result<Server, String> {
        let folder = folder.to_owned();
        let config = configure(ports, &folder, shards, Some(admin)).map_err(|e| e.to_string())?;
        let yields =
            std::thread::available_parallelism().is_ok_and(|cores| usize::from(shards) >= cores.get());
        let program = if yields {
            let mut command = Command::new("nice");
            command.args(["-n", YIELDING, env!("CARGO_BIN_EXE_strowger")]);
            serve(command, &config, &folder)?
        } else {
            strowger(&config, &folder)?
        };
        Server { kind: Kind::Strowger, ports, folder, program }.working()
    }

    fn working(self) -> Result<Server, String> {
        let warm_up =
            Offer { rate: 200, calls: 20, hold: Duration::ZERO, patience: Duration::from_millis(400) };
        let load = Load::new(self.ports).map_err(|e| e.to_string())?;
        let works =
            until(START, || load.offer(warm_up).is_ok_and(|outcome| outcome.completed == warm_up.calls));
        works.then_some(()).ok_or_else(|| {
            format!("{} does not answer; it printed:\n{}", self.kind.file(), self.program.last_words())
        })?;
        Ok(self)
    }

    /// Ends it and starts it anew: after an overload it would work off what is left.
    pub fn restart(&mut self) -> Result<(), String> {
        self.program.end();
        let folder = self.folder.parent().unwrap_or(&self.folder).to_owned();
        *self = Server::start(self.kind, self.ports, &folder)?;
        Ok(())
    }

    /// Where Strowger's call records are.
    pub fn records(&self) -> PathBuf {
        self.folder.join("data/cdr")
    }

    pub fn id(&self) -> u32 {
        self.program.id()
    }
}

fn launch(kind: Kind, ports: Ports, folder: &Path) -> Result<Program, String> {
    let Ports { server, caller, far } = ports;
    let words = |e: io::Error| e.to_string();
    match kind {
        Kind::Relay => {
            let mut command = Command::new(std::env::current_exe().map_err(words)?);
            command.args(["relay", &server.to_string(), &caller.to_string(), &far.to_string()]);
            Program::start("relay", &mut command, folder)
        }
        Kind::Strowger => {
            let config = configure(ports, folder, 1, None).map_err(words)?;
            strowger(&config, folder)
        }
        Kind::Kamailio | Kind::KamailioFm => {
            let text = include_str!("../peers/kamailio.cfg");
            let text = text.replace("@PORT@", &server.to_string()).replace("@FAR@", &far.to_string());
            let config = folder.join("kamailio.cfg");
            fs::write(&config, text).map_err(words)?;
            let mut command = Command::new("kamailio");
            // In the foreground, with room for 20,000 held calls, its sockets and pid file in its own folder.
            command.args(["-DD", "-E", "-m", "512", "-M", "16", "-Y"]).arg(folder).arg("-f").arg(&config);
            if kind == Kind::KamailioFm {
                command.args(["-x", "fm", "-X", "fm"]);
            }
            Program::start(kind.file(), &mut command, folder)
        }
    }
}

/// Starts the release build on `config`; its log is in `folder`.
pub fn strowger(config: &Path, folder: &Path) -> Result<Program, String> {
    serve(Command::new(env!("CARGO_BIN_EXE_strowger")), config, folder)
}

fn serve(mut command: Command, config: &Path, folder: &Path) -> Result<Program, String> {
    let mut program = Program::start("strowger", command.arg("serve").arg("--config").arg(config), folder)?;
    program.wait_until(START, |printed| printed.lines().any(|line| line.starts_with("ready")))?;
    Ok(program)
}

/// Sends a program a signal.
pub fn signal(program: &Program, signal: Signal) -> Result<(), String> {
    let id = Pid::from_raw(program.id().cast_signed());
    kill(id, signal).map_err(|e| format!("process {id}: {e}"))
}

/// What Strowger is to serve beside its numbers.
pub struct Setting<'a> {
    pub ports: Ports,
    pub shards: u8,
    pub admin: Option<u16>,
    /// Keys of the trunk out.
    pub far: &'a str,
    /// How many of the numbers it has.
    pub numbers: u32,
    /// Agents, in the words of a configuration.
    pub agents: &'a str,
}

impl Setting<'_> {
    /// Writes it down: one trunk in, one out, numbers that are forwarded.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let Setting { ports: Ports { server, .. }, shards, admin, far, numbers: count, agents } = self;
        let admin = admin.map(|port| format!("[admin]\naddr = \"127.0.0.1:{port}\"\n")).unwrap_or_default();
        let (config, data) = (folder.join("config"), folder.join("data"));
        fs::create_dir_all(config.join("routing"))?;
        fs::write(
            config.join("strowger.toml"),
            format!(
                "[node]\nname = \"bench\"\ndata_dir = \"{}\"\nshards = {shards}\n\
                 [[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:{server}\"\n{admin}",
                data.display()
            ),
        )?;
        fs::write(
            config.join("routing/trunks.toml"),
            format!(
                "[dial]\nallow = [\"+1\"]\n\
                 [[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\noptions_interval = 0\n\
                 [[trunk]]\nname = \"far\"\noutbound = true\n{far}\n"
            ),
        )?;
        fs::write(config.join("routing/agents.toml"), agents)?;
        let mut numbers = String::from("did,forward_to\n");
        for row in 0..*count {
            writeln!(numbers, "+1555{row:07},+1202{row:07}").map_err(io::Error::other)?;
        }
        fs::write(config.join("routing/numbers.csv"), numbers)?;
        Ok(config)
    }
}

/// One gateway that is never asked how it is.
pub fn one_gateway(port: u16) -> String {
    format!("options_interval = 0\ngateways = [{{ uri = \"sip:127.0.0.1:{port}\" }}]")
}

fn configure(ports: Ports, folder: &Path, shards: u8, admin: Option<u16>) -> io::Result<PathBuf> {
    let far = one_gateway(ports.far);
    Setting { ports, shards, admin, far: &far, numbers: NUMBERS, agents: "" }.write(folder)
}
