//! PURE. The transactions of one shard (RFC 3261 §17 with RFC 6026 and RFC 4320), over UDP and over streams.
//!
//! Retransmissions of either side end here; a dialog hears of each request and each response once (of a 2xx
//! to an INVITE every time, because each wants its ACK). Knows no dialog and no call: an `O` names the owner
//! to the layer above. Messages to be sent go to an `Outbox`, what the owner must know comes from `next_event`.

mod actions;
mod client;
mod derived;
mod key;
mod lingering;
mod moving;
mod outbox;
mod reply;
mod server;
mod slab;
mod timers;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

pub use key::{Branch, Key};
pub use outbox::{Outbox, Outgoing};
pub use reply::reply_to;
pub use timers::{Timer, Timers};

use super::header::Method;
use super::peer::{Peer, Undelivered};
use super::wheel::Wheel;
use super::wire::Message;
use crate::time::Instant;
use actions::{Actions, Clockwork, Due, Verdict};
use client::{Client, Role};
use key::{Class, Keys};
use lingering::{Filling, Lingering};
use server::{Machine, Server};
use slab::{Side, Slab};
use waiting::Waiting;

/// How many server transactions, and as many client transactions, live at a time unless told otherwise. At
/// 1,000 calls/s over UDP 64,000 servers do; at 20,000 calls/s 420,000 at most, for the more there are the shorter
/// they linger. A million take some 300 MB with their last responses.
pub const MAX_TRANSACTIONS: u32 = 1_000_000;

/// Of the transactions that may be, this part is left to what calls in progress need: a BYE or CANCEL that finds
/// no room leaves a phone ringing.
const KEPT_FOR_CALLS: u32 = 4;

/// A transaction of this shard, once and for all: another one in the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    index: u32,
    generation: u32,
}

/// What a request is to this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Nobody has seen it: `accept` it, or refuse it without a transaction.
    New(Key),
    /// It came before: `repeat` says again what was said.
    Again(Id),
    /// The ACK of a failure of ours: `acked`, and nothing else to do.
    Ack(Id),
    /// An ACK with the branch of an INVITE that we answered with 2xx. It is the dialog's, as `AckOfDialog`;
    /// some peers do not give it a branch of its own.
    AckOfAccepted(Id),
    /// An ACK that matches no transaction: that of a 2xx, or a stray one. Never answered.
    AckOfDialog,
    /// A CANCEL not seen before, and the INVITE that it is for; none: 481. To be accepted and answered as a
    /// transaction of its own.
    Cancel { invite: Option<Id>, key: Key },
    /// Another branch of a request that is known: 482 (RFC 3261 §8.2.2.2), with or without a transaction.
    Merged(Key),
}

/// What a response is to the owner of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// 100 to 199.
    Provisional,
    /// 200 to 299. To an INVITE each one is handed up, for it wants an ACK: `first` is false once another has
    /// come. One that comes after a failure (RFC 3261 §16.7) is handed up too.
    Success { first: bool },
    /// 300 to 699, once. That of an INVITE has got its ACK.
    Failure,
}

/// What an owner must know. `Gone` is the last of each transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<O> {
    /// A request of ours got no final response (timers B and F, or 64·T1 after a CANCEL).
    TimedOut(Id, O),
    /// Our final response to an INVITE got no ACK in 64·T1 (H, or a 2xx that nobody acknowledged).
    AckMissing(Id, O),
    /// The transport could not deliver a request of ours (RFC 3261 §8.1.3.1: as a 503).
    Undeliverable(Id, O, Undelivered),
    /// An INVITE of ours has a provisional response, and whoever sent that cannot be reached any more. It may answer all
    /// the same: the transaction lives until it does, or its owner cancels it. Told once.
    OutOfReach(Id, O),
    /// The transaction is no more.
    Gone(Id, O),
}

impl<O: Copy> Event<O> {
    pub fn owner(&self) -> O {
        match *self {
            Event::TimedOut(_, owner)
            | Event::AckMissing(_, owner)
            | Event::Undeliverable(_, owner, _)
            | Event::OutOfReach(_, owner)
            | Event::Gone(_, owner) => owner,
        }
    }
}

