//! Calls through `rtpengine`, which is told of them as a proxy tells it: by its `ng` protocol, dictionaries in bencode.

use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::talk::{Party, Talk, Way};
use crate::batch::local;
use crate::message::audio_port;
use crate::process::{Program, until};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// Longer than any answer.
const LONGEST: usize = 8_192;

/// A running `rtpengine`.
pub struct Engine {
    program: Program,
    port: u16,
    asks: UdpSocket,
    asked: u32,
}

impl Engine {
    /// Starts it in user space, its ports from `ports.0` to `ports.1`, its recordings in `folder`.
    pub fn start(folder: &Path, port: u16, ports: (u16, u16)) -> Result<Engine, String> {
        let words = |e: io::Error| e.to_string();
        let recordings = folder.join("rtpengine");
        std::fs::create_dir_all(&recordings).map_err(words)?;
        let mut command = Command::new("rtpengine");
        command
            .args(["--foreground", "--table=-1", "--config-file=none", "--interface=127.0.0.1"])
            .args(["--log-stderr", "--log-level=4", "--recording-method=pcap"])
            .arg(format!("--listen-ng=127.0.0.1:{port}"))
            .arg(format!("--port-min={}", ports.0))
            .arg(format!("--port-max={}", ports.1))
            .arg(format!("--recording-dir={}", recordings.display()))
            .arg(format!("--pidfile={}", folder.join("rtpengine.pid").display()));
        let program = Program::start("rtpengine", &mut command, folder)?;
        let asks = UdpSocket::bind(local(0)).map_err(words)?;
        asks.set_read_timeout(Some(PATIENCE)).map_err(words)?;
        let mut engine = Engine { program, port, asks, asked: 0 };
        let works = until(START, || {
            engine.ask(&[("command", b"ping")]).is_ok_and(|answer| contains(&answer, b"4:pong"))
        });
        works.then_some(()).ok_or_else(|| {
            format!("rtpengine does not answer; it printed:\n{}", engine.program.last_words())
        })?;
        Ok(engine)
    }

    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Tells it of so many calls.
    pub fn set_up(&mut self, run: u32, count: u32, talk: &Talk, records: bool) -> Result<Vec<Way>, String> {
        let words = |e: io::Error| e.to_string();
        let [caller, far] = [Party::Caller, Party::Far].map(|party| talk.port(party).map(describe));
        let (caller, far) = (caller.map_err(words)?, far.map_err(words)?);
        let record: &[u8] = if records { b"yes" } else { b"no" };
        (0..count)
            .map(|call| {
                let id = format!("{run}-{call}");
                let common: &[(&str, &[u8])] =
                    &[("ICE", b"remove"), ("call-id", id.as_bytes()), ("from-tag", b"caller")];
                let offer =
                    [&[("command", &b"offer"[..]), ("record-call", record), ("sdp", &caller)], common];
                let answer = [&[("command", &b"answer"[..]), ("sdp", &far), ("to-tag", b"far")], common];
                // What it tells the called party is where that one sends, and the other way round.
                Ok(Way { far: self.place(&offer.concat())?, caller: self.place(&answer.concat())? })
            })
            .collect()
    }

    /// Tells it that they are over.
    pub fn end(&mut self, run: u32, count: u32) -> Result<(), String> {
        for call in 0..count {
            let id = format!("{run}-{call}");
            self.ask(&[("call-id", id.as_bytes()), ("command", b"delete"), ("delete-delay", b"0")])?;
        }
        Ok(())
    }

    fn place(&mut self, ask: &[(&str, &[u8])]) -> Result<u16, String> {
        let answer = self.ask(ask)?;
        audio_port(&answer).ok_or_else(|| format!("rtpengine says {}", String::from_utf8_lossy(&answer)))
    }

    fn ask(&mut self, ask: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
        self.asked += 1;
        let cookie = format!("{} ", self.asked);
        let mut bytes = cookie.clone().into_bytes();
        bytes.push(b'd');
        for (key, value) in ask {
            bytes.extend_from_slice(format!("{}:{key}{}:", key.len(), value.len()).as_bytes());
            bytes.extend_from_slice(value);
        }
        bytes.push(b'e');
        let mut answer = vec![0; LONGEST];
        let length = self
            .asks
            .send_to(&bytes, local(self.port))
            .and_then(|_| self.asks.recv(&mut answer))
            .map_err(|e| format!("rtpengine: {e}"))?;
        answer.truncate(length);
        match answer.starts_with(cookie.as_bytes()) {
            true => Ok(answer),
            false => Err("rtpengine answers something else".to_owned()),
        }
    }
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn describe(port: u16) -> Vec<u8> {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
    .into_bytes()
}
