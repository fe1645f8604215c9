//! A node on its own loopback address, the programs that call it and are called, and what it wrote down.

pub mod baresip;
#[expect(dead_code, clippy::unwrap_used, reason = "shared with tests that ask for more, and end by a panic")]
#[path = "../common/certs.rs"]
mod certs;
pub mod process;
#[path = "../common/sample.rs"]
mod sample;
pub mod sound;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::Duration;

use certs::Ca;
use process::{Program, free_ports, until};
use serde_json::Value;
use tempfile::TempDir;

/// The number that every test dials.
pub const DID: &str = "+12015550101";

/// How long the node may take to bind, or a program to be ready.
const START: Duration = Duration::from_secs(10);

/// How long a scenario may take. The longest waits a second or two.
const SCENARIO: Duration = Duration::from_secs(20);

/// How long a record may take to reach the disk.
const RECORD: Duration = Duration::from_secs(5);

/// How much of each of its files an error repeats, in characters: thousands of calls may have failed alike.
const REPEATED: usize = 20_000;

/// SIPp's first media port, below those that the system chooses.
const MEDIA: u16 = 6_000;

/// How many SIPps have been started; each has media ports of its own.
static SIPPS: AtomicU16 = AtomicU16::new(0);

/// What a test returns: the first thing that went wrong, in words.
pub type Outcome = Result<(), String>;

/// The usual keys of the trunk.
const TRUNK: &str = "gateways = [{ uri = \"sip:{gateway}\" }]\noptions_interval = 0";

/// The real program with one number, one trunk and two agents.
pub struct World {
    pub host: IpAddr,
    /// Where the node listens, UDP and TCP.
    pub sip: u16,
    /// Where it listens by TLS, with a certificate that `ca.pem` in the folder has signed.
    pub secure: u16,
    /// Where it answers operators.
    pub admin: u16,
    /// The only port from which the trunk calls.
    pub carrier: u16,
    pub gateway: u16,
    pub alice: u16,
    pub bob: u16,
    /// Where the files of this test's programs are.
    pub folder: TempDir,
    node: Program,
}

impl World {
    /// Starts it; `number` is what `[[number]]` says besides its `did`.
    pub fn start(number: &str) -> Result<World, String> {
        World::start_so(number, TRUNK, 1)
    }

    /// The same with more keys for the trunk, where `{gateway}` and `{bob}` stand for an address each.
    pub fn start_with(number: &str, trunk: &str) -> Result<World, String> {
        World::start_so(number, trunk, 1)
    }

    /// The same with so many signalling threads.
    pub fn with_shards(number: &str, shards: u8) -> Result<World, String> {
        World::start_so(number, TRUNK, shards)
    }

    fn start_so(number: &str, trunk: &str, shards: u8) -> Result<World, String> {
        let routing = format!(
            "[dial]\nallow = [\"+1\"]\n\
             [[trunk]]\nname = \"carrier\"\nfrom = [\"{{host}}:{{carrier}}\"]\noutbound = true\n\
             {trunk}\n\
             [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@{{alice}}\"\n\
             [[agent]]\nname = \"bob\"\ncontact = \"sip:bob@{{bob}}\"\n\
             [[agent]]\nname = \"carol\"\npassword = \"swordfish\"\nnumber = \"{DID}\"\n\
             [[number]]\ndid = \"{DID}\"\n{number}\n"
        );
        World::of(&routing, shards, &[])
    }

    /// A node with that `config/routing/all.toml` and environment. `{host}` stands for its host, `{carrier}` for the
    /// carrier's port, and `{gateway}`, `{alice}` and `{bob}` for an address each.
    pub fn of(routing: &str, shards: u8, environment: &[(&str, &str)]) -> Result<World, String> {
        World::of_node(routing, shards, environment, "")
    }

    /// The same whose audio comes through it, with the prompts of the sample configuration.
    pub fn with_audio(routing: &str) -> Result<World, String> {
        World::with_audio_by(routing, "20000-20099")
    }

    /// The same with these ports for it.
    pub fn with_audio_by(routing: &str, ports: &str) -> Result<World, String> {
        World::of_node(routing, 1, &[], &format!("[media]\naddr = \"{{host}}\"\nports = \"{ports}\"\n"))
    }