/// There are as many transactions as may be: 503 to a request, no request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of simultaneous transactions is reached")]
pub struct Full;

/// What passed, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, responses and ACKs of ours that went out once more.
    pub repeats_out: u64,
    /// Requests and final responses of others that came once more; of several 2xx to an INVITE all but the first.
    pub repeats_in: u64,
    /// Responses that match no transaction.
    pub strays: u64,
}

/// All transactions of one shard.
#[derive(Debug)]
pub struct Transactions<O> {
    keys: Keys,
    clockwork: Clockwork,
    servers: Slab<Server<O>>,
    by_request: HashTable<Id>,
    by_merge: HashTable<Id>,
    /// Server transactions that a connection carries.
    carried: Waiting,
    clients: Slab<Client<O>>,
    /// Client transactions without a final response.
    unanswered: Waiting,
    /// Client transactions whose request is being written.
    reserved: Vec<Id>,
    /// What their owners take of a room of their own.
    owners: Filling,
    events: VecDeque<Event<O>>,
}

impl<O: Copy> Transactions<O> {
    /// `seed` must be secret and of this shard alone: keys and branches are made with it.
    pub fn new(seed: [u8; 16]) -> Self {
        Transactions::with(seed, Timers::RFC_3261, MAX_TRANSACTIONS)
    }

    /// With other timers, and at most `max` transactions of either side.
    pub fn with(seed: [u8; 16], timers: Timers, max: u32) -> Self {
        Transactions {
            keys: Keys::new(seed),
            clockwork: Clockwork {
                timers,
                wheel: Wheel::new(),
                lingering: Lingering::default(),
                traffic: Traffic::default(),
            },
            servers: Slab::new(Side::Server, max),
            by_request: HashTable::new(),
            by_merge: HashTable::new(),
            carried: Waiting::default(),
            clients: Slab::new(Side::Client, max),
            unanswered: Waiting::default(),
            reserved: Vec::new(),
            owners: Filling::default(),
            events: VecDeque::new(),
        }
    }

    /// Says what a request is. Costs one keyed hash, two for what may begin a dialog; changes nothing.
    pub fn meet(&self, request: &Message<'_>) -> Meeting {
        let class = Class::of(request);
        let hash = self.keys.request(request, class);
        let met = self.server(hash);
        let key = || Key { request: hash, merge: self.keys.merge(request) };
        if request.method() == Method::Ack {
            return met.map_or(Meeting::AckOfDialog, |(id, server)| ack_for(id, &server.machine));
        }
        if let Some((id, _)) = met {
            return Meeting::Again(id);
        }
        if class == Class::Cancel {
            let invite = self.server(self.keys.request(request, Class::Invite));
            return Meeting::Cancel { invite: invite.map(|(id, _)| id), key: key() };
        }
        let key = key();
        if key.merge.is_some_and(|merge| self.knows_merge(merge)) {
            Meeting::Merged(key)
        } else {
            Meeting::New(key)
        }
    }

    /// Begins a server transaction for a request that `meet` found to be `New`, `Merged` or a `Cancel`.
    ///
    /// # Errors
    /// `Full`: refuse it without a transaction.
    pub fn accept(
        &mut self,
        now: Instant,
        key: Key,
        request: &Message<'_>,
        from: Peer,
        owner: O,
    ) -> Result<Id, Full> {
        if self.servers.is_full() {
            return Err(Full);
        }
        let is_invite = request.method() == Method::Invite;
        let machine = if is_invite {
            Machine::Invite(server::Invite::new())
        } else {
            Machine::Other(server::Other::Trying)
        };
        let peer = reply_to(request, from);
        let id = self.servers.insert(Server { key, owner, peer, carried: None, machine });
        self.carry(id);
        let servers = &self.servers;
        self.by_request.insert_unique(key.request as u64, id, |&id| request_hash(servers, id));
        if let Some(merge) = key.merge {
            self.by_merge.insert_unique(merge, id, |&id| merge_hash(servers, id));
        }
        if !is_invite {
            let at = now + self.clockwork.timers.patience();
            self.clockwork.wheel.insert(at, Due { id, timer: Timer::Unanswered });
        }
        Ok(id)
    }

