//! One end's transactions: what it repeats over a wire that loses, and what it takes for a repetition
//! (RFC 3261 §17, §13.3.1.4, RFC 3262 §3, RFC 6026). A second implementation beside `sip::transaction`,
//! deliberately simple: small tables, looked through from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::message::Message;
use crate::time::Instant;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64·T1: how long anything is waited for or remembered.
const LIFE: Duration = Duration::from_secs(32);
/// How long a caller waits for the final response once a provisional one is there.
const RINGS_AT_MOST: Duration = Duration::from_secs(180);
const MOVED_PORT: u16 = 5_062;

/// Bytes on their way from an end to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
}

/// What an end hears once repetitions are taken out.
#[derive(Debug)]
pub enum Heard {
    /// A new request; it is answered by its key.
    Request { key: Key, message: Message },
    /// An ACK of a 2xx, first or repeated.
    Ack(Message),
    /// A response to `request`, a request of ours. 2xx to an INVITE are all heard, others once.
    Response { request: Message, message: Message },
}

/// What never came.
#[derive(Debug)]
pub enum Lapsed {
    /// No final response to this request of ours (timers B and F).
    Unanswered(Message),
    /// No ACK for our 2xx, or no PRACK for our reliable response.
    Unacknowledged { call_id: String, tag: String },
}

/// Names a server transaction: branch and method (RFC 3261 §17.2.3).
pub type Key = (String, String);

#[derive(Debug)]
struct Client {
    request: Message,
    /// When the request is repeated, and after how long once more.
    repeat: Option<(Instant, Duration)>,
    until: Instant,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final one came; `Some` is the ACK that a repeated failure gets again.
    Finished(Option<Message>),
}

#[derive(Debug)]
struct Server {
    request: Message,
    /// The last response.
    response: Option<Message>,
    /// A failure of an INVITE is repeated until its ACK (timer G).
    repeat: Option<(Instant, Duration)>,
    until: Instant,
}

/// A response that is repeated until its ACK or PRACK.
#[derive(Debug)]
struct Insisted {
    call_id: String,
    tag: String,
    /// RSeq of a reliable provisional response; `None` is a 2xx.
    rseq: Option<u32>,
    cseq: u32,
    response: Message,
    next: Instant,
    interval: Duration,
    until: Instant,
}

/// The transactions of one end.
#[derive(Debug)]
pub struct Stack {
    /// Where its messages come from.
    pub addr: SocketAddr,
    serial: u64,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<Key, Server>,
    insisted: Vec<Insisted>,
    /// Calls whose messages come from another port: a NAT moved them.
    pub moved: BTreeSet<String>,
    /// What is to be put on the wire, in order.
    pub outbox: Vec<Parcel>,
}

impl Stack {
    pub fn new(addr: SocketAddr) -> Stack {
        Stack {
            addr,
            serial: 0,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            insisted: Vec::new(),
            moved: BTreeSet::new(),
            outbox: Vec::new(),
        }
    }

