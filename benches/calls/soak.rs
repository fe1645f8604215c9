//! Calls over a wire that loses messages: when all is over, nothing may be left.

use std::collections::BTreeMap;
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
use serde_json::Value;

use crate::batch::{Inbox, Outbox, local, socket};
use crate::process::{Program, free_ports};
use crate::server::strowger;

/// New calls per second to each of the three numbers.
const RATE: u32 = 50;

/// After the last call so long passes until the gauges are looked at: 64·T1 and some.
const QUIET: Duration = Duration::from_secs(40);

/// A lost BYE and its repeats may hold a caller so long after its last call.
const TAIL: Duration = Duration::from_secs(60);

/// The gauges that count what lives.
const GAUGES: [&str; 3] = ["strowger_calls_active", "strowger_legs_active", "strowger_transactions_active"];

/// Rings for 200 ms and answers.
const ANSWERS: &str = "benches/peers/lossy_phone.xml";

const FORWARDED: &str = "+12015550101";
const HUNTED: &str = "+12015550102";
const LEFT_RINGING: &str = "+12015550103";
const NEVER_ACKED: &str = "+12015550104";

/// One caller: what it plays, whom it calls, and how its calls must end.
struct Caller {
    scenario: &'static str,
    number: &'static str,
    calls: u32,
    /// Percent lost, each way.
    loss: u32,
    outcome: &'static str,
    sip_code: u64,
    ended_by: &'static str,
}

impl Caller {
    fn all(calls: u32, loss: u32) -> [Caller; 4] {
        let talks = Caller {
            scenario: "tests/sipp/caller_talks.xml",
            number: FORWARDED,
            calls,
            loss,
            outcome: "answered",
            sip_code: 200,
            ended_by: "caller",
        };
        [
            Caller { number: HUNTED, ..talks },
            Caller {
                scenario: "benches/peers/lossy_caller_cancels.xml",
                number: LEFT_RINGING,
                outcome: "cancelled",
                sip_code: 487,
                ..talks
            },
            Caller {
                scenario: "tests/sipp/caller_never_acks.xml",
                number: NEVER_ACKED,
                calls: 1,
                loss: 0,
                ended_by: "us",
                ..talks
            },
            talks,
        ]
    }

    /// How many of its calls may end otherwise. The wire loses a call when each of an INVITE's six sendings (SIPp's
    /// default) is lost, or what answers it: at 5 % that is one in a million, and a BYE or CANCEL is sent oftener.
    /// Three times that for each of a call's four transactions, on its two sides, rounded up: at 5 % one call in all.
    fn may_fail(&self) -> u32 {
        const SENDINGS: i32 = 6;
        const TRANSACTIONS: f64 = 4.0;
        const MARGIN: f64 = 3.0;
        let arrives = 1.0 - f64::from(self.loss) / 100.0;
        let lost = (1.0 - arrives * arrives).powi(SENDINGS) * TRANSACTIONS * MARGIN;
        (0..=self.calls).find(|few| f64::from(*few) >= f64::from(self.calls) * lost).unwrap_or(self.calls)
    }

    /// Compares what SIPp says of its calls, by the statistics that it left.
    fn completed(&self, statistics: &Path) -> Result<(), String> {
        let text = fs::read_to_string(statistics).map_err(|e| format!("{}: {e}", statistics.display()))?;
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let last: Vec<&str> = lines.next_back().unwrap_or_default().split(';').collect();
        let figure = |wanted: &str| {
            let at = names.clone().position(|name| name == wanted)?;
            last.get(at)?.parse::<u32>().ok()
        };
        let completed = figure("SuccessfulCall(C)").unwrap_or(0);
        crate::note(&format!("  {}: {completed} of {} calls completed", self.number, self.calls));
        self.enough("calls completed for their caller", completed)
    }

    /// Compares the records of its calls.
    fn recorded(&self, records: &[Value]) -> Result<(), String> {
        let own = records.iter().filter(|record| record["did"] == self.number);
        let right = format!("{} {} by {}", self.outcome, self.sip_code, self.ended_by);
        let mut ends: BTreeMap<String, u32> = BTreeMap::new();
        for record in own {
            let end = |key: &str| record[key].as_str().unwrap_or("nothing");
            let told = format!("{} {} by {}", end("outcome"), record["sip_code"], end("ended_by"));
            if told != right {
                crate::note(&format!("  {told}: {record}"));
            }
            *ends.entry(told).or_default() += 1;
        }
        crate::note(&format!("  {}: {ends:?}", self.number));
        self.enough(&format!("records say \"{right}\""), ends.get(&right).copied().unwrap_or(0))
    }

    fn enough(&self, what: &str, of: u32) -> Result<(), String> {
        let least = self.calls - self.may_fail();
        let says = || format!("{}: {of} {what}, of {} calls; at least {least} must", self.number, self.calls);
        (of >= least).then_some(()).ok_or_else(says)
    }
}