    /// Answers a request: sends `bytes`, and keeps them as long as the request, or its ACK, may come again.
    ///
    /// A second final response is ignored. To other requests than INVITE no provisional response but 100 is
    /// sent, and no 408 (RFC 4320 §4.1, §4.2): the transaction just absorbs what comes.
    pub fn respond(&mut self, now: Instant, id: Id, code: u16, bytes: &[u8], out: &mut Outbox) {
        let Some(server) = self.servers.get(id) else { return };
        let is_invite = matches!(server.machine, Machine::Invite(_));
        let happening = match code {
            100 => server::Happening::Provisional(bytes),
            101..200 if is_invite => server::Happening::Provisional(bytes),
            200..300 => server::Happening::Success(bytes),
            408 if !is_invite => server::Happening::Failure(&[]),
            300..700 => server::Happening::Failure(bytes),
            _ => return,
        };
        self.step_server(now, id, happening, out);
    }

    /// Whether our final response to an INVITE has no ACK yet.
    pub fn awaits_ack(&self, id: Id) -> bool {
        self.servers.get(id).is_some_and(|server| server.machine.awaits_ack())
    }

    /// A request came again: repeats the last response, if there is one and its state has it repeated.
    pub fn repeat(&mut self, now: Instant, id: Id, out: &mut Outbox) {
        self.clockwork.traffic.repeats_in += 1;
        self.step_server(now, id, server::Happening::Again, out);
    }

    /// The ACK came: that of a failure (`Meeting::Ack`), or the one of the dialog that our 2xx made, which
    /// stops its being repeated (RFC 3261 §13.3.1.4).
    pub fn acked(&mut self, now: Instant, id: Id) {
        // An ACK has nothing sent.
        let mut out = Outbox::default();
        self.step_server(now, id, server::Happening::Ack, &mut out);
        debug_assert!(out.sends.is_empty());
    }

    /// Reserves a client transaction, so that its request can be written with its branch.
    ///
    /// # Errors
    /// `Full`: the request cannot be sent now.
    pub fn reserve(&mut self, owner: O) -> Result<(Id, Branch), Full> {
        if self.clients.is_full() {
            return Err(Full);
        }
        let id = self.clients.insert(Client { owner, unanswered: None, role: Role::Reserved });
        self.reserved.push(id);
        Ok((id, self.keys.branch(id)))
    }

    /// Sends the request of a reserved transaction. `bytes` must have its branch in the top Via.
    pub fn send(&mut self, now: Instant, id: Id, method: Method, bytes: &[u8], to: Peer, out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if !matches!(client.role, Role::Reserved) {
            return;
        }
        self.reserved.retain(|reserved| *reserved != id);
        let mut act = Actions::new(now, id, to, &mut self.clockwork, out);
        client.role = Role::send(method, bytes, to, &mut act);
        client.unanswered = Some(self.unanswered.enter(id, &to));
    }

    /// Says whose response this is and what it means. `None` for one that came before, for the answer to a
    /// CANCEL, and for a stray one (another shard's, a forged one, one that came too late).
    pub fn response(
        &mut self,
        now: Instant,
        response: &Message<'_>,
        out: &mut Outbox,
    ) -> Option<(Id, O, Response)> {
        let Some(id) = self.asker(response) else {
            self.clockwork.traffic.strays += 1;
            return None;
        };
        let owner = self.clients.get(id)?.owner;
        let happening = match response.status() {
            100..200 => client::Happening::Provisional,
            200..300 => client::Happening::Success,
            _ => client::Happening::Failure(response),
        };
        let up = self.step_client(now, id, happening, out);
        up.map(|up| (id, owner, up))
    }

    /// The request that a response answers, while it has no final one and was not given up.
    pub fn asked_by(&self, response: &Message<'_>) -> Option<&[u8]> {
        self.clients.get(self.asker(response)?)?.role.request()
    }