    /// A word that this end gives out once: a tag, a branch, a Call-ID.
    pub fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}-{}", self.serial, self.addr.ip())
    }

    /// Where messages of that call come from.
    fn source(&self, call_id: &str) -> SocketAddr {
        match self.moved.contains(call_id) {
            true => SocketAddr::new(self.addr.ip(), MOVED_PORT),
            false => self.addr,
        }
    }

    fn post(&mut self, message: &Message) {
        self.outbox.push(Parcel { from: self.source(message.call_id()), bytes: message.bytes() });
    }

    /// Sends a request in a new client transaction. An ACK is only sent.
    pub fn request(&mut self, now: Instant, request: Message) -> Message {
        let branch = self.fresh("z9hG4bK-w");
        let via = format!("SIP/2.0/UDP {};branch={branch};rport", self.source(request.call_id()));
        let request = request.on_top("Via", via);
        self.post(&request);
        if request.method() != "ACK" {
            self.begin(now, branch, request.clone());
        }
        request
    }

    /// A CANCEL shares the branch of its INVITE (RFC 3261 §9.1), though its sent-by may have moved.
    pub fn cancel(&mut self, now: Instant, invite: &Message, reason: Option<&str>) {
        let source = self.source(invite.call_id());
        let mut cancel = Message::request("CANCEL", invite.uri())
            .with("Via", format!("SIP/2.0/UDP {source};branch={};rport", invite.branch()))
            .with("Max-Forwards", "70")
            .with("From", invite.get("From").unwrap_or_default())
            .with("To", invite.get("To").unwrap_or_default())
            .with("Call-ID", invite.call_id())
            .with("CSeq", format!("{} CANCEL", invite.cseq().0));
        if let Some(reason) = reason {
            cancel = cancel.with("Reason", reason);
        }
        self.post(&cancel);
        self.begin(now, format!("{}|CANCEL", invite.branch()), cancel);
    }

    fn begin(&mut self, now: Instant, branch: String, request: Message) {
        let client =
            Client { request, repeat: Some((now + T1, T1)), until: now + LIFE, stage: Stage::Calling };
        self.clients.insert(branch, client);
    }

    /// Whether the far end has answered this INVITE provisionally, so that a CANCEL may go.
    pub fn is_proceeding(&self, invite: &Message) -> bool {
        self.clients.get(invite.branch()).is_some_and(|client| client.stage == Stage::Proceeding)
    }

    /// Sends a response. A failure of an INVITE is repeated until its ACK.
    pub fn respond(&mut self, now: Instant, key: &Key, response: Message) {
        self.post(&response);
        let Some(server) = self.servers.get_mut(key) else { return };
        let status = response.status();
        if status >= 200 {
            server.until = now + LIFE;
            server.repeat = (key.1 == "INVITE" && status >= 300).then_some((now + T1, T1));
        }
        server.response = Some(response);
    }

    /// Sends a response and keeps nothing: who is asked without end would never come to rest. A repetition is asked
    /// anew.
    pub fn respond_and_forget(&mut self, now: Instant, key: &Key, response: Message) {
        self.respond(now, key, response);
        self.servers.remove(key);
    }

    /// Sends a 2xx or a reliable provisional response and repeats it until its ACK or PRACK.
    pub fn insist(&mut self, now: Instant, key: &Key, response: Message, rseq: Option<u32>) {
        self.insisted.push(Insisted {
            call_id: response.call_id().to_owned(),
            tag: response.to_tag().unwrap_or_default().to_owned(),
            rseq,
            cseq: response.cseq().0,
            response: response.clone(),
            next: now + T1,
            interval: T1,
            until: now + LIFE,
        });
        self.respond(now, key, response);
    }

    /// The PRACK for this RSeq came. Says whether it was waited for (RFC 3262 §3).
    pub fn pracked(&mut self, call_id: &str, rseq: u32) -> bool {
        let before = self.insisted.len();
        self.insisted.retain(|one| one.call_id != call_id || one.rseq != Some(rseq));
        before != self.insisted.len()
    }

    pub fn waits_for_prack(&self, call_id: &str) -> bool {
        self.insisted.iter().any(|one| one.call_id == call_id && one.rseq.is_some())
    }

    /// A final response ends the repetition of provisional ones.
    pub fn no_more_provisionals(&mut self, call_id: &str) {
        self.insisted.retain(|one| one.call_id != call_id || one.rseq.is_none());
    }

    /// A request of ours without a final response.
    pub fn unanswered(&self) -> Option<&Message> {
        let waits = |client: &&Client| !matches!(client.stage, Stage::Finished(_));
        self.clients.values().find(waits).map(|client| &client.request)
    }

    /// One INVITE of a call has its final response: what was merged with it is repeated no more, as whoever
    /// forked it would have it cancelled.
    pub fn drop_merged(&mut self, answered: &Message) {
        let (call_id, cseq) = (answered.call_id(), answered.cseq());
        self.clients.retain(|_, client| {
            let request = &client.request;
            let is_other = request.call_id() == call_id
                && request.cseq() == cseq
                && request.branch() != answered.branch();
            !is_other || matches!(client.stage, Stage::Finished(_))
        });
    }

    /// Forgets everything about a call: its end died.
    pub fn forget(&mut self, call_id: &str) {
        self.clients.retain(|_, client| client.request.call_id() != call_id);
        self.servers.retain(|_, server| server.request.call_id() != call_id);
        self.insisted.retain(|one| one.call_id != call_id);
    }

    /// Takes a message from the wire.
    pub fn receive(&mut self, now: Instant, message: Message) -> Option<Heard> {
        match message.is_request() {
            true => self.receive_request(now, message),
            false => self.receive_response(now, message),
        }
    }

    fn receive_request(&mut self, now: Instant, message: Message) -> Option<Heard> {
        let branch = message.branch().to_owned();
        if message.method() == "ACK" {
            if let Some(server) = self.servers.get_mut(&(branch, "INVITE".to_owned()))
                && server.response.as_ref().is_some_and(|response| response.status() >= 300)
            {
                server.repeat = None;
                return None;
            }
            let (call_id, cseq) = (message.call_id(), message.cseq().0);
            let tag = message.to_tag().unwrap_or_default();
            self.insisted.retain(|one| {
                one.rseq.is_some() || one.call_id != call_id || one.cseq != cseq || one.tag != tag
            });
            return Some(Heard::Ack(message));
        }
        let key = (branch, message.method().to_owned());
        if let Some(server) = self.servers.get(&key) {
            if let Some(response) = &server.response
                && !(key.1 == "INVITE" && (200..300).contains(&response.status()))
            {
                let response = response.clone();
                self.post(&response);
            }
            return None;
        }
        let server = Server { request: message.clone(), response: None, repeat: None, until: now + LIFE * 8 };
        self.servers.insert(key.clone(), server);
        Some(Heard::Request { key, message })
    }

    fn receive_response(&mut self, now: Instant, message: Message) -> Option<Heard> {
        let branch = match message.method() {
            "CANCEL" => format!("{}|CANCEL", message.branch()),
            _ => message.branch().to_owned(),
        };
        let client = self.clients.get_mut(&branch)?;
        let invite = client.request.method() == "INVITE";
        let status = message.status();
        let repeated_ack = match (&client.stage, status) {
            (Stage::Finished(_), 100..200) => return None,
            (Stage::Finished(None), 200..300) if invite => None,
            (Stage::Finished(ack), _) => Some(ack.clone()),
            (Stage::Calling | Stage::Proceeding, _) => None,
        };
        if let Some(ack) = repeated_ack {
            if let Some(ack) = ack {
                self.post(&ack);
            }
            return None;
        }
        let mut ack = None;
        if status < 200 {
            client.stage = Stage::Proceeding;
            match invite {
                true => {
                    client.repeat = None;
                    client.until = now + RINGS_AT_MOST;
                }
                false => client.repeat = client.repeat.map(|(at, _)| (at, T2)),
            }
        } else {
            if invite && status >= 300 {
                ack = Some(failure_ack(&client.request, &message));
            }
            client.stage = Stage::Finished(ack.clone());
            client.repeat = None;
            client.until = now + LIFE;
        }
        let request = client.request.clone();
        if let Some(ack) = ack {
            self.post(&ack);
        }
        Some(Heard::Response { request, message })
    }

    /// When time does something next.
    pub fn next_at(&self) -> Option<Instant> {
        let clients = self.clients.values().map(|client| earliest(client.repeat, client.until));
        let servers = self.servers.values().map(|server| earliest(server.repeat, server.until));
        let insisted = self.insisted.iter().map(|one| one.next.min(one.until));
        clients.chain(servers).chain(insisted).min()
    }

    /// Repeats what is due and says what never came.
    pub fn tick(&mut self, now: Instant) -> Vec<Lapsed> {
        let mut lapsed = Vec::new();
        let mut due = Vec::new();
        for client in self.clients.values_mut() {
            if let Some((at, interval)) = client.repeat
                && at <= now
                && client.until > now
            {
                due.push(client.request.clone());
                let cap = if client.request.method() == "INVITE" { LIFE } else { T2 };
                let interval = (interval * 2).min(cap);
                client.repeat = Some((now + interval, interval));
            }
            if client.until <= now && !matches!(client.stage, Stage::Finished(_)) {
                lapsed.push(Lapsed::Unanswered(client.request.clone()));
            }
        }
        self.clients.retain(|_, client| client.until > now);
        for server in self.servers.values_mut() {
            if let (Some((at, interval)), Some(response)) = (server.repeat, &server.response)
                && at <= now
            {
                due.push(response.clone());
                let interval = (interval * 2).min(T2);
                server.repeat = Some((now + interval, interval));
            }
        }
        self.servers.retain(|_, server| server.until > now);
        for one in &mut self.insisted {
            if one.until <= now {
                lapsed.push(Lapsed::Unacknowledged { call_id: one.call_id.clone(), tag: one.tag.clone() });
            } else if one.next <= now {
                due.push(one.response.clone());
                one.interval = match one.rseq {
                    Some(_) => one.interval * 2,
                    None => (one.interval * 2).min(T2),
                };
                one.next = now + one.interval;
            }
        }
        self.insisted.retain(|one| one.until > now);
        for message in due {
            self.post(&message);
        }
        lapsed
    }
}

fn earliest(repeat: Option<(Instant, Duration)>, until: Instant) -> Instant {
    repeat.map_or(until, |(at, _)| at.min(until))
}

/// RFC 3261 §17.1.1.3.
fn failure_ack(invite: &Message, response: &Message) -> Message {
    Message::request("ACK", invite.uri())
        .with("Via", invite.get("Via").unwrap_or_default())
        .with("Max-Forwards", "70")
        .with("From", invite.get("From").unwrap_or_default())
        .with("To", response.get("To").unwrap_or_default())
        .with("Call-ID", invite.call_id())
        .with("CSeq", format!("{} ACK", invite.cseq().0))
}
