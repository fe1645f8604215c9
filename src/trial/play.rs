//! The call itself: messages and moments go to the carrier and the phones, and what they say goes out and into
//! the ladder.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;

use rsip::{Method, Request, SipMessage};

use super::carrier::{Carrier, Ending};
use super::ladder::{CALLER, Ladder, Passing, in_dialog};
use super::lines::{Heard, Lines, Route};
use super::message::{self, End, Fields};
use super::phone::{Phones, Says};
use super::scene::Scene;
use super::sound::Sound;
use super::voice::{Heard as HeardSound, News, Told, Voices};
use crate::call::story::Way;
use crate::sip::peer::Transport;

/// How long the phones may take to end when the carrier has.
const SETTLING: Duration = Duration::from_secs(3);
/// Messages that are remembered, to know the ones that come again.
const REMEMBERED: usize = 10_000;

/// Whoever watches the call.
pub trait Watcher {
    /// A line of the ladder, as it happens.
    fn line(&mut self, line: &str);
    /// Something beside it.
    fn remark(&mut self, remark: &str);
}

/// Everything that takes part.
pub(super) struct Play<'p> {
    pub scene: &'p Scene,
    pub lines: Lines,
    pub carrier: Carrier,
    /// The carrier's way to the node.
    pub route: Route,
    pub phones: Phones,
    pub ladder: Ladder,
    pub watcher: &'p mut dyn Watcher,
    /// The ways back to the node, by Call-ID.
    pub routes: HashMap<String, Route>,
    pub seen: HashSet<Bytes>,
    /// The leg that talks with the carrier, and the caller that it was shown.
    pub bridged: Option<(u16, String)>,
    /// None: nothing is said.
    pub voices: Option<Voices>,
    pub between: Between,
    /// Whether whoever is asked to press 1 does.
    pub press: bool,
}

/// Who of the two hears the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Nobody,
    Caller,
    /// The phone in that column.
    Phone(u16),
    Both,
}

/// What the call was.
pub(super) struct Played {
    pub ending: Ending,
    /// From the INVITE to the answer.
    pub waited: Option<Duration>,
    pub call_id: String,
    pub bridged: Option<(u16, String)>,
    /// The caller that the first phone was shown.
    pub shown: Option<String>,
    pub ladder: Ladder,
    /// What each end has heard.
    pub heard: Vec<HeardSound>,
}

