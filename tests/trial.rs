//! `strowger try`: the built program plays the carrier and the phones, and shows the call.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use process::{Program, free_ports};
use ran::Ran;
use strowger::call::story::Way;
use strowger::trial::Told;
use tempfile::TempDir;

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "support/process.rs"]
mod process;
#[path = "common/ran.rs"]
mod ran;

const DID: &str = "+12015550101";
const FORWARD: &str = "forward_to = \"+12015550199\"";
const BOTH: &str = "ring = [\"alice\", \"bob\"]";
/// A quick call.
const QUICK: &[&str] = &["--answer", "0.1", "--hold", "0.1"];

#[test]
fn a_forward_is_bridged_and_its_ladder_shown() {
    let world = World::new(FORWARD);
    let ran = world.tried(QUICK);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let rows: Vec<&str> = ran.out.lines().collect();
    assert!(rows[0].contains("caller") && rows[0].contains("us") && rows[0].contains("+12015550199"));
    assert!(rows[1].contains("├── INVITE ──▶│") && rows[1].contains("for +12015550101"), "{}", rows[1]);
    let last = rows.last().unwrap();
    assert!(last.starts_with("bridged with +12015550199 after 0."), "{last}");
    assert!(last.contains("who was shown +12025550123; the call record says answered"), "{last}");
    assert!(ran.err.contains("one is started for this call"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

#[test]
fn the_story_as_json_holds_every_message_of_each_leg_and_the_record() {
    let world = World::new(FORWARD);
    let told = world.told(&[QUICK, &["--from", "+12025550177"]].concat(), 0);
    let of_caller = "in INVITE, out 100, out 180, out 200, in ACK, in BYE, out 200";
    assert_eq!(leg(&told, 0), of_caller);
    assert_eq!(leg(&told, 1), "out INVITE, in 100, in 180, in 200, out ACK, out BYE, in 200");
    assert_eq!((told.with.as_deref(), told.shown.as_deref()), (Some("+12015550199"), Some("+12025550177")));
    let cdr = told.cdr.unwrap();
    assert_eq!((cdr.outcome.label(), cdr.caller.as_deref()), ("answered", Some("+12025550177")));
    assert_eq!(cdr.legs[0].sip_call_id.as_deref(), Some(&*told.call_id));
}

#[test]
fn of_a_hunt_group_the_first_to_answer_wins_and_the_other_is_told() {
    let told = World::new(BOTH).told(QUICK, 0);
    assert_eq!(told.with.as_deref(), Some("alice"));
    assert_eq!(leg(&told, 1), "out INVITE, in 100, in 180, in 200, out ACK, out BYE, in 200");
    assert_eq!(leg(&told, 2), "out INVITE, in 100, in 180, out CANCEL, in 200, in 487, out ACK");
    let cancel = told.ladder.iter().find(|line| line.what == "CANCEL").unwrap();
    assert!(cancel.note.as_deref().unwrap().contains("Call completed elsewhere"), "{cancel:?}");
}

#[test]
fn a_busy_phone_is_486_and_exit_1() {
    let told = World::new(FORWARD).told(&["--answer", "busy"], 1);
    assert_eq!((told.sip_code, &told.with), (Some(486), &None));
    assert_eq!(leg(&told, 0), "in INVITE, out 100, out 486, in ACK");
    assert_eq!(leg(&told, 1), "out INVITE, in 100, in 486, out ACK");
    assert!(told.summary.starts_with("not bridged: 486 Busy Here; the call record says busy"));
}

/// The records of a real node, through the configuration that it had and through another.
#[test]
fn its_records_replayed_by_the_same_configuration_are_alike_and_by_another_they_are_not() {
    let world = World::new(BOTH);
    assert_eq!(world.tried(QUICK).code, 0);
    assert_eq!(world.tried(&["--answer", "busy"]).code, 1);
    assert_eq!(world.run(&["try", "+12015550177"]).code, 1);
    let records = std::fs::read_dir(world.folder.path().join("data/cdr")).unwrap();
    let files: Vec<String> = records.map(|file| file.unwrap().path().display().to_string()).collect();
    let mut replay = vec!["check", "--replay"];
    replay.extend(files.iter().map(String::as_str));
    let ran = world.run(&replay);
    let all_alike = "3 calls read, 0 would be routed otherwise, 0 could not be judged\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, all_alike), "{}", ran.err);

    let routing = world.folder.path().join("config/routing/all.toml");
    let text = std::fs::read_to_string(&routing).unwrap();
    let text = text.replace(BOTH, FORWARD) + "[[number]]\ndid = \"+12015550177\"\nring = [\"bob\"]\n";
    std::fs::write(&routing, text).unwrap();
    let ran = world.run(&replay);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let to_other = "rang alice and bob, would ring +12015550199 for 20 s (and 1 call more to this number)\n";
    assert!(ran.out.contains(to_other), "{}", ran.out);
    assert!(ran.out.contains("+12015550177 from +12025550123"), "{}", ran.out);
    assert!(ran.out.contains(": was answered 404, would ring bob for 20 s\n"), "{}", ran.out);
}

#[test]
fn a_phone_that_never_answers_rings_until_the_node_ends_it_with_480() {
    let told = World::new("ring = [\"alice\"]\ntimeout = 1").told(&["--answer", "never"], 1);
    assert_eq!(told.sip_code, Some(480));
    assert_eq!(leg(&told, 1), "out INVITE, in 100, in 180, out CANCEL, in 200, in 487, out ACK");
    assert_eq!(told.cdr.unwrap().outcome.label(), "no_answer");
}

#[test]
fn a_number_that_is_not_ours_is_404_and_exit_1() {
    let world = World::new(FORWARD);
    let ran = world.run(&["try", "+12015550177", "--press", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains("│◀── 404 ─────┤  Not Found"), "{}", ran.out);
    assert!(ran.out.contains("not bridged: 404 Not Found; the call record says failed"), "{}", ran.out);
    assert!(ran.err.contains("nothing to press"), "{}", ran.err);
}

#[test]
fn a_node_that_runs_is_called() {
    let world = World::new(FORWARD);
    let _node = world.serve();
    let told = world.told(QUICK, 0);
    assert_eq!(serde_json::to_value(told.node).unwrap(), "running");
    assert_eq!(told.with.as_deref(), Some("+12015550199"));
    assert_eq!(told.cdr.unwrap().outcome.label(), "answered");
    let ran = world.tried(QUICK);
    assert!(ran.err.contains("the node on udp:") && ran.code == 0, "{}", ran.err);
}

#[test]
fn a_node_that_listens_on_ipv6_alone_is_called_there() {
    let world = World::at(Ipv6Addr::LOCALHOST.into(), "udp", FORWARD);
    let told = world.told(QUICK, 0);
    assert_eq!(leg(&told, 0), "in INVITE, out 100, out 180, out 200, in ACK, in BYE, out 200");
    assert!(told.call_id.ends_with("@::1"), "{}", told.call_id);
}

#[test]
fn a_node_that_listens_on_tcp_alone_is_called_there_and_rings_by_tcp() {
    let world = World::at(own_host(), "tcp", BOTH);
    let told = world.told(QUICK, 0);
    assert_eq!(leg(&told, 0), "in INVITE, out 100, out 180, out 200, in ACK, in BYE, out 200");
    assert_eq!(leg(&told, 2), "out INVITE, in 100, in 180, out CANCEL, in 200, in 487, out ACK");
}

#[test]
fn phones_that_somebody_else_plays_are_left_to_them() {
    let world = World::new(BOTH);
    let _alice = UdpSocket::bind(SocketAddr::new(world.host, world.alice)).unwrap();
    let ran = world.tried(QUICK);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("alice is not played: somebody listens on udp"), "{}", ran.err);
    assert!(ran.out.contains("bridged with bob"), "{}", ran.out);
}

#[test]
fn whoever_is_no_node_is_exit_3() {
    let world = World::new(FORWARD);
    let silent = UdpSocket::bind(SocketAddr::new(world.host, world.sip)).unwrap();
    let ran = world.tried(QUICK);
    drop(silent);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("answers no INVITE"), "{}", ran.err);

    let node = world.serve();
    let toml = world.folder.path().join("config/strowger.toml");
    let [elsewhere] = free_ports(world.host).unwrap();
    let elsewhere = elsewhere.to_string();
    let text = std::fs::read_to_string(&toml).unwrap().replace(&world.sip.to_string(), &elsewhere);
    std::fs::write(&toml, text).unwrap();
    let ran = world.tried(QUICK);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{}", ran.err);
    assert!(ran.err.contains(&format!("another node runs on it (process {})", node.id())), "{}", ran.err);
}

#[test]
fn nobody_is_rung_who_is_not_on_this_machine() {
    let world = World::new(FORWARD);
    let routing = world.folder.path().join("config/routing/all.toml");
    let text = std::fs::read_to_string(&routing).unwrap();
    let gateway = format!("sip:{}:{}", world.host, world.gateway);
    std::fs::write(&routing, text.replace(&gateway, "sip:192.0.2.1")).unwrap();
    let ran = world.tried(QUICK);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(
        ran.err.contains("a gateway of trunk carrier is at sip:192.0.2.1;transport=udp, not on this machine"),
        "{}",
        ran.err
    );

    std::fs::write(&routing, "[[number]]\ndid = \"12\"\n").unwrap();
    let ran = world.tried(QUICK);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("config/routing/all.toml:2:"), "{}", ran.err);
}

#[test]
fn what_cannot_be_meant_is_usage() {
    let world = World::new(FORWARD);
    for args in [&["--answer", "perhaps"][..], &["--hold", "-1"], &["--press", "2"], &["--answer", "4000"]] {
        let ran = world.tried(args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}");
    }
    let ran = world.run(&["try", "nobody"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("\"nobody\" is no number"), "{}", ran.err);
}

/// A configuration on addresses that nobody else has.
struct World {
    folder: TempDir,
    host: IpAddr,
    sip: u16,
    gateway: u16,
    alice: u16,
}

impl World {
    fn new(number: &str) -> World {
        World::at(own_host(), "udp", number)
    }

    fn at(host: IpAddr, transport: &str, number: &str) -> World {
        let [sip, gateway, alice, bob] = free_ports(host).unwrap();
        let place = |port: u16| SocketAddr::new(host, port);
        let folder = TempDir::new().unwrap();
        std::fs::create_dir_all(folder.path().join("config/routing")).unwrap();
        let toml = format!(
            "[node]\nname = \"test\"\n[[listen]]\ntransport = \"{transport}\"\naddr = \"{}\"\n",
            place(sip)
        );
        std::fs::write(folder.path().join("config/strowger.toml"), toml).unwrap();
        let toml = format!(
            "[dial]\nallow = [\"+1\"]\n\
             [[trunk]]\nname = \"carrier\"\nfrom = [\"{host}\"]\noutbound = true\n\
             gateways = [{{ uri = \"sip:{};transport={transport}\" }}]\n\
             [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@{};transport={transport}\"\n\
             [[agent]]\nname = \"bob\"\ncontact = \"sip:bob@{};transport={transport}\"\n\
             [[number]]\ndid = \"{DID}\"\n{number}\n",
            place(gateway),
            place(alice),
            place(bob),
        );
        std::fs::write(folder.path().join("config/routing/all.toml"), toml).unwrap();
        World { folder, host, sip, gateway, alice }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
        command.args(args).current_dir(self.folder.path()).env_remove("STROWGER_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    fn tried(&self, args: &[&str]) -> Ran {
        self.run(&[&["try", DID], args].concat())
    }

    /// The story of a trial that ends with this code.
    fn told(&self, args: &[&str], code: i32) -> Told {
        let ran = self.tried(&[args, &["--json"]].concat());
        assert_eq!(ran.code, code, "{}\n{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    /// A node of its own process.
    fn serve(&self) -> Program {
        let mut node = Program::start("node", &mut self.command(&["serve"]), self.folder.path()).unwrap();
        let ready = |printed: &str| printed.lines().any(|line| line.starts_with("ready"));
        node.wait_until(Duration::from_secs(10), ready).unwrap();
        node
    }
}

/// What a leg said and heard.
fn leg(told: &Told, leg: u16) -> String {
    let lines = told.ladder.iter().filter(|line| line.leg == leg);
    let words = lines.map(|line| match line.way {
        Way::In => format!("in {}", line.what),
        Way::Out => format!("out {}", line.what),
        Way::Here => line.what.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A loopback address that no other test has, so that nobody takes a port between its choice and its use.
fn own_host() -> IpAddr {
    static WORLDS: AtomicU8 = AtomicU8::new(1);
    let [.., b, c] = std::process::id().to_be_bytes();
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    let host = IpAddr::V4(Ipv4Addr::new(127, 128 | b & 63, c, world));
    TcpListener::bind((host, 0)).unwrap();
    host
}