    fn of_node(routing: &str, shards: u8, environment: &[(&str, &str)], more: &str) -> Result<World, String> {
        let host = own_host();
        let [sip, secure, admin, carrier, gateway, alice, bob] = free_ports(host)?;
        let folder = TempDir::new().map_err(|e| e.to_string())?;
        let config = folder.path().join("config");
        let data = folder.path().join("data");
        let routing = routing.replace("{host}", &host.to_string()).replace("{carrier}", &carrier.to_string());
        let routing = [("{gateway}", gateway), ("{alice}", alice), ("{bob}", bob)]
            .iter()
            .fold(routing, |text, (name, port)| text.replace(name, &format!("{host}:{port}")));
        let ca = Ca::new("root");
        write(&folder.path().join("ca.pem"), &ca.pem)?;
        ca.issue(&[&host.to_string()]).write(&config.join("tls"));
        write(
            &config.join("strowger.toml"),
            &format!(
                "[node]\nname = \"test\"\nshards = {shards}\ndata_dir = \"{}\"\n\
                 [[listen]]\ntransport = \"udp\"\naddr = \"{host}:{sip}\"\n\
                 [[listen]]\ntransport = \"tcp\"\naddr = \"{host}:{sip}\"\n\
                 [[listen]]\ntransport = \"tls\"\naddr = \"{host}:{secure}\"\ncert = \"tls/edge.pem\"\n\
                 key = \"tls/edge.key\"\n[admin]\naddr = \"{host}:{admin}\"\n{}",
                data.display(),
                more.replace("{host}", &host.to_string())
            ),
        )?;
        write(&config.join("routing/all.toml"), &routing)?;
        if !more.is_empty() {
            let prompts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/prompts"));
            sample::copy(prompts, &config.join("prompts")).map_err(|e| e.to_string())?;
        }
        let node = start(&folder, environment)?;
        Ok(World { host, sip, secure, admin, carrier, gateway, alice, bob, folder, node })
    }

    /// A node with the sample configuration, but for its addresses: nobody else's, and the audio of carrier and gateways
    /// may come from another one than they say, as baresip's does on loopback.
    pub fn of_sample() -> Result<World, String> {
        let host = own_host();
        let [sip, secure, admin, carrier, gateway, alice, bob] = free_ports(host)?;
        let folder = TempDir::new().map_err(|e| e.to_string())?;
        let (config, data) = (folder.path().join("config"), folder.path().join("data"));
        let ports = [("5060", sip), ("8060", admin), ("5080", gateway), ("5090", alice), ("5091", bob)];
        sample::place(&config, &data, host, &ports).map_err(|e| e.to_string())?;
        let trunk = config.join("routing/carrier.toml");
        let text = fs::read_to_string(&trunk).map_err(|e| e.to_string())?;
        write(&trunk, &text.replace("outbound = true", "nat = true\noutbound = true"))?;
        let node = start(&folder, &[])?;
        Ok(World { host, sip, secure, admin, carrier, gateway, alice, bob, folder, node })
    }

    /// A SIPp that plays `tests/sipp/<scenario>.xml` on `port` once it is called.
    pub fn phone(&self, scenario: &str, port: u16, more: &[&str]) -> Result<Sipp, String> {
        self.plays(&scenario_file(scenario), port, more)
    }

    /// A gateway on `port` that refuses a call with that status, like `503 Service Unavailable`.
    pub fn gateway_that_says(&self, status: &str, port: u16) -> Result<Sipp, String> {
        // SIPp takes a code from its scenario alone.
        let text = fs::read_to_string(scenario_file("gateway_fails")).map_err(|e| e.to_string())?;
        let file = self.folder.path().join(format!("fails-{port}.xml"));
        write(&file, &text.replace("503 Service Unavailable", status))?;
        self.plays(&file, port, &[])
    }

    fn plays(&self, scenario: &Path, port: u16, more: &[&str]) -> Result<Sipp, String> {
        let phone = self.sipp(scenario, port, more, None)?;
        let protocol = if more.contains(&"t1") { "tcp" } else { "udp" };
        if until(START, || is_bound(protocol, port)) {
            return Ok(phone);
        }
        Err(format!("{} does not listen: {}", scenario.display(), phone.program.last_words()))
    }

    /// A SIPp that calls the node from `port` and plays `tests/sipp/<scenario>.xml`.
    pub fn caller(&self, scenario: &str, port: u16, more: &[&str]) -> Result<Sipp, String> {
        self.caller_by((self.host, self.sip), scenario, port, more)
    }

    /// The same, but it calls whoever is at `to` and stands between.
    pub fn caller_by(
        &self,
        to: (IpAddr, u16),
        scenario: &str,
        port: u16,
        more: &[&str],
    ) -> Result<Sipp, String> {
        self.sipp(&scenario_file(scenario), port, more, Some(format!("{}:{}", to.0, to.1)))
    }