impl Play<'_> {
    /// Plays the call to its end. Every wait in it is bounded.
    pub async fn run(mut self, invite: SipMessage) -> Played {
        self.watcher.line(&self.ladder.head());
        self.carrier_says(vec![invite]).await;
        let mut break_off = pin!(tokio::signal::ctrl_c());
        let mut watched = true;
        let mut settled: Option<Instant> = None;
        let ending = loop {
            let now = Instant::now();
            let over = self.carrier.ending().cloned();
            if let Some(ending) = over {
                let until = *settled.get_or_insert(now + SETTLING);
                if self.phones.quiet() || now >= until {
                    break ending;
                }
            }
            let deadlines = [self.carrier.deadline(), self.phones.deadline(), settled];
            let next = deadlines.into_iter().flatten().min().unwrap_or(now + SETTLING);
            tokio::select! {
                heard = self.lines.heard() => {
                    if let Some(heard) = heard {
                        self.hear(heard).await;
                    }
                }
                news = news(&mut self.voices) => self.hears(&news),
                () = tokio::time::sleep_until(next.into()) => self.due().await,
                stopped = &mut break_off, if watched => {
                    watched = false;
                    if stopped.is_ok() {
                        let says = self.carrier.break_off(Instant::now());
                        self.carrier_says(says).await;
                    }
                }
            }
            self.let_talk();
            if self.carrier.talks() {
                self.bridged = self.phones.talking().or(self.bridged);
            }
        };
        let heard = match self.voices.take() {
            Some(voices) => voices.end().await,
            None => Vec::new(),
        };
        Played {
            ending,
            waited: self.carrier.waited(),
            call_id: self.carrier.call_id().to_owned(),
            bridged: self.bridged,
            shown: self.phones.shown(),
            ladder: self.ladder,
            heard,
        }
    }

    /// Those who have answered speak, and nobody else.
    fn let_talk(&mut self) {
        let Some(voices) = &mut self.voices else { return };
        for call_id in voices.calls() {
            let talks = match call_id == self.carrier.call_id() {
                true => self.carrier.talks(),
                false => self.phones.talks(&call_id),
            };
            voices.talk(&call_id, talks);
        }
    }

    /// What an end hears is told, and who is asked to press 1 does so.
    fn hears(&mut self, News { column, call_id, told }: &News) {
        let name = self.scene.name(*column);
        let (what, note) = match told {
            Told::Hears(Sound::Whisper) => ("whisper", format!("{name} hears it")),
            Told::Hears(Sound::PressOne) => {
                if let Some(voices) = self.voices.as_ref().filter(|_| self.press) {
                    voices.press(call_id);
                }
                ("asked to press 1", name)
            }
            Told::Pressed => ("pressed 1", name),
            Told::Hears(Sound::Notice) => ("notice", format!("{name} hears it")),
            Told::Hears(Sound::Greeting) => ("greeting", format!("{name} hears it")),
            Told::Hears(Sound::Tone) => ("tone", format!("{name} may speak")),
            Told::Hears(Sound::Phone) if *column == CALLER => return self.bridges(Between::Caller),
            Told::Hears(Sound::Caller) if *column != CALLER => return self.bridges(Between::Phone(*column)),
            // Its own voice.
            Told::Hears(Sound::Caller | Sound::Phone) => ("echo", format!("{name} hears itself")),
        };
        self.note(*column, what, note);
    }

    /// One side hears the other; when both do, they are bridged.
    fn bridges(&mut self, hears: Between) {
        self.between = match (self.between, hears) {
            (Between::Caller, Between::Phone(column)) | (Between::Phone(column), Between::Caller) => {
                let note = format!("caller and {} hear each other", self.scene.name(column));
                self.note(column, "bridged", note);
                Between::Both
            }
            (Between::Both, _) => Between::Both,
            (Between::Nobody | Between::Caller | Between::Phone(_), hears) => hears,
        };
    }

    fn note(&mut self, column: u16, what: &'static str, note: String) {
        let line = self.ladder.note(Instant::now(), column, what, note);
        self.watcher.line(&line);
    }

    async fn due(&mut self) {
        let now = Instant::now();
        let says = self.carrier.due(now);
        self.carrier_says(says).await;
        let says = self.phones.due(now);
        self.phones_say(says).await;
    }

    async fn hear(&mut self, heard: Heard) {
        let message = match message::read(&heard.bytes) {
            Ok(message) => message,
            Err(error) => {
                let remark = format!("a message to {} cannot be read by rsip: {error}", heard.at);
                return self.watcher.remark(&remark);
            }
        };
        let passing = self.passing(&heard.bytes);
        match message {
            SipMessage::Response(ref response) if response.call_id() == self.carrier.call_id() => {
                self.draw(Way::Out, CALLER, &message, passing);
                self.carrier_meets(&response.body);
                let says = self.carrier.response(Instant::now(), response);
                self.carrier_says(says).await;
            }
            // Nothing of ours is answered by it.
            SipMessage::Response(_) => {}
            SipMessage::Request(ref request) if request.call_id() == self.carrier.call_id() => {
                self.draw(Way::Out, CALLER, &message, passing);
                self.carrier_meets(&request.body);
                for answer in self.carrier.request(request) {
                    self.draw(Way::In, CALLER, &answer, Passing::First);
                    heard.route.send(bytes(&answer)).await;
                }
            }
            SipMessage::Request(ref request) => self.hear_phone(request, &message, &heard, passing).await,
        }
    }

    async fn hear_phone(&mut self, request: &Request, message: &SipMessage, heard: &Heard, passing: Passing) {
        let known = self.phones.column_of(request.call_id());
        let begins = request.method == Method::Invite && !in_dialog(request);
        if known.is_none() && !(begins && self.phones.is_ours(request)) {
            // Another call of the node's, or its question whether we live.
            if let Some(answer) = Phones::aside(request, heard.source) {
                heard.route.send(bytes(&answer)).await;
            }
            return;
        }
        let party = self.scene.party(heard.at, request.uri.user().unwrap_or_default());
        let column = known.or(party.map(|party| party.column)).unwrap_or(u16::MAX);
        self.routes.insert(request.call_id().to_owned(), heard.route.clone());
        self.draw(Way::Out, column, message, passing);
        let audio = self.audio(request, column, heard.at);
        let end = End { transport: heard.transport, contact: heard.at, sent_by: heard.at, audio };
        let says = self.phones.request(Instant::now(), request, column, &end, heard.source);
        self.phones_say(says).await;
    }

    /// The node may have described its end of the carrier's call.
    fn carrier_meets(&mut self, sdp: &[u8]) {
        if let Some(voices) = &mut self.voices {
            voices.meet(self.carrier.call_id(), sdp);
        }
    }

    /// Where the phone that a request is for hears and speaks.
    fn audio(&mut self, request: &Request, column: u16, at: SocketAddr) -> SocketAddr {
        let Some(voices) = &mut self.voices else { return End::silent(at) };
        let call_id = request.call_id();
        let mut audio = End::silent(at);
        if !voices.has(call_id) {
            match voices.open(call_id, column, at.ip(), Sound::Phone) {
                Ok(opened) => audio = opened,
                Err(error) => self.watcher.remark(&format!("a phone on {at} stays silent: {error}")),
            }
        }
        voices.meet(call_id, &request.body);
        audio
    }

    async fn carrier_says(&mut self, says: Vec<SipMessage>) {
        for message in says {
            let bytes = bytes(&message);
            let passing = self.passing(&bytes);
            self.draw(Way::In, CALLER, &message, passing);
            self.route.send(bytes).await;
        }
    }

    async fn phones_say(&mut self, says: Vec<Says>) {
        for Says { leg, call_id, message, again } in says {
            let passing = if again { Passing::Again } else { Passing::First };
            self.draw(Way::In, leg, &message, passing);
            if let Some(route) = self.routes.get(&call_id) {
                route.send(bytes(&message)).await;
            }
        }
    }

    fn draw(&mut self, way: Way, leg: u16, message: &SipMessage, passing: Passing) {
        let line = self.ladder.pass(Instant::now(), way, leg, message, passing);
        self.watcher.line(&line);
    }

    /// Whether the very same bytes passed before.
    fn passing(&mut self, bytes: &Bytes) -> Passing {
        if self.seen.len() < REMEMBERED && self.seen.insert(bytes.clone()) {
            Passing::First
        } else {
            Passing::Again
        }
    }
}

