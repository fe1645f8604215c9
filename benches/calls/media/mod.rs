//! What audio costs: calls whose voices go through Strowger and through rtpengine, in one run, on one machine.
//! `scripts/bench-media` starts it.

mod calls;
mod ng;
mod talk;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;

use crate::batch::socket;
use crate::load::Ports;
use crate::metrics;
use crate::process::{Program, free_ports, until};
use crate::report::median;
use crate::server::{Setting, one_gateway, strowger};
use crate::usage;
use calls::Calls;
use ng::Engine;
use talk::{Party, Talk, Way};

/// Ports for audio, below those that the system gives out by itself.
const PORTS: (u16, u16) = (20_000, 29_999);
const PORTS_OF_OTHERS: (u16, u16) = (10_000, 19_999);

/// All speak for so long before it counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long a server may take until nothing is left of a run.
const QUIET: Duration = Duration::from_secs(45);

/// So much less than what was said may be in a recording: its last second is not yet there when the call ends.
const MISSING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// From socket to socket: what the kernel and this program take for themselves
    Direct,
    /// Relayed
    Strowger,
    /// Relayed and recorded, in two channels
    StrowgerRecorded,
    /// Rung, whispered to, pressed 1, bridged and recorded
    StrowgerConnect,
    Rtpengine,
    /// Relayed, and its packets written down as they come
    RtpengineRecorded,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::Direct => "nothing in between",
            Kind::Strowger => "Strowger",
            Kind::StrowgerRecorded => "Strowger, recorded in stereo",
            Kind::StrowgerConnect => "Strowger: ring, whisper, press 1, bridge, stereo recording",
            Kind::Rtpengine => "rtpengine, user space",
            Kind::RtpengineRecorded => "rtpengine, user space, packets recorded",
        }
    }

    /// The number that is dialled, in the rows of the bench.
    fn row(self) -> u32 {
        match self {
            Kind::StrowgerRecorded => 1,
            Kind::StrowgerConnect => 2,
            Kind::Direct | Kind::Strowger | Kind::Rtpengine | Kind::RtpengineRecorded => 0,
        }
    }

    fn is_recorded(self) -> bool {
        match self {
            Kind::StrowgerRecorded | Kind::StrowgerConnect | Kind::RtpengineRecorded => true,
            Kind::Direct | Kind::Strowger | Kind::Rtpengine => false,
        }
    }
}

/// Speaks through servers and looks at what that costs.
#[derive(Args)]
#[command(name = "scripts/bench-media", disable_version_flag = true)]
pub struct Audio {
    /// Calls at once
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1_000])]
    calls: Vec<u32>,
    /// Rounds; in each every server is measured with each number of calls
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long all speak
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// What to compare
    #[arg(long, value_delimiter = ',', default_values = ["direct", "strowger", "strowger-recorded",
        "strowger-connect", "rtpengine", "rtpengine-recorded"])]
    servers: Vec<Kind>,
    /// rtpengine is not asked for more calls at once: with these two cores are full
    #[arg(long, default_value_t = 300)]
    most_of_others: u32,
    /// A first impression: one round of 5 s with 100 and 300 calls
    #[arg(long)]
    quick: bool,
}

/// One run.
struct Figure {
    round: u32,
    /// CPU µs per packet that arrived.
    packet: f64,
    /// Cores, of this machine's.
    cores: f64,
    sent: u64,
    lost: u64,
    crossed: u64,
    gaps: u64,
    delay: Histogram<u64>,
    /// KiB per call.
    memory: f64,
}

impl Audio {
    pub fn run(mut self) -> Result<(), String> {
        if self.quick {
            (self.rounds, self.seconds, self.calls) = (1, 5, vec![100, 300]);
        }
        nix::sys::prctl::set_timerslack(1).map_err(|e| e.to_string())?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut bench = Bench::new(folder.path(), &self.servers)?;
        let mut figures: BTreeMap<(Kind, u32), Vec<Figure>> = BTreeMap::new();
        for round in 0..self.rounds {
            for count in &self.calls {
                for kind in &self.servers {
                    let others = matches!(kind, Kind::Rtpengine | Kind::RtpengineRecorded);
                    if others && *count > self.most_of_others {
                        continue;
                    }
                    let figure = bench.measure(*kind, round, *count, self.seconds)?;
                    crate::note(&format!(
                        "round {}, {count} calls, {}: {:.2} µs a packet, {:.3} cores, {} of {} lost, {} gaps, \
                         {:.3} / {:.3} ms, {:.1} KiB a call",
                        round + 1,
                        kind.title(),
                        figure.packet,
                        figure.cores,
                        figure.lost,
                        figure.sent,
                        figure.gaps,
                        figure.at(0.5),
                        figure.at(0.99),
                        figure.memory
                    ));
                    if figure.crossed > 0 {
                        return Err(format!("{} packets were heard in another's call", figure.crossed));
                    }
                    figures.entry((*kind, *count)).or_default().push(figure);
                }
            }
        }
        let table = self.markdown(&figures).map_err(|e| e.to_string())?;
        writeln!(
            io::stdout(),
            "Machine: {}. 20 ms PCMU both ways, {} s a run, medians of {} rounds.\n\n{table}",
            usage::machine(),
            self.seconds,
            self.rounds
        )
        .map_err(|e| e.to_string())
    }