    /// Whether nothing at all has answered an INVITE of ours.
    pub fn is_unheard(&self, id: Id) -> bool {
        self.clients.get(id).is_some_and(|client| client.role.is_unheard())
    }

    /// Gives an INVITE up: its CANCEL goes out, after the first provisional response if none has come yet
    /// (RFC 3261 §9.1). A 2xx that crosses it is handed up as ever. `reason` is the value of a Reason header.
    pub fn cancel(&mut self, now: Instant, id: Id, reason: Option<&[u8]>, out: &mut Outbox) {
        self.step_client(now, id, client::Happening::Cancel(reason), out);
    }

    /// Whether a request of ours has no final response yet.
    pub fn is_pending(&self, id: Id) -> bool {
        self.clients.get(id).is_some_and(|client| client.role.is_pending())
    }

    /// Our ACK of its 2xx has left: from now on an INVITE's transaction only lingers, for repetitions of that.
    pub fn acknowledged(&mut self, now: Instant, id: Id) {
        if self.clients.get(id).is_some_and(|client| client.role.is_accepted()) {
            self.clockwork.lingering.enter(now, id, Timer::M);
        }
    }

    /// The transport could not send what transaction `id` gave it.
    pub fn failed(&mut self, now: Instant, id: Id, out: &mut Outbox) {
        let why = Undelivered::Unreachable;
        self.step_client(now, id, client::Happening::Undeliverable(why), out);
    }

    /// Ends a transaction on the spot, without a word to anyone: a reservation that is not used, or a call
    /// that failed within us.
    pub fn abandon(&mut self, id: Id) {
        match Side::of(id) {
            Side::Server => self.end_server(id),
            Side::Client => self.end_client(id),
        }
    }

    /// Forgets the reservations whose requests were never written, without an event: the writing panicked.
    pub fn abandon_reserved(&mut self) {
        for id in std::mem::take(&mut self.reserved) {
            self.clients.remove(id);
        }
    }

    /// The owner of a live transaction.
    pub fn owner(&self, id: Id) -> Option<O> {
        match Side::of(id) {
            Side::Server => self.servers.get(id).map(|server| server.owner),
            Side::Client => self.clients.get(id).map(|client| client.owner),
        }
    }

