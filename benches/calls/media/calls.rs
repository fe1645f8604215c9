//! Calls through Strowger whose audio goes through it: set up before they are measured, ended afterwards.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::SockaddrIn;

use super::talk::{Party, Talk, Way, header, ssrc};
use crate::batch::{Inbox, Outbox, local};
use crate::load::Ports;
use crate::message::{Dialog, Names, Seen, audio_port, fine};

/// Calls begin and end at this pace, per second.
const RATE: u32 = 250;

/// How long after the last of them all must be set up, or ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked what has come.
const TURN: Duration = Duration::from_millis(1);

/// How long a phone rings, and how long after its answer its owner presses the key.
const RINGS: Duration = Duration::from_millis(200);
const THINKS: Duration = Duration::from_millis(700);

/// A key is pressed for 100 ms: a packet every 20 ms, the last of them three times (RFC 4733 §2.5.1.4).
const KEY: [(u16, bool); 7] =
    [(160, false), (320, false), (480, false), (640, false), (800, true), (800, true), (800, true)];
const KEY_TYPE: u8 = 101;

/// What a call is at one moment.
#[derive(Default)]
struct Call {
    /// Where the server hears its parties.
    caller: Option<u16>,
    far: Option<u16>,
    dialog: Option<Dialog>,
    is_over: bool,
}

/// What the called party does by and by.
enum Task {
    Answer(Vec<u8>),
    /// The so-manieth packet of the key.
    Press(usize),
}

/// Calls of one run.
pub struct Calls {
    ports: Ports,
    run: u32,
    row: u32,
    /// Where they hear, and by what the called parties' keys go out.
    audio: [u16; 2],
    keys: UdpSocket,
    caller: UdpSocket,
    far: UdpSocket,
    outbox: [Outbox; 2],
    calls: Vec<Call>,
    tasks: BTreeMap<(Instant, u32), Task>,
    presses: bool,
}

impl Calls {
    /// `sockets`: the caller's and the called party's SIP. `presses`: who is called presses 1.
    pub fn new(
        (ports, [caller, far]): (Ports, [&UdpSocket; 2]),
        (run, row): (u32, u32),
        talk: &Talk,
        presses: bool,
    ) -> io::Result<Calls> {
        Ok(Calls {
            ports,
            run,
            row,
            audio: [talk.port(Party::Caller)?, talk.port(Party::Far)?],
            keys: talk.socket(Party::Far).try_clone()?,
            caller: caller.try_clone()?,
            far: far.try_clone()?,
            outbox: [Outbox::new(), Outbox::new()],
            calls: Vec::new(),
            tasks: BTreeMap::new(),
            presses,
        })
    }

    /// Sets up so many calls.
    pub fn set_up(&mut self, count: u32) -> Result<Vec<Way>, String> {
        self.calls = (0..count).map(|_| Call::default()).collect();
        let is_up = |call: &Call| call.dialog.is_some();
        self.each(is_up, "set up", |calls, call| {
            calls.names(call, Party::Caller).invite(&mut calls.outbox[0].wire);
            calls.post(Party::Caller);
        })?;
        let ways = self.calls.iter().map(|call| Some(Way { caller: call.caller?, far: call.far? }));
        ways.collect::<Option<_>>().ok_or_else(|| "a call's audio has no port".to_owned())
    }

    /// Their callers hang up.
    pub fn end(&mut self) -> Result<(), String> {
        self.each(
            |call| call.is_over,
            "ended",
            |calls, call| {
                if let Some(dialog) = calls.calls[call as usize].dialog.take() {
                    calls.names(call, Party::Caller).within("BYE", 2, &dialog, &mut calls.outbox[0].wire);
                    calls.post(Party::Caller);
                }
            },
        )
    }

    /// Begins something with each at its time, and waits until all have come to it.
    fn each(
        &mut self,
        has: impl Fn(&Call) -> bool,
        come_to: &str,
        begin: impl Fn(&mut Self, u32),
    ) -> Result<(), String> {
        let words = |e: io::Error| e.to_string();
        let count = self.calls.len() as u32;
        let begun = Instant::now();
        let limit = Duration::from_secs(1) * count / RATE + PATIENCE;
        let mut inbox = Inbox::new();
        let mut next = 0;
        while next < count || !self.calls.iter().all(&has) {
            while next < count && Duration::from_secs(1) * next / RATE <= begun.elapsed() {
                begin(self, next);
                next += 1;
            }
            self.turn(&mut inbox).map_err(words)?;
            if begun.elapsed() > limit {
                let done = self.calls.iter().filter(|call| has(call)).count();
                return Err(format!("{done} of {count} calls were {come_to}"));
            }
            thread::sleep(TURN);
        }
        Ok(())
    }

