//! Audio through the node, with a soft phone that is not ours at either end: what each side hears is what it should
//! hear, by correlation with what was said.

#[expect(dead_code, reason = "shared with tests that ask for more")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::process::{Program, free_ports, until};
use support::sound::{RATE, noise, prompt, read_wav, said, write_wav};
use support::{DID, Outcome, World};

/// How long a phone may take to be ready, and a call to come to its end.
const PHONE: Duration = Duration::from_secs(30);

/// Where distributions put baresip's modules.
const MODULES: [&str; 3] = [
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/local/lib/baresip/modules",
];

/// A baresip with a sound for a microphone, that keeps what it hears.
struct Talker {
    program: Program,
    folder: PathBuf,
    keys: String,
}

impl Talker {
    fn new(world: &World, name: &str, port: u16, account: &str, seed: u32) -> Result<Talker, String> {
        let folder = world.folder.path().join(name);
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let host = world.host;
        let [keys] = free_ports(host)?;
        let modules = MODULES.iter().find(|path| Path::new(path).is_dir());
        let modules = modules.ok_or_else(|| format!("baresip's modules are in none of {MODULES:?}"))?;
        let voice = folder.join("voice.wav");
        write_wav(&voice, &noise(seed))?;
        let config = format!(
            "module_path {modules}\nsip_listen {host}:{port}\nnet_interface {host}\n\
             audio_player aubridge,alone\naudio_source aufile,{}\naudio_alert aubridge,alone\n\
             module g711.so\nmodule aubridge.so\nmodule aufile.so\nmodule sndfile.so\nsnd_path {}\n\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen {host}:{keys}\n",
            voice.display(),
            folder.display(),
        );
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| e.to_string());
        write("config", &config)?;
        write("accounts", account)?;
        write("contacts", "")?;
        let mut command = Command::new("baresip");
        command.args(["-4", "-s", "-f"]).arg(&folder);
        let mut program = Program::start(name, &mut command, world.folder.path())?;
        program.wait_until(PHONE, |printed| printed.contains("baresip is ready"))?;
        Ok(Talker { program, folder, keys: format!("{host}:{keys}") })
    }

    /// Types a command, as its user would.
    fn does(&self, command: &str, with: &str) -> Outcome {
        let said = serde_json::json!({ "command": command, "params": with }).to_string();
        let mut keys = TcpStream::connect(&self.keys).map_err(|e| e.to_string())?;
        write!(keys, "{}:{said},", said.len()).map_err(|e| e.to_string())?;
        // It tells of events too; it has done it when it answers.
        let (mut answer, mut buffer) = (Vec::new(), [0; 1_024]);
        keys.set_read_timeout(Some(PHONE)).map_err(|e| e.to_string())?;
        while !String::from_utf8_lossy(&answer).contains("\"response\":true") {
            match keys.read(&mut buffer).map_err(|e| e.to_string())? {
                0 => return Err(format!("{command}: {}", String::from_utf8_lossy(&answer))),
                length => answer.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(())
    }

    fn prints(&mut self, what: &str) -> Outcome {
        self.program.wait_until(PHONE, |printed| printed.contains(what))
    }

    /// What it has heard, once its call is over.
    fn heard(&self) -> Result<Vec<f32>, String> {
        let dump = || find(&self.folder, "-dec.wav").and_then(|path| Some(read_wav(&path).ok()?.remove(0)));
        // It says how long it is when it is closed.
        until(PHONE, || dump().is_some_and(|heard| !heard.is_empty()));
        dump().ok_or_else(|| "baresip kept nothing".to_owned())
    }
}

/// The node with the sample configuration, a caller behind the carrier, and at its gateway the phone that +12015550101
/// is forwarded to.
fn world() -> Result<(World, Talker, Talker), String> {
    let world = World::of_sample()?;
    let (host, sip) = (world.host, world.sip);
    let caller = format!("<sip:+14155550001@{host}:{sip}>;regint=0;audio_codecs=PCMU/8000/1");
    let caller = Talker::new(&world, "caller", world.carrier, &caller, 1)?;
    let gateway = world.gateway;
    let called =
        format!("<sip:+12015550199@{host}:{gateway}>;regint=0;answermode=auto;audio_codecs=PCMU/8000/1");
    let called = Talker::new(&world, "called", gateway, &called, 2)?;
    caller.does("dial", &format!("sip:{DID}@{host}:{sip}"))?;
    Ok((world, caller, called))
}

#[test]
fn r06_r07_baresip_hears_the_whisper_presses_1_and_both_are_heard_and_recorded() -> Outcome {
    let (world, mut caller, mut called) = world()?;
    called.prints("Call established")?;
    // The whisper lasts 3.1 s; what follows it asks for the key.
    std::thread::sleep(Duration::from_secs(4));
    called.does("sndcode", "1")?;
    caller.prints("Call established")?;
    // Talk: there is nothing else to wait for.
    std::thread::sleep(Duration::from_secs(6));
    caller.does("hangup", "")?;
    called.prints("session closed")?;
    let cdr = world.cdr()?;
    let told = (&cdr["outcome"], &cdr["recording"]);
    let id = cdr["recording"].as_str().unwrap_or_default();
    let shown = world.strowger(&["call".to_owned(), id.to_owned()])?;
    assert!(shown.contains(&format!("recording: /v1/recordings/{id}\n")), "{shown}");
    assert_eq!(told, (&"answered".into(), &cdr["id"]), "{cdr:#}\n{}", called.program.printed());
    let (theirs, ours) = (called.heard()?, caller.heard()?);
    let whisper = said(&theirs, &prompt("main-street")?).ok_or("no whisper")?;
    let asked = said(&theirs, &prompt("press-one")?).ok_or("not asked to press 1")?;
    let notice = said(&theirs, &prompt("notice")?).ok_or("no notice for the called side")?;
    let talk = said(&theirs, &noise(1)).ok_or("the caller is not heard")?;
    assert!(whisper < asked && asked < notice && notice < talk, "{whisper:?} {asked:?} {notice:?} {talk:?}");
    let notice = said(&ours, &prompt("notice")?).ok_or("no notice for the caller")?;
    assert!(notice < said(&ours, &noise(2)).ok_or("the called side is not heard")?);
    for kept_from_the_caller in ["main-street", "press-one"] {
        assert_eq!(said(&ours, &prompt(kept_from_the_caller)?), None, "{kept_from_the_caller}");
    }
    let [left, right] =
        <[Vec<f32>; 2]>::try_from(written(&world, "recordings")?).map_err(|_| "two channels")?;
    let served = get(&world, &format!("/v1/recordings/{id}"))?;
    assert!(
        served == fs::read(file(&world, "recordings")?).map_err(|e| e.to_string())?,
        "{} bytes",
        served.len()
    );
    let sheet: Value = serde_json::from_slice(&get(&world, &format!("/v1/recordings/{id}.json"))?)
        .map_err(|e| e.to_string())?;
    assert_eq!((&sheet["call"], &sheet["channels"]), (&cdr["id"], &2.into()), "{sheet:#}");
    let [answered, notice, ended] =
        [&cdr["answered"], &sheet["notice_said"], &cdr["ended"]].map(|at| at.as_str().unwrap_or_default());
    assert!(answered <= notice && notice < ended && !answered.is_empty(), "{answered}, {notice}, {ended}");
    let log = fs::read_to_string(world.folder.path().join("node.log")).map_err(|e| e.to_string())?;
    let event = log.lines().find(|line| line.contains("strowger.recording.ready")).ok_or(&*log)?;
    assert!(
        event.contains(id) && event.contains("file=recordings/") && event.contains("seconds="),
        "{event}"
    );
    let is_there = |channel: &[f32]| [1, 2].map(|seed| said(channel, &noise(seed)).is_some());
    assert_eq!([is_there(&left), is_there(&right)], [[true, false], [false, true]], "the caller is left");
    Ok(())
}

#[test]
fn r10_baresip_does_not_press_1_and_its_caller_leaves_a_message() -> Outcome {
    let (world, mut caller, called) = world()?;
    caller.prints("Call established")?;
    // Greeting and tone last 3 s, and what is said after them is the message.
    std::thread::sleep(Duration::from_secs(9));
    caller.does("hangup", "")?;
    let cdr = world.cdr()?;
    assert_eq!((&cdr["outcome"], &cdr["voicemail"]), (&"voicemail".into(), &cdr["id"]), "{cdr:#}");
    assert_eq!(cdr["legs"][1]["end"], "not_confirmed", "{cdr:#}");
    assert!(said(&caller.heard()?, &prompt("greeting")?).is_some(), "no greeting");
    assert!(said(&called.heard()?, &prompt("main-street")?).is_some(), "no whisper");
    let message = written(&world, "voicemail")?;
    let id = cdr["voicemail"].as_str().unwrap_or_default();
    assert!(get(&world, &format!("/v1/voicemails/{id}"))?.starts_with(b"RIFF"));
    assert_eq!(message.len(), 1, "one channel");
    // The caller spoke into the greeting too: what it said after the tone is the message.
    let later = &noise(1)[4 * RATE..];
    assert!(said(&message[0], later).is_some(), "the message is what the caller said");
    Ok(())
}

/// The only one that was kept under that folder, by channels.
fn written(world: &World, folder: &str) -> Result<Vec<Vec<f32>>, String> {
    read_wav(&file(world, folder)?)
}

fn file(world: &World, folder: &str) -> Result<PathBuf, String> {
    let folder = world.folder.path().join("data").join(folder);
    until(PHONE, || find(&folder, ".wav").is_some());
    find(&folder, ".wav").ok_or_else(|| format!("nothing under {}", folder.display()))
}

/// What `[admin]` answers.
fn get(world: &World, path: &str) -> Result<Vec<u8>, String> {
    let url = format!("http://{}:{}{path}", world.host, world.admin);
    let mut answer = ureq::get(&url).call().map_err(|e| format!("{path}: {e}"))?;
    answer.body_mut().read_to_vec().map_err(|e| e.to_string())
}

/// A file of that ending, in the folder or below.
fn find(folder: &Path, ending: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, ending),
        path => path.to_string_lossy().ends_with(ending).then_some(path),
    })
}