    /// Gives a live transaction to another owner.
    pub fn set_owner(&mut self, id: Id, owner: O) {
        match Side::of(id) {
            Side::Server => {
                if let Some(server) = self.servers.get_mut(id) {
                    server.owner = owner;
                }
            }
            Side::Client => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.owner = owner;
                }
            }
        }
    }

    /// Whom a server transaction answers to, or a client transaction has sent to.
    pub fn peer(&self, id: Id) -> Option<Peer> {
        match Side::of(id) {
            Side::Server => self.servers.get(id).map(|server| server.peer),
            Side::Client => self.clients.get(id).and_then(|client| client.role.peer()),
        }
    }

    /// How much of a room of their own those owners take that only wait for lingering transactions. The fullest
    /// of that and both sides says how crowded it is.
    pub fn set_owners(&mut self, taken: usize, room: usize) {
        self.owners = Filling { taken, room };
    }

    /// When `expire` has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let exact = self.clockwork.wheel.next_deadline();
        match (exact, self.clockwork.lingering.next_deadline(self.linger())) {
            (Some(exact), Some(lingering)) => Some(exact.min(lingering)),
            (exact, lingering) => exact.or(lingering),
        }
    }

    /// Fires every timer that is due, in order; after them, those of what has lingered long enough.
    pub fn expire(&mut self, now: Instant, out: &mut Outbox) {
        while let Some((_, Due { id, timer })) = self.clockwork.wheel.pop_due(now) {
            self.fire(now, id, timer, out);
        }
        // Each that leaves may let the others stay longer.
        while let Some((id, timer)) = self.clockwork.lingering.pop_due(now, self.linger()) {
            self.fire(now, id, timer, out);
        }
    }

    /// The next thing that an owner must know, in the order in which it happened. To be asked until `None`
    /// after each call that takes `now`.
    pub fn next_event(&mut self) -> Option<Event<O>> {
        self.events.pop_front()
    }

    pub fn traffic(&self) -> Traffic {
        self.clockwork.traffic
    }

    /// Whether there is room for new calls: some is kept for those in progress.
    pub fn has_room_for_calls(&self) -> bool {
        !self.servers.is_filling(KEPT_FOR_CALLS) && !self.clients.is_filling(KEPT_FOR_CALLS)
    }

    /// How many transactions live: as server, as client.
    pub fn live(&self) -> (usize, usize) {
        (self.servers.len(), self.clients.len())
    }

    /// How long what only lingers does so now.
    fn linger(&self) -> Duration {
        let fillings = [self.servers.filling(), self.clients.filling(), self.owners];
        let timers = &self.clockwork.timers;
        let crowded = fillings.into_iter().filter(|filling| !filling.is_free());
        crowded.map(|filling| filling.linger(timers)).fold(timers.patience(), Duration::min)
    }

    fn fire(&mut self, now: Instant, id: Id, timer: Timer, out: &mut Outbox) {
        match Side::of(id) {
            Side::Server => self.step_server(now, id, server::Happening::Timer(timer), out),
            Side::Client => {
                self.step_client(now, id, client::Happening::Timer(timer), out);
            }
        }
    }

    fn server(&self, request: u128) -> Option<(Id, &Server<O>)> {
        let servers = &self.servers;
        let is_it = |id: &Id| servers.get(*id).is_some_and(|server| server.key.request == request);
        let id = *self.by_request.find(request as u64, is_it)?;
        Some((id, servers.get(id)?))
    }

    fn knows_merge(&self, merge: u64) -> bool {
        let servers = &self.servers;
        let is_it = |id: &Id| servers.get(*id).is_some_and(|server| server.key.merge == Some(merge));
        self.by_merge.find(merge, is_it).is_some()
    }

    fn step_server(&mut self, now: Instant, id: Id, happening: server::Happening<'_>, out: &mut Outbox) {
        let Some(server) = self.servers.get_mut(id) else { return };
        let mut act = Actions::new(now, id, server.peer, &mut self.clockwork, out);
        let is_over = server.machine.step(happening, &mut act);
        if let Some(verdict) = act.verdict {
            self.events.push_back(verdict.event(id, server.owner));
        }
        if is_over {
            self.end_server(id);
        }
    }

    fn end_server(&mut self, id: Id) {
        self.set_down(id);
        let Some(server) = self.servers.get(id) else { return };
        if let Ok(found) = self.by_request.find_entry(server.key.request as u64, |&other| other == id) {
            found.remove();
        }
        if let Some(merge) = server.key.merge
            && let Ok(found) = self.by_merge.find_entry(merge, |&other| other == id)
        {
            found.remove();
        }
        self.events.push_back(Event::Gone(id, server.owner));
        self.servers.remove(id);
    }

    /// The client transaction that a response belongs to (RFC 3261 §17.1.3): by the top Via's branch, and by
    /// the CSeq method, for a CANCEL has the branch of its INVITE.
    fn asker(&self, response: &Message<'_>) -> Option<Id> {
        let branch = response.via().branch?;
        let id = self.clients.id_at(Branch::place(branch)?)?;
        if self.keys.branch(id).as_bytes() != branch {
            return None;
        }
        let method = response.method();
        match &self.clients.get(id)?.role {
            Role::Invite { cancel, .. } if method == Method::Cancel => *cancel,
            Role::Invite { .. } => (method == Method::Invite).then_some(id),
            Role::Other { method: asked, .. } => (method == *asked).then_some(id),
            Role::Reserved | Role::Cancel { .. } => None,
        }
    }

    fn step_client(
        &mut self,
        now: Instant,
        id: Id,
        happening: client::Happening<'_>,
        out: &mut Outbox,
    ) -> Option<Response> {
        let client = self.clients.get_mut(id)?;
        let peer = client.role.peer()?;
        let mut act = Actions::new(now, id, peer, &mut self.clockwork, out);
        let is_over = client.role.step(happening, &mut act);
        let Actions { up, cancel, verdict, .. } = act;
        // Of many that ring where nobody can be reached any more each is told once.
        let waits = client.role.is_pending() && verdict != Some(Verdict::OutOfReach);
        let place = if waits { None } else { client.unanswered.take() };
        // The owner has heard of the INVITE what there is to hear.
        let up = up.filter(|_| !client.role.is_cancel());
        if let Some(verdict) = verdict.filter(|_| !client.role.is_cancel()) {
            self.events.push_back(verdict.event(id, client.owner));
        }
        self.strike(place);
        if let Some(bytes) = cancel {
            self.send_cancel(now, id, &bytes, peer, out);
        }
        if is_over {
            self.end_client(id);
        }
        up
    }

    /// Begins the transaction of a CANCEL. The limit does not hold for it: there is at most one for each
    /// INVITE, and it makes room.
    fn send_cancel(&mut self, now: Instant, invite: Id, bytes: &[u8], to: Peer, out: &mut Outbox) {
        let Some(owner) = self.owner(invite) else { return };
        let id = self.clients.insert(Client { owner, unanswered: None, role: Role::Reserved });
        let mut act = Actions::new(now, id, to, &mut self.clockwork, out);
        let state = client::Other::send(bytes, &mut act);
        if let Some(client) = self.clients.get_mut(id) {
            client.role = Role::Cancel { to, state };
            client.unanswered = Some(self.unanswered.enter(id, &to));
        }
        if let Some(Client { role: Role::Invite { cancel, .. }, .. }) = self.clients.get_mut(invite) {
            *cancel = Some(id);
        }
    }

    fn end_client(&mut self, id: Id) {
        let Some(Client { owner, role, unanswered }) = self.clients.remove(id) else { return };
        self.strike(unanswered);
        match role {
            Role::Invite { cancel, .. } => {
                // What the CANCEL was for has ended; its own answer finds nobody any more.
                if let Some(cancel) = cancel {
                    self.end_client(cancel);
                }
                self.events.push_back(Event::Gone(id, owner));
            }
            Role::Other { .. } => self.events.push_back(Event::Gone(id, owner)),
            Role::Reserved => {
                self.reserved.retain(|reserved| *reserved != id);
                self.events.push_back(Event::Gone(id, owner));
            }
            Role::Cancel { .. } => {}
        }
    }

    /// Takes a client transaction out of the row of those without a final response.
    fn strike(&mut self, place: Option<u32>) {
        if let Some(place) = place
            && let Some(moved) = self.unanswered.strike(place)
            && let Some(client) = self.clients.get_mut(moved)
        {
            client.unanswered = Some(place);
        }
    }
}