    fn turn(&mut self, inbox: &mut Inbox) -> io::Result<()> {
        while let Some(first) = self.tasks.first_entry()
            && first.key().0 <= Instant::now()
        {
            let ((at, call), task) = first.remove_entry();
            self.perform(at, call, task)?;
        }
        for party in [Party::Caller, Party::Far] {
            while inbox.receive(self.sip(party))? > 0 {
                for (message, from) in inbox.messages() {
                    match party {
                        Party::Caller => self.at_caller(message)?,
                        Party::Far => self.at_far(message, from)?,
                    }
                }
            }
        }
        let [caller, far] = &mut self.outbox;
        caller.flush(&self.caller)?;
        far.flush(&self.far)
    }

    fn perform(&mut self, at: Instant, call: u32, task: Task) -> io::Result<()> {
        match task {
            Task::Answer(invite) => {
                let seen = Seen::read(&invite);
                self.names(call, Party::Far).answer("200 OK", &seen, &mut self.outbox[1].wire);
                self.post(Party::Far);
                if self.presses {
                    self.tasks.insert((at + THINKS, call), Task::Press(0));
                }
            }
            Task::Press(step) => {
                let (duration, ends) = KEY[step];
                let Some(to) = self.calls[call as usize].far else { return Ok(()) };
                // Far from the numbers that its voice has later, as after another source.
                let mut packet = header(KEY_TYPE, 60_000 + step as u16, 1, ssrc(call, Party::Far)).to_vec();
                packet.extend_from_slice(&[1, if ends { 0x80 | 10 } else { 10 }]);
                packet.extend_from_slice(&duration.to_be_bytes());
                self.keys.send_to(&packet, local(to))?;
                if step + 1 < KEY.len() {
                    self.tasks.insert((at + super::talk::FRAME, call), Task::Press(step + 1));
                }
            }
        }
        Ok(())
    }

    fn at_far(&mut self, message: &[u8], from: SockaddrIn) -> io::Result<()> {
        let seen = Seen::read(message);
        let Some(call) = self.own(seen.origin()) else { return Ok(()) };
        match seen.first.split(|byte| *byte == b' ').next() {
            Some(b"INVITE") => {
                let port = audio_port(message);
                if port.is_none() || self.calls[call as usize].far.replace(port.unwrap_or(0)).is_some() {
                    return Ok(());
                }
                for status in ["100 Trying", "180 Ringing"] {
                    self.names(call, Party::Far).answer(status, &seen, &mut self.outbox[1].wire);
                    self.outbox[1].post(from);
                }
                self.tasks.insert((Instant::now() + RINGS, call), Task::Answer(message.to_vec()));
            }
            Some(b"BYE") => {
                fine(&seen, &mut self.outbox[1].wire);
                self.outbox[1].post(from);
            }
            _ => {}
        }
        Ok(())
    }

    fn at_caller(&mut self, message: &[u8]) -> io::Result<()> {
        let seen = Seen::read(message);
        let own = std::str::from_utf8(seen.call_id).ok().and_then(|id| self.own(id));
        let (Some(call), Some(status)) = (own, seen.status()) else { return Ok(()) };
        if seen.method() == b"BYE" {
            self.calls[call as usize].is_over = true;
        } else if status == 200 {
            let dialog = seen.dialog();
            self.names(call, Party::Caller).within("ACK", 1, &dialog, &mut self.outbox[0].wire);
            self.post(Party::Caller);
            let call = &mut self.calls[call as usize];
            call.caller = audio_port(message);
            call.dialog.get_or_insert(dialog);
        } else if status > 200 {
            return Err(io::Error::other(format!("a call was answered {status}")));
        }
        Ok(())
    }

    fn own(&self, id: &str) -> Option<u32> {
        let (run, call) = Seen::names_of(id)?;
        (run == self.run && (call as usize) < self.calls.len()).then_some(call)
    }

    fn names(&self, call: u32, of: Party) -> Names {
        let Ports { server, caller, far } = self.ports;
        let audio = self.audio[usize::from(of == Party::Far)];
        Names { run: self.run, call, row: self.row, server, caller, far, audio }
    }

    fn post(&mut self, of: Party) {
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.ports.server));
        self.outbox[usize::from(of == Party::Far)].post(to);
    }

    fn sip(&self, party: Party) -> &UdpSocket {
        match party {
            Party::Caller => &self.caller,
            Party::Far => &self.far,
        }
    }
}
