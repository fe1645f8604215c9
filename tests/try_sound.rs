//! `strowger try` with sound, on the sample configuration: what caller and phone hear is left as sound files.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use process::{Program, free_ports};
use ran::Ran;
use sound::{prompt, read_wav, said};
use strowger::call::story::Way;
use strowger::trial::Told;
use tempfile::TempDir;

#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "support/process.rs"]
mod process;
#[path = "common/ran.rs"]
mod ran;
#[path = "common/sample.rs"]
mod sample;
#[expect(dead_code, reason = "shared with tests that ask for more")]
#[path = "support/sound.rs"]
mod sound;

const DID: &str = "+12015550101";
const FORWARD: &str = "+12015550199";

#[test]
fn whoever_is_asked_presses_1_and_what_both_hear_is_left_and_told() {
    let world = World::new();
    let ran = world.run(&["try", DID, "--press", "1"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let told: Vec<&str> = ran.out.lines().filter_map(|line| Some(line.split_once('●')?.1)).collect();
    let told: Vec<&str> = told.iter().map(|line| line.trim_start_matches([' ', '│'])).collect();
    let expected = [
        "whisper: +12015550199 hears it",
        "asked to press 1: +12015550199",
        "pressed 1: +12015550199",
        "notice: ",
        "notice: ",
        "bridged: caller and +12015550199 hear each other",
        "recorded: ",
    ];
    assert_eq!(told.len(), expected.len(), "{}", ran.out);
    assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:#?}");
    let files: Vec<&str> = ran.out.lines().rev().take(2).collect();
    assert!(files[1].starts_with("heard by caller: try-caller.wav ("), "{}", ran.out);
    assert!(files[0].starts_with("heard by +12015550199: try-phone.wav ("), "{}", ran.out);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);

    let (caller, phone) = (world.heard("try-caller.wav"), world.heard("try-phone.wav"));
    let at = |heard: &[f32], what: &[f32]| said(heard, what);
    let whisper = at(&phone, &prompt("main-street").unwrap()).unwrap();
    let asked = at(&phone, &prompt("press-one").unwrap()).unwrap();
    let notice = at(&phone, &prompt("notice").unwrap()).unwrap();
    let talk = at(&phone, &speech("caller")).unwrap();
    assert!(whisper < asked && asked < notice && notice < talk, "{whisper:?} {asked:?} {notice:?} {talk:?}");
    assert!(at(&caller, &prompt("notice").unwrap()) < at(&caller, &speech("phone")));
    assert!(at(&caller, &speech("phone")).is_some());
    for (heard, kept_away) in [
        (&caller, prompt("main-street").unwrap()),
        (&caller, prompt("press-one").unwrap()),
        (&caller, speech("caller")),
        (&phone, speech("phone")),
    ] {
        assert_eq!(at(heard, &kept_away), None);
    }
    let recording = told[6].trim_start_matches("recorded: ");
    let [left, right] = <[Vec<f32>; 2]>::try_from(read_wav(Path::new(recording)).unwrap()).unwrap();
    assert!(at(&left, &speech("caller")).is_some() && at(&right, &speech("phone")).is_some());
    assert!(at(&right, &speech("caller")).is_none() && at(&left, &speech("phone")).is_none());
}

#[test]
fn without_the_key_the_caller_lands_in_voicemail_and_the_message_is_there() {
    let world = World::new();
    let numbers = world.folder.path().join("config/routing/numbers.toml");
    let text = std::fs::read_to_string(&numbers).unwrap();
    std::fs::write(numbers, text.replace("call_connect_seconds = 10", "call_connect_seconds = 4")).unwrap();
    let told = world.told(&["--out", "heard/here"], 1);
    assert!(told.summary.starts_with("not bridged: voicemail after "), "{}", told.summary);
    assert!(!told.bridged && told.with.is_none());
    let turns: Vec<String> =
        told.ladder.iter().filter(|line| line.way == Way::Here).map(|line| line.what.to_string()).collect();
    assert_eq!(turns[..2], ["whisper", "asked to press 1"]);
    assert_eq!(turns[turns.len() - 3..], ["greeting", "tone", "message"]);
    assert!(turns[1..turns.len() - 3].iter().all(|turn| turn == "asked to press 1"), "{turns:?}");
    let files: Vec<(&str, &Path)> = told.heard.iter().map(|heard| (&*heard.by, &*heard.file)).collect();
    assert_eq!(
        files,
        [
            ("caller", Path::new("heard/here/try-caller.wav")),
            (FORWARD, Path::new("heard/here/try-phone.wav"))
        ]
    );
    let caller = world.heard("heard/here/try-caller.wav");
    assert!(said(&caller, &prompt("greeting").unwrap()).is_some());
    assert!(said(&caller, &prompt("main-street").unwrap()).is_none());
    assert!(said(&world.heard("heard/here/try-phone.wav"), &prompt("press-one").unwrap()).is_some());
    let message = read_wav(&told.written_down.unwrap()).unwrap();
    assert_eq!(message.len(), 1);
    assert!(said(&message[0], &speech("caller")).is_some());
    assert_eq!(told.cdr.unwrap().outcome.label(), "voicemail");
}

#[test]
fn agents_hear_the_whisper_press_nothing_and_of_two_the_first_talks() {
    let world = World::new();
    let _node = world.serve();
    let told = world.told(&["+12015550102", "--answer", "0.1"], 0);
    assert_eq!(told.with.as_deref(), Some("alice"));
    assert_eq!(told.heard.iter().map(|heard| &*heard.by).collect::<Vec<_>>(), ["caller", "alice"]);
    let phone = world.heard("try-phone.wav");
    assert!(said(&phone, &prompt("oak-avenue").unwrap()) < said(&phone, &speech("caller")));
    assert!(said(&world.heard("try-caller.wav"), &prompt("oak-avenue").unwrap()).is_none());
}

#[test]
fn the_sample_serves_and_says_how_to_try_it_with_a_key() {
    let world = World::new();
    // No synthesiser is there to be found.
    let ran = Ran::of(world.command(&["check", "--deny-warnings"]).env("PATH", "/nowhere").output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let node = world.serve();
    let line = format!("try it: strowger try {DID} --press 1");
    assert!(node.printed().lines().any(|printed| printed == line), "{}", node.printed());
}

/// The sample configuration, on addresses that nobody else has.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> World {
        let host = own_host();
        let [sip, admin, gateway, alice, bob] = free_ports(host).unwrap();
        let folder = TempDir::new().unwrap();
        let (config, data) = (folder.path().join("config"), folder.path().join("data"));
        let ports = [("5060", sip), ("8060", admin), ("5080", gateway), ("5090", alice), ("5091", bob)];
        sample::place(&config, &data, host, &ports).unwrap();
        World { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
        command.args(args).current_dir(self.folder.path()).env_remove("STROWGER_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// The story of a trial of the first number, or another one, that ends with this code.
    fn told(&self, args: &[&str], code: i32) -> Told {
        let did = if args.iter().any(|arg| arg.starts_with('+')) { &[][..] } else { &[DID] };
        let ran = self.run(&[&["try", "--json"], did, args].concat());
        assert_eq!(ran.code, code, "{}\n{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    fn heard(&self, file: &str) -> Vec<f32> {
        read_wav(&self.folder.path().join(file)).unwrap().remove(0)
    }

    fn serve(&self) -> Program {
        let mut node = Program::start("node", &mut self.command(&["serve"]), self.folder.path()).unwrap();
        let is_ready = |printed: &str| printed.contains("try it: ");
        node.wait_until(Duration::from_secs(10), is_ready).unwrap();
        node
    }
}

/// What an end of a trial says.
fn speech(of: &str) -> Vec<f32> {
    let path = format!("{}/src/trial/{of}.wav", env!("CARGO_MANIFEST_DIR"));
    read_wav(Path::new(&path)).unwrap().remove(0)
}

/// A loopback address that no other test has, so that nobody takes a port between its choice and its use.
fn own_host() -> IpAddr {
    static WORLDS: AtomicU8 = AtomicU8::new(1);
    let [.., b, c] = std::process::id().to_be_bytes();
    let world = WORLDS.fetch_add(1, Ordering::Relaxed);
    let host = IpAddr::V4(Ipv4Addr::new(127, 192 | b & 31, c, world));
    TcpListener::bind((host, 0)).unwrap();
    host
}