impl Verdict {
    fn event<O>(self, id: Id, owner: O) -> Event<O> {
        match self {
            Verdict::TimedOut => Event::TimedOut(id, owner),
            Verdict::AckMissing => Event::AckMissing(id, owner),
            Verdict::Undeliverable(why) => Event::Undeliverable(id, owner, why),
            Verdict::OutOfReach => Event::OutOfReach(id, owner),
        }
    }
}

fn ack_for(id: Id, machine: &Machine) -> Meeting {
    match machine {
        Machine::Invite(server::Invite::Completed { .. } | server::Invite::Confirmed) => Meeting::Ack(id),
        Machine::Invite(server::Invite::Accepted { .. } | server::Invite::Acknowledged) => {
            Meeting::AckOfAccepted(id)
        }
        Machine::Invite(server::Invite::Proceeding { .. } | server::Invite::Terminated)
        | Machine::Other(_) => Meeting::AckOfDialog,
    }
}

fn request_hash<O>(servers: &Slab<Server<O>>, id: Id) -> u64 {
    servers.get(id).map_or(0, |server| server.key.request as u64)
}

fn merge_hash<O>(servers: &Slab<Server<O>>, id: Id) -> u64 {
    servers.get(id).and_then(|server| server.key.merge).unwrap_or(0)
}