/// Loses messages and looks for what is left.
#[derive(Args)]
pub struct Soak {
    /// Calls to each of the three numbers
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
            crate::note(&format!("{shards} shards, {} % lost each way, 3 × {} calls", self.loss, self.calls));
            self.run_with(*shards)?;
        }
        Ok(())
    }

    fn run_with(&self, shards: u8) -> Result<(), String> {
        let words = |e: io::Error| e.to_string();
        let folder = tempfile::tempdir().map_err(words)?;
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [server, admin, gateway, alice, bob, carol, ports @ ..] = free_ports::<10>(host)?;
        let far = [server, admin, gateway, alice, bob, carol];
        let config = configure(folder.path(), shards, far).map_err(words)?;
        let node = strowger(&config, folder.path())?;
        let phones =
            [(gateway, ANSWERS), (alice, ANSWERS), (bob, ANSWERS), (carol, "tests/sipp/phone_rings.xml")]
                .map(|(port, phone)| Self::sipp(phone, port, folder.path(), self.loss, &[]));
        let _phones = phones.into_iter().collect::<Result<Vec<_>, _>>()?;
        let callers = Caller::all(self.calls, self.loss);
        let mut splitters = Vec::new();
        let mut running = Vec::new();
        for (caller, port) in callers.iter().zip(ports) {
            let mut entrance = server;
            if shards > 1 {
                let splitter = Splitter::start(server, port).map_err(words)?;
                entrance = splitter.port;
                splitters.push(splitter);
            }
            let statistics = folder.path().join(format!("{}.csv", caller.number));
            running.push((caller, Self::call(caller, port, entrance, &statistics)?, statistics));
        }
        let offered = Duration::from_secs(u64::from(self.calls / RATE));
        let mut told = Vec::new();
        for (caller, program, statistics) in &mut running {
            // It says by its statistics how it fared: its status is that of its worst call.
            program.wait(offered + TAIL)?;
            told.extend(
                caller.completed(statistics).map_err(|e| format!("{e}\n{}", program.last_words())).err(),
            );
        }
        thread::sleep(QUIET);
        told.extend(judge(admin).err());
        told.extend(count(&folder.path().join("data/cdr"), &callers));
        if told.is_empty() { Ok(()) } else { Err(format!("{}\n{}", told.join("\n"), node.last_words())) }
    }

    fn call(caller: &Caller, port: u16, entrance: u16, statistics: &Path) -> Result<Program, String> {
        let (rate, calls) = (RATE.to_string(), caller.calls.to_string());
        let (to, file) = (format!("127.0.0.1:{entrance}"), statistics.display().to_string());
        let more =
            ["-s", caller.number, "-r", &rate, "-m", &calls, "-d", "1000", "-trace_stat", "-stf", &file, &to];
        let folder = statistics.parent().unwrap_or(Path::new(""));
        Self::sipp(caller.scenario, port, folder, caller.loss, &more)
    }

    fn sipp(scenario: &str, port: u16, folder: &Path, loss: u32, more: &[&str]) -> Result<Program, String> {
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(format!("{}/{scenario}", env!("CARGO_MANIFEST_DIR")));
        command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-p", &port.to_string()]);
        command.args(["-lost", &loss.to_string(), "-l", "20000"]).args(more);
        Program::start(&format!("sipp-{port}"), &mut command, folder)
    }
}

fn configure(folder: &Path, shards: u8, ports: [u16; 6]) -> io::Result<std::path::PathBuf> {
    let [server, admin, gateway, alice, bob, carol] = ports;
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
    // The agents take many calls at once: it is the wire that is tested.
    let agent = |name: &str, port: u16| {
        format!("[[agent]]\nname = \"{name}\"\ncontact = \"sip:{name}@127.0.0.1:{port}\"\nmax_calls = 1000\n")
    };
    fs::write(
        config.join("routing/all.toml"),
        format!(
            "[dial]\nallow = [\"+1\"]\n\
             [[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\noutbound = true\noptions_interval = 0\n\
             gateways = [{{ uri = \"sip:127.0.0.1:{gateway}\" }}]\n{}{}{}\
             [[number]]\ndid = \"{FORWARDED}\"\nforward_to = \"+12025550199\"\n\
             [[number]]\ndid = \"{HUNTED}\"\nring = [\"alice\", \"bob\"]\n\
             [[number]]\ndid = \"{LEFT_RINGING}\"\nring = [\"carol\"]\n\
             [[number]]\ndid = \"{NEVER_ACKED}\"\nforward_to = \"+12025550199\"\n",
            agent("alice", alice),
            agent("bob", bob),
            agent("carol", carol)
        ),
    )?;
    Ok(config)
}

/// Every gauge is 0.
fn judge(admin: u16) -> Result<(), String> {
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
    Ok(())
}

/// There is one record for each call, and it tells the end that its caller saw. What is wrong, of all of them.
fn count(folder: &Path, callers: &[Caller]) -> Vec<String> {
    let mut records: Vec<Value> = Vec::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        records.extend(text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()));
    }
    let calls: u32 = callers.iter().map(|caller| caller.calls).sum();
    let written = format!("{} records of {calls} calls", records.len());
    crate::note(&format!("  {written}"));
    let number = u32::try_from(records.len()) != Ok(calls);
    let ends = callers.iter().filter_map(|caller| caller.recorded(&records).err());
    number.then_some(written).into_iter().chain(ends).collect()
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
