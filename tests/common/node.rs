//! A node in a process of its own, with a carrier and phones that are made up here.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use strowger::call::cdr::Cdr;

use crate::common::PATIENCE;

/// A folder with a configuration, and the phone that it names.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub phone: Line,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let phone = Line::new();
        std::fs::create_dir_all(folder.path().join("config/routing")).unwrap();
        let node =
            "[[listen]]\ntransport = \"udp\"\naddr = \"127.0.0.1:0\"\n[admin]\naddr = \"127.0.0.1:0\"\n";
        std::fs::write(folder.path().join("config/strowger.toml"), node).unwrap();
        let routing = format!(
            "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.0.1/32\"]\ngateways = [{{ uri = \"sip:127.0.0.1:9\" }}]\n\
             [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@{}\"\n\
             [[number]]\ndid = \"+12015550101\"\nring = [\"alice\"]\n",
            phone.addr()
        );
        std::fs::write(folder.path().join("config/routing/all.toml"), routing).unwrap();
        Place { folder, phone }
    }

    pub fn listens_on_tcp_too(&self) {
        let tcp = "[[listen]]\ntransport = \"tcp\"\naddr = \"127.0.0.1:0\"\n";
        self.changes("config/strowger.toml", |node| format!("{tcp}{node}"));
    }

    /// Writes a file of the configuration anew.
    pub fn changes(&self, file: &str, change: impl FnOnce(&str) -> String) {
        let file = self.folder.path().join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strowger"));
        command.args(args).current_dir(self.folder.path()).env_remove("STROWGER_LOG");
        command
    }

    pub fn strowger(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub fn serve(&self) -> Serving {
        self.start(self.command(&["serve", "--log", "json"]))
    }

    /// Serves under limits that a shell sets first.
    pub fn serve_under(&self, ulimits: &str) -> Serving {
        let mut command = Command::new("sh");
        let serve = format!("{ulimits} && exec {} serve --log json", env!("CARGO_BIN_EXE_strowger"));
        command.args(["-c", &serve]).current_dir(self.folder.path()).env("STROWGER_LOG", "debug");
        self.start(command)
    }

    pub fn start(&self, command: Command) -> Serving {
        self.start_while(command, |_| {})
    }

    /// Does something to the process before it is ready.
    pub fn start_while(&self, mut command: Command, meanwhile: impl FnOnce(&Serving)) -> Serving {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut serving = Serving { child, out, ready: String::new(), sip: nowhere, admin: String::new() };
        meanwhile(&serving);
        serving.ready = serving.line();
        let after = |mark: &str| {
            let rest = serving.ready.split_once(mark).unwrap().1;
            rest.split([',', ' ']).next().unwrap().to_owned()
        };
        (serving.sip, serving.admin) = (after("udp:").parse().unwrap(), after("admin "));
        serving
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn records(&self) -> Vec<Cdr> {
        let folder = self.folder.path().join("data/cdr");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let text: String =
            files.iter().map(|file: &PathBuf| std::fs::read_to_string(file).unwrap()).collect();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// A node in a process of its own; it is killed when the test lets go of it.
pub struct Serving {
    pub child: Child,
    out: BufReader<std::process::ChildStdout>,
    pub ready: String,
    pub sip: SocketAddr,
    pub admin: String,
}

impl Serving {
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Whether the process would not be ended by it.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() >> (signal as i32 - 1) & 1 == 1
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// Its limits of open files: soft and hard.
    pub fn open_files(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        [words.next().unwrap(), words.next().unwrap()]
    }

    /// What all its threads have used so far.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_task = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(|task| of_task(task.unwrap())).sum())
    }

    /// Where it takes connections.
    pub fn tcp(&self) -> SocketAddr {
        self.ready.split_once("tcp:").unwrap().1.split([',', ' ']).next().unwrap().parse().unwrap()
    }

    /// How it ended; `None` by a signal.
    pub fn ended(&mut self) -> Option<i32> {
        // Its stdout ends with it.
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A socket that speaks SIP as far as these tests need it.
pub struct Line {
    pub socket: UdpSocket,
}

impl Line {
    pub fn new() -> Line {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Line { socket }
    }

    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn send(&self, to: SocketAddr, text: &str) {
        self.socket.send_to(text.as_bytes(), to).unwrap();
    }

    pub fn receive(&self) -> (String, SocketAddr) {
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        (String::from_utf8(buffer[..length].to_vec()).unwrap(), from)
    }

    /// The next INVITE.
    pub fn offered(&self) -> (String, SocketAddr) {
        std::iter::repeat_with(|| self.receive()).find(|(text, _)| text.starts_with("INVITE ")).unwrap()
    }

    /// The next final response.
    pub fn receive_final(&self) -> String {
        loop {
            let (text, _) = self.receive();
            if text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
    }

    pub fn receive_final_of(&self, call_id: &str) -> String {
        loop {
            let text = self.receive_final();
            if text.contains(&format!("Call-ID: {call_id}")) {
                return text;
            }
        }
    }
}

pub const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

pub fn invite(from: &Line, number: &str, call_id: &str) -> String {
    let addr = from.addr();
    format!(
        "INVITE sip:{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+12025550123@{addr}>;tag=carrier\r\nTo: <sip:{number}@127.0.0.1>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{addr}>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// The ACK of a final response that is no success: in the INVITE's transaction (RFC 3261 §17.1.1.3).
pub fn ack(refused: &str, from: &Line, number: &str, call_id: &str) -> String {
    let to = refused.lines().find(|line| line.starts_with("To:")).unwrap();
    let addr = from.addr();
    format!(
        "ACK sip:{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+12025550123@{addr}>;tag=carrier\r\n{to}\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A phone's answer to a request.
pub fn answer(request: &str, status: &str, phone: &Line) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        if ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
            text += &format!("{line}\r\n");
        } else if line.starts_with("To:") {
            text += &format!("{line};tag=phone\r\n");
        }
    }
    let addr = phone.addr();
    let length = SDP.len();
    text += &format!(
        "Contact: <sip:{addr}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}"
    );
    text
}