    fn sipp(&self, scenario: &Path, port: u16, more: &[&str], to: Option<String>) -> Result<Sipp, String> {
        let play = scenario.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{play}-{port}");
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}"));
        let (host, limit) = (self.host.to_string(), SCENARIO.as_secs().to_string());
        let media = (MEDIA + SIPPS.fetch_add(1, Ordering::Relaxed) % 1_000 * 20).to_string();
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(scenario).args(["-i", &host, "-mi", &host, "-mp", &media]);
        command.args(["-p", &port.to_string(), "-m", "1", "-nostdin", "-timeout", &limit, "-timeout_error"]);
        command.arg("-trace_err").arg("-error_file").arg(file("errors"));
        command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
        command.arg("-trace_logs").arg("-log_file").arg(file("said"));
        command.args(["-s", DID]).args(more).args(to);
        let program = Program::start(&name, &mut command, self.folder.path())?;
        Ok(Sipp { program, said: file("said"), errors: file("errors"), messages: file("messages") })
    }

    /// Which process the node is.
    pub fn node(&self) -> u32 {
        self.node.id()
    }

    /// What one of the node's metrics says, labels summed up.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let metrics = format!("http://{}:{}/metrics", self.host, self.admin);
        let mut answer = ureq::get(metrics).call().map_err(|e| e.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
        let of_it = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        Ok(text.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// What the command line tells of the running node, as JSON.
    pub fn told(&self, command: &str) -> Result<Value, String> {
        let mut ran = Command::new(env!("CARGO_BIN_EXE_strowger"));
        let ran = ran.arg(command).args(["--json", "--config"]).arg(self.folder.path().join("config"));
        let output = ran.output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("{command}: {e}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What a command of ours prints that must be done.
    pub fn strowger(&self, args: &[String]) -> Result<String, String> {
        let mut ran = Command::new(env!("CARGO_BIN_EXE_strowger"));
        let ran = ran.args(args).arg("--config").arg(self.folder.path().join("config"));
        let output = ran.output().map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{args:?}: {}{}", text(&output.stdout), text(&output.stderr))),
        }
    }

    /// The call records, once there are `count`; each line must be one.
    pub fn cdrs(&self, count: usize) -> Result<Vec<Value>, String> {
        let folder = self.folder.path().join("data/cdr");
        let lines = || -> Vec<String> {
            let files = fs::read_dir(&folder).into_iter().flatten().flatten();
            let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        until(RECORD, || lines().len() >= count);
        let lines = lines();
        if lines.len() != count {
            return Err(format!(
                "{} call records, not {count}: {lines:#?}\n{}",
                lines.len(),
                self.node.last_words()
            ));
        }
        lines.iter().map(|line| serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))).collect()
    }

    /// The only call record.
    pub fn cdr(&self) -> Result<Value, String> {
        self.cdrs(1)?.pop().ok_or_else(|| "no call record".to_owned())
    }
}

/// One SIPp with one scenario.
pub struct Sipp {
    program: Program,
    said: PathBuf,
    errors: PathBuf,
    messages: PathBuf,
}

impl Sipp {
    /// Every message that it has sent and received so far.
    pub fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default()
    }

    /// Waits for the scenario's end, which must be the expected one. What the scenario logged comes back.
    pub fn finish(mut self) -> Result<String, String> {
        let end = self.program.wait(SCENARIO + START);
        let text = |path: &Path| -> String {
            fs::read_to_string(path).unwrap_or_default().chars().take(REPEATED).collect()
        };
        match end {
            Ok(status) if status.success() => Ok(text(&self.said)),
            Ok(status) => Err(format!(
                "{} ended with {status}\n{}\n{}",
                self.said.display(),
                text(&self.errors),
                text(&self.messages)
            )),
            Err(late) => Err(format!("{late}\n{}", text(&self.messages))),
        }
    }
}

fn scenario_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sipp/{name}.xml"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Serves the configuration in that folder.
fn start(folder: &TempDir, environment: &[(&str, &str)]) -> Result<Program, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
    command.envs(environment.iter().copied());
    command.args(["serve", "--config"]).arg(folder.path().join("config"));
    let mut node = Program::start("node", &mut command, folder.path())?;
    node.wait_until(START, |printed| printed.lines().any(|line| line.starts_with("ready")))?;
    Ok(node)
}

/// A loopback address that no other world has, so that nobody takes a port between its choice and its use.
pub fn own_host() -> IpAddr {
    static WORLDS: AtomicU8 = AtomicU8::new(1);
    let [.., b, c] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 | b & 63, c, WORLDS.fetch_add(1, Ordering::Relaxed).clamp(1, 254)))
}

/// Whether somebody on this machine holds `port`, by the kernel's own list (`udp` or `tcp`).
pub fn is_bound(protocol: &str, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    fs::read_to_string(format!("/proc/net/{protocol}")).is_ok_and(|list| {
        list.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&wanted))
    })
}