/// What an end tells next; without any, never.
async fn news(voices: &mut Option<Voices>) -> News {
    let news = match voices {
        Some(voices) => voices.news().await,
        None => None,
    };
    match news {
        Some(news) => news,
        None => std::future::pending().await,
    }
}

fn bytes(message: &SipMessage) -> Bytes {
    Bytes::from(message.to_string())
}

/// Which of the phones are ours to play, and where somebody else listens.
pub(super) async fn take_phones(scene: &Scene, lines: &mut Lines, watcher: &mut dyn Watcher) {
    let mut tried: Vec<SocketAddr> = Vec::new();
    for party in &scene.parties {
        if tried.contains(&party.addr) {
            continue;
        }
        tried.push(party.addr);
        match lines.open(party.transport, party.addr).await {
            Ok(_) => {
                if party.transport == Transport::Udp {
                    // An INVITE that is long for UDP comes by TCP, where it can.
                    drop(lines.open(Transport::Tcp, party.addr).await);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => watcher.remark(&format!(
                "{} is not played: somebody listens on {} {} and is left to answer",
                party.name,
                party.transport.uri_token(),
                party.addr
            )),
            Err(error) => watcher.remark(&format!(
                "{} cannot be played on {} {}: {error}",
                party.name,
                party.transport.uri_token(),
                party.addr
            )),
        }
    }
}