    fn markdown(&self, figures: &BTreeMap<(Kind, u32), Vec<Figure>>) -> Result<String, std::fmt::Error> {
        let mut text = String::from(
            "| | calls | CPU µs a packet | cores per 100 calls | lost | gaps over 60 ms | ms from mouth to ear: \
             p50 / p99 | added: p50 / p99 | KiB a call |\n|---|---|---|---|---|---|---|---|---|\n",
        );
        for ((kind, count), of) in figures {
            let middle = |value: &dyn Fn(&Figure) -> f64| median(of.iter().map(value));
            let lost: u64 = of.iter().map(|figure| figure.lost).sum();
            let gaps: u64 = of.iter().map(|figure| figure.gaps).sum();
            let direct = figures.get(&(Kind::Direct, *count));
            let added = |share| {
                let each = of.iter().filter_map(|figure| {
                    let floor = direct?.iter().find(|floor| floor.round == figure.round)?;
                    Some(figure.at(share) - floor.at(share))
                });
                median(each)
            };
            write!(text, "| {} | {count} ", kind.title())?;
            let is_direct = *kind == Kind::Direct;
            if is_direct {
                write!(text, "| – | – ")?;
            } else {
                let cores = middle(&|figure| figure.cores) * 100.0 / f64::from(*count);
                write!(text, "| {:.2} | {cores:.3} ", middle(&|figure| figure.packet))?;
            }
            let (half, most) = (middle(&|figure| figure.at(0.5)), middle(&|figure| figure.at(0.99)));
            write!(text, "| {lost} | {gaps} | {half:.3} / {most:.3} ")?;
            if is_direct {
                writeln!(text, "| – | – |")?;
            } else {
                let memory = middle(&|figure| figure.memory);
                writeln!(text, "| {:.3} / {:.3} | {memory:.1} |", added(0.5), added(0.99))?;
            }
        }
        Ok(text)
    }
}

impl Figure {
    /// Milliseconds.
    fn at(&self, share: f64) -> f64 {
        self.delay.value_at_quantile(share) as f64 / 1e6
    }
}

/// The servers, all running, and who speaks through them.
struct Bench {
    talk: Talk,
    sip: [UdpSocket; 2],
    node: Option<(Program, Ports, u16)>,
    engine: Option<Engine>,
    folder: PathBuf,
    runs: u32,
}

impl Bench {
    fn new(folder: &Path, servers: &[Kind]) -> Result<Bench, String> {
        let words = |e: io::Error| e.to_string();
        let [server, admin, ng] = free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let sip = [socket(0).map_err(words)?, socket(0).map_err(words)?];
        let [caller, far] = [&sip[0], &sip[1]].map(|socket| socket.local_addr().map(|addr| addr.port()));
        let ports = Ports { server, caller: caller.map_err(words)?, far: far.map_err(words)? };
        let ours =
            |kind: &Kind| matches!(kind, Kind::Strowger | Kind::StrowgerRecorded | Kind::StrowgerConnect);
        let node = match servers.iter().any(ours) {
            true => {
                let config = configure(ports, admin, folder).map_err(words)?;
                Some((strowger(&config, folder)?, ports, admin))
            }
            false => None,
        };
        let theirs = |kind: &Kind| matches!(kind, Kind::Rtpengine | Kind::RtpengineRecorded);
        let engine = match servers.iter().any(theirs) {
            true => Some(Engine::start(folder, ng, PORTS_OF_OTHERS)?),
            false => None,
        };
        let talk = Talk::new().map_err(words)?;
        Ok(Bench { talk, sip, node, engine, folder: folder.to_owned(), runs: 0 })
    }

    /// One run: calls are set up, all speak, all end.
    fn measure(&mut self, kind: Kind, round: u32, count: u32, seconds: u32) -> Result<Figure, String> {
        let words = |e: io::Error| e.to_string();
        self.runs += 1;
        let run = self.runs;
        let time = Duration::from_secs(seconds.into());
        let missing = || "this server was not started".to_owned();
        let mut figure = match kind {
            Kind::Direct => {
                let [caller, far] = [Party::Caller, Party::Far].map(|party| self.talk.port(party));
                let way = Way { caller: far.map_err(words)?, far: caller.map_err(words)? };
                speak(&mut self.talk, None, &vec![way; count as usize], time, 0)?
            }
            Kind::Strowger | Kind::StrowgerRecorded | Kind::StrowgerConnect => {
                let (program, ports, admin) = self.node.as_ref().ok_or_else(missing)?;
                let before = usage::memory(program.id()).map_err(words)?;
                let presses = kind == Kind::StrowgerConnect;
                let sip = [&self.sip[0], &self.sip[1]];
                let mut calls =
                    Calls::new((*ports, sip), (run, kind.row()), &self.talk, presses).map_err(words)?;
                let ways = calls.set_up(count)?;
                let figure = speak(&mut self.talk, Some(program.id()), &ways, time, before)?;
                calls.end()?;
                let is_quiet = || metrics::read(*admin).is_ok_and(|text| metrics::alive(&text).is_empty());
                until(QUIET, is_quiet).then_some(()).ok_or("calls are left")?;
                if kind.is_recorded() {
                    self.written_down(count, time + WARM_UP)?;
                }
                figure
            }
            Kind::Rtpengine | Kind::RtpengineRecorded => {
                let engine = self.engine.as_mut().ok_or_else(missing)?;
                let before = usage::memory(engine.id()).map_err(words)?;
                let ways = engine.set_up(run, count, &self.talk, kind.is_recorded())?;
                let figure = speak(&mut self.talk, Some(engine.id()), &ways, time, before)?;
                engine.end(run, count)?;
                figure
            }
        };
        figure.round = round;
        Ok(figure)
    }

    /// Every call is in a file of two channels, from its first word to its last; then they are in nobody's way.
    fn written_down(&self, count: u32, time: Duration) -> Result<(), String> {
        let folder = self.folder.join("data/recordings");
        let mut files = Vec::new();
        wavs(&folder, &mut files).map_err(|e| e.to_string())?;
        // 16 bits, two channels, 8,000 a second.
        let least = (time.saturating_sub(MISSING)).as_secs() * 32_000;
        let whole = files.iter().filter(|file| fs::metadata(file).is_ok_and(|file| file.len() >= least));
        let whole = whole.count();
        fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
        match whole == count as usize {
            true => Ok(()),
            false => Err(format!("of {count} calls {} are recorded, {whole} of them whole", files.len())),
        }
    }
}

fn wavs(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            wavs(&path, files)?;
        } else if path.extension().is_some_and(|name| name == "wav") {
            files.push(path);
        }
    }
    Ok(())
}

/// All speak; what that takes of a server, which had `before` KiB before there was a call.
fn speak(
    talk: &mut Talk,
    server: Option<u32>,
    ways: &[Way],
    time: Duration,
    before: u64,
) -> Result<Figure, String> {
    let words = |e: io::Error| e.to_string();
    let used = || server.map_or(Ok(0), usage::cpu).map_err(words);
    talk.run(ways, WARM_UP).map_err(words)?;
    let began = used()?;
    let heard = talk.run(ways, time).map_err(words)?;
    let cpu = (used()? - began) as f64;
    let memory = server.map_or(Ok(0), usage::memory).map_err(words)?;
    // What waits on the way when the time is over is not missing.
    thread::sleep(talk::FRAME);
    Ok(Figure {
        round: 0,
        packet: cpu / 1e3 / heard.received.max(1) as f64,
        cores: cpu / time.as_nanos() as f64,
        sent: heard.sent,
        lost: heard.sent.saturating_sub(heard.received),
        crossed: heard.crossed,
        gaps: heard.gaps,
        delay: heard.delay,
        memory: memory.saturating_sub(before) as f64 / ways.len().max(1) as f64,
    })
}

/// A node that carries audio: one number is forwarded, one is recorded too, one has all that there is.
fn configure(ports: Ports, admin: u16, folder: &Path) -> io::Result<PathBuf> {
    let far = one_gateway(ports.far);
    let setting = Setting { ports, shards: 1, admin: Some(admin), far: &far, numbers: 0, agents: "" };
    let config = setting.write(folder)?;
    let node = config.join("strowger.toml");
    let media = format!("[media]\naddr = \"127.0.0.1\"\nports = \"{}-{}\"\n", PORTS.0, PORTS.1);
    fs::write(&node, fs::read_to_string(&node)? + &media)?;
    fs::remove_file(config.join("routing/numbers.csv"))?;
    let mut numbers = String::new();
    for (kind, keys) in [
        (Kind::Strowger, ""),
        (Kind::StrowgerRecorded, "record = true\n"),
        (Kind::StrowgerConnect, "record = true\ncall_connect = true\nwhisper = { file = \"whisper.wav\" }\n"),
    ] {
        let row = kind.row();
        write!(
            numbers,
            "[[number]]\ndid = \"+1555{row:07}\"\nforward_to = \"+1202{row:07}\"\ntimeout = 60\n{keys}"
        )
        .map_err(io::Error::other)?;
    }
    fs::write(config.join("routing/numbers.toml"), numbers)?;
    let whisper = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prompts/main-street.wav");
    fs::copy(whisper, config.join("routing/whisper.wav"))?;
    Ok(config)
}
