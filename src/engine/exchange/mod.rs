//! PURE. One shard's exchange: it owns its calls, dialogs, transactions and timers. A message, a moment or
//! an operator's wish comes in; bytes to send and notices come out. No socket, clock, task or lock.
//!
//! - [`abilities`]: what we say that we can.
//! - [`anchor`]: audio that comes through us; [`heard`]: how it went; [`keys`]: what is pressed in it.
//! - [`admission`]: whether new calls are taken; [`shedding`]: what is not even read.
//! - [`arrive`]: requests outside a dialog, and how a call begins.
//! - [`authenticate`]: who an agent is; [`register`]: where its phones are; [`binding`]: who keeps that.
//! - [`within`]: requests within a dialog.
//! - [`reply`]: responses to what we sent; [`forks`]: the dialogs of a far side that forks.
//! - [`perform`]: a call's actions become messages; [`invite`] and [`caller`] write the long ones.
//! - [`instant`]: what a message would do, so that those of one instant are taken in R8's order.
//! - [`challenged`]: a challenge of what we sent, and our answer.
//! - [`carry`]: the headers that go along from one side to the other.
//! - [`refer`]: an agent sends the other side on.
//! - [`replace`]: another call takes the place of a dialog of ours.
//! - [`keep`]: session timers and keep-alive.
//! - [`ask`]: requests of ours outside any dialog, by [`errand`]; [`health`]: those to gateways; [`phones`]: those to phones behind a NAT, and where a phone is now;
//!   [`enroll`]: our registration at carriers.
//! - [`fault`]: what a caught panic leaves to do. [`said`]: what the log is told.

mod abilities;
mod accounts;
mod admission;
mod again;
mod anchor;
mod arrive;
mod ask;
mod authenticate;
pub mod binding;
mod caller;
mod carry;
mod challenged;
mod dialled;
mod ended;
mod enroll;
mod errand;
mod fault;
mod forks;
mod health;
mod heard;
mod inspect;
mod instant;
mod invite;
mod keep;
mod keys;
mod names;
mod perform;
mod phones;
mod refer;
mod refuse;
mod register;
mod replace;
mod reply;
mod said;
mod shedding;
mod slot;
mod story;
mod switchboard;
mod within;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::call::cdr::{Cdr, JournalEntry};
use crate::call::event::{Action, Event, LegId, Timer};
use crate::media::plane::{Heard, Key};
use crate::number::{Country, E164};
use crate::routing::{Agent, Origin, Table, Trunk, Urgency};
use crate::sip::digest::Nonces;
use crate::sip::peer::{ListenerId, Peer, Transport, Undelivered};
use crate::sip::transaction::{self, Outbox, Transactions};
use crate::sip::wheel::Wheel;
use crate::time::{Instant, Now};

use crate::engine::help::Help;
use crate::engine::hosts::Hosts;
use crate::engine::trunks::Trunks;

use admission::Admission;
pub use anchor::{Anchoring, Booth};
use binding::Directory;
use errand::Asks;
use fault::Arriving;
use inspect::write_contact;
use names::Namer;
use switchboard::Switchboard;

pub use names::{LineTokens, Router, SlotKey, find_call_id};
pub use said::CallEvent;
use slot::{Armed, Referral, Slots};
pub use slot::{Owner, Wake};

/// The most calls that one shard holds; a new INVITE above gets 503. At 12 KB each that is 1.2 GB.
pub const MAX_CALLS: usize = 100_000;
/// The most calls of one shard with those that have ended and whose dialogs wait for repetitions; a new INVITE above
/// gets 503. They wait 64·T1; from 1,250 calls/s on less the more of them there are, at 20,000 calls/s 180,000 of them
/// 9 s. At 2.5 KB for what is over, its transactions included, the bound is 0.8 GB.
pub const MAX_DIALOGS: usize = 320_000;
/// A new INVITE that lay longer than this in our queues is refused: who has heard nothing for so long is about to
/// try elsewhere (R14: 4 s).
pub const STALE: Duration = Duration::from_secs(2);
/// No timer stands in the wheel for longer than this before it is looked at again: `max_call_seconds` of a call
/// that is over is forgotten by then, and not hours later. Twice in 64·T1, so that what ended calls leave here is
/// little beside the rest of them.
const HOP: Duration = Duration::from_secs(16);
/// How many ended calls keep their ladder for `call <id>`.
const REMEMBERED: usize = 256;

/// How much a shard holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub calls: usize,
    /// Calls, and those that have ended and whose dialogs still wait for repetitions.
    pub dialogs: usize,
    /// Of either side.
    pub transactions: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { calls: MAX_CALLS, dialogs: MAX_DIALOGS, transactions: transaction::MAX_TRANSACTIONS }
    }
}

/// What can happen to a shard.
pub enum Input<'a> {
    /// A whole message. `age`: how long it lay in our queues before this turn.
    Received { from: Peer, bytes: &'a [u8], age: Duration },
    /// The socket refused it, or the stream is dead or could not be opened (RFC 3261 §18.4).
    Undeliverable { to: Peer, why: Undelivered },
    /// What waits in our queues as this turn begins: how long the first of it has lain (zero: nothing waits), and
    /// how many datagrams the kernel dropped since the last turn.
    Backlog { age: Duration, lost: u64 },
    /// Timers that are due.
    Due,
    /// A new table was published; calls in progress keep their plan.
    Published(Arc<Table>),
    /// From now on no new calls (503).
    Drain,
    /// An operator ends a call.
    HangUp { call: &'a str },
    /// A thread that carries audio tells of a call's.
    Audio { of: Key, heard: Heard },
}

impl<'a> Input<'a> {
    /// The message, if it is one, and whose.
    pub fn message(&self) -> Option<(Peer, &'a [u8])> {
        match self {
            Input::Received { from, bytes, .. } => Some((*from, bytes)),
            Input::Undeliverable { .. }
            | Input::Backlog { .. }
            | Input::Due
            | Input::Published(_)
            | Input::Drain
            | Input::HangUp { .. }
            | Input::Audio { .. } => None,
        }
    }
}

/// What the shard wants done, in order. The engine drains it every turn and gives the buffers back.
#[derive(Default)]
pub struct Effects {
    pub out: Outbox,
    pub notices: Vec<Notice>,
    /// What capture hears of calls; `None`: nothing is captured.
    pub marks: Option<Vec<Mark>>,
}

impl Effects {
    fn mark(&mut self, mark: impl FnOnce() -> Mark) {
        if let Some(marks) = &mut self.marks {
            marks.push(mark());
        }
    }
}

/// Which call a Call-ID is of, for who captures messages: the exchange knows, and need not read them for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A call begins with an INVITE of this Call-ID.
    Begins { call: Box<str>, call_id: Box<[u8]> },
    /// A leg of the call has this one.
    Leg { call: Box<str>, call_id: Box<[u8]> },
    /// The call's record is written.
    Over { call: Box<str> },
}

/// What others hear of a call.
#[derive(Debug)]
pub enum Notice {
    /// It was answered: into the journal (R12).
    Answered(Box<JournalEntry>),
    /// It is over.
    Ended(Box<Cdr>),
    /// Its first INVITEs are out; the caller's had waited so long in our queues.
    SetUp { waited: Duration },
    /// A line for the log.
    Said(CallEvent),
}

/// What shards share and the core may not own: counts across shards, the record's slot, our own addresses.
pub trait Desk: Send + Sync {
    /// Reserves the call record's slot on its way to disk (R12). False: no slot, no call.
    fn reserve_record(&self) -> bool;
    /// Reserves one though none be free, for a call for help (R13).
    fn reserve_record_beyond(&self);
    /// Gives it back where no call came of it.
    fn release_record(&self);
    /// The address that the kernel sends from to `towards` (for wildcard listeners without `advertise`).
    fn local_address(&self, listener: ListenerId, towards: IpAddr) -> SocketAddr;
    /// Whether it is an address of this machine: what is sent there comes to a listener that is bound to any address.
    fn is_local(&self, ip: IpAddr) -> bool;
    /// Takes one of the agent's calls (`max_calls`; 0 = no limit).
    fn take_agent(&self, agent: &Agent) -> bool;
    fn free_agent(&self, agent: &Agent);
    /// Counts one more call of the agent, however many it has: one that it makes (R13).
    fn seat_agent(&self, agent: &Agent);
    /// Takes one of the trunk's calls (`max_calls`, `max_cps`), at `now`.
    fn take_trunk(&self, trunk: &Trunk, now: Instant) -> bool;
    /// Counts one more call of the trunk, however many it has: one for help (R13).
    fn seat_trunk(&self, trunk: &Trunk);
    fn free_trunk(&self, trunk: &Trunk);
    /// A caller's call to a DID begins to ring: how many ring now from that caller, and of them to that DID.
    fn ringing_began(&self, caller: E164, did: E164) -> (u32, u32);
    fn ringing_ended(&self, caller: E164, did: E164);
    /// Who has just called for help (R13).
    fn help(&self) -> &Help;
    /// Where the agents' phones are.
    fn directory(&self) -> &dyn Directory;
    /// How the trunks are.
    fn trunks(&self) -> &Trunks;
    /// Where the hosts are that have names.
    fn hosts(&self) -> &Hosts;

    /// Counts a call that comes from there; false: it may have no more.
    fn enter(&self, origin: &Origin, urgency: &Urgency, now: Instant) -> bool {
        match origin {
            Origin::Trunk(trunk) if urgency.is_ordinary() => self.take_trunk(trunk, now),
            Origin::Trunk(trunk) => {
                self.seat_trunk(trunk);
                true
            }
            Origin::Agent { agent, .. } => {
                self.seat_agent(agent);
                if urgency.is_emergency() {
                    self.help().called(agent, now);
                }
                true
            }
        }
    }

    /// It has ended.
    fn leave(&self, origin: &Origin, urgency: &Urgency, now: Instant) {
        if let (Origin::Agent { agent, .. }, true) = (origin, urgency.is_emergency()) {
            self.help().called(agent, now);
        }
        match origin {
            Origin::Trunk(trunk) => self.free_trunk(trunk),
            Origin::Agent { agent, .. } => self.free_agent(agent),
        }
    }
}

/// One address that we listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    pub transport: Transport,
    pub addr: SocketAddr,
    /// What Via and Contact say instead.
    pub advertise: Option<Box<str>>,
}

/// What a shard is told once.
#[derive(Clone)]
pub struct Settings {
    /// The node's name.
    pub node: Arc<str>,
    pub country: Country,
    pub listeners: Vec<Listener>,
    /// 403 to a stranger's INVITE rather than silence.
    pub answer_strangers: bool,
    pub shard: u8,
    pub router: Router,
    pub seed: [u8; 16],
    /// Of our challenges (R1b).
    pub realm: Arc<str>,
    /// The same for all shards of the node.
    pub nonces: Nonces,
    /// Of our registrations at carriers (R1c).
    pub lines: LineTokens,
}

/// How much a shard holds now, for metrics and for proof that nothing is left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub calls: usize,
    /// Slots that wait for an ACK or a late response, calls included.
    pub slots: usize,
    /// Those that live, the callers' included: a leg that has ended counts no more, though its call goes on.
    pub legs: usize,
    pub transactions: usize,
}

/// One shard's exchange.
pub struct Exchange {
    settings: Settings,
    table: Arc<Table>,
    /// The addresses of the table's gateways and phones, sorted.
    far_ends: Box<[IpAddr]>,
    desk: Arc<dyn Desk>,
    /// None: all audio passes us by.
    audio: Option<(Anchoring, Box<dyn Booth>)>,
    names: Namer,
    transactions: Transactions<Owner>,
    timers: Wheel<(SlotKey, Wake, u32)>,
    asks: Asks,
    /// The tokens of trunks at whose carriers we are registered (R1c).
    lines: Vec<([u8; 32], Arc<Trunk>)>,
    /// When this turn began.
    now: Instant,
    /// How often a timer was set.
    armed: u32,
    slots: Slots,
    /// The last REFER of those calls in progress that had one.
    referrals: BTreeMap<SlotKey, Referral>,
    /// Events that an action caused, for the same turn.
    pending: VecDeque<(SlotKey, Event)>,
    actions: Vec<Action>,
    scratch: Vec<u8>,
    carried: carry::Carried,
    ended: VecDeque<ended::Ended>,
    draining: bool,
    admission: Admission,
    bounds: Bounds,
    calls: usize,
    /// Called legs that live.
    called: usize,
    rejected: Rejected,
    full: Rejected,
    /// The call that is being worked on, should it panic.
    working: Option<SlotKey>,
    /// An INVITE of a trunk's that is to become a call, until it is one.
    arriving: Option<Arriving>,
}

/// Requests that became no call, by reason; read and cleared by the engine.
#[derive(Clone, Debug, Default)]
pub struct Rejected(Vec<(&'static str, u64)>);

impl Rejected {
    fn count(&mut self, reason: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.0.push((reason, 1)),
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.drain(..)
    }
}

impl Exchange {
    pub fn new(mut settings: Settings, table: Arc<Table>, desk: Arc<dyn Desk>) -> Exchange {
        // Written once: every message of ours has it twice.
        for listener in settings.listeners.iter_mut().filter(|listener| !listener.addr.ip().is_unspecified())
        {
            listener.advertise.get_or_insert_with(|| listener.addr.to_string().into());
        }
        let mut exchange = Exchange {
            names: Namer::new(settings.router, settings.shard),
            transactions: Transactions::new(settings.seed),
            settings,
            far_ends: far_ends(&table),
            table,
            desk,
            audio: None,
            timers: Wheel::new(),
            asks: Asks::default(),
            lines: Vec::new(),
            now: Instant::ZERO,
            armed: 0,
            slots: Slots::default(),
            referrals: BTreeMap::new(),
            pending: VecDeque::new(),
            actions: Vec::new(),
            scratch: Vec::with_capacity(2048),
            carried: carry::Carried::default(),
            ended: VecDeque::new(),
            draining: false,
            admission: Admission::default(),
            bounds: Bounds::default(),
            calls: 0,
            called: 0,
            rejected: Rejected::default(),
            full: Rejected::default(),
            working: None,
            arriving: None,
        };
        // Nothing is sent before its time has come.
        exchange.settle(Now::default(), &mut Effects::default());
        exchange.begin_round(Instant::ZERO);
        exchange
    }

    /// The same with other bounds; to be set before it takes anything in.
    pub fn with_bounds(self, bounds: Bounds) -> Exchange {
        let seed = self.settings.seed;
        let transactions = Transactions::with(seed, transaction::Timers::RFC_3261, bounds.transactions);
        Exchange { bounds, transactions, ..self }
    }

    /// The same with audio that comes through us; to be set before it takes anything in.
    pub fn with_audio(self, anchoring: Anchoring, booth: Box<dyn Booth>) -> Exchange {
        Exchange { audio: Some((anchoring, booth)), ..self }
    }

    /// Takes one input and appends what follows from it to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        self.now = now.mono;
        // Of the room that calls in progress leave: they alone shorten nothing.
        let ended = self.slots.len().saturating_sub(self.calls);
        self.transactions.set_owners(ended, self.bounds.dialogs.saturating_sub(self.calls));
        match input {
            Input::Received { from, bytes, age } => self.received(now, from, bytes, age, out),
            Input::Undeliverable { to, why } => {
                for gone in to.flow.map(|flow| self.desk.directory().lose(flow)).unwrap_or_default() {
                    out.notices.push(Notice::Said(CallEvent::Unregistered { agent: gone.agent }));
                }
                self.transactions.undeliverable(now.mono, to, why, &mut out.out);
                self.enrolments_lose(now, to);
            }
            Input::Backlog { age, lost } => self.admission.observe(now.mono, age, lost),
            Input::Due => self.due(now, out),
            // Two that were published at once may be told of in the other order.
            Input::Published(table) if table.generation < self.table.generation => {}
            Input::Published(table) => {
                let is_around = table.is_around(&self.table);
                self.table = table;
                if !is_around {
                    self.far_ends = far_ends(&self.table);
                    self.settle(now, out);
                }
            }
            Input::Drain => self.draining = true,
            Input::HangUp { call } => {
                if let Some(key) = self.find(call) {
                    self.happen(now, key, Event::OperatorHangsUp, out);
                }
            }
            Input::Audio { of, heard } => self.audio_heard(now, of, heard, out),
        }
        self.work_off(now, out);
        while let Some((of, heard)) = self.audio.as_mut().and_then(|(_, booth)| booth.told()) {
            self.audio_heard(now, of, heard, out);
        }
        self.working = None;
    }

    /// Begins what a table wants done without a call.
    fn settle(&mut self, now: Now, out: &mut Effects) {
        self.desk.trunks().settle(&self.table);
        self.settle_probes(now.mono);
        self.settle_enrolments(now, out);
    }

    /// When [`Input::Due`] is wanted next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ours = [self.timers.next_deadline(), self.asks.next_deadline()];
        ours.into_iter().chain([self.transactions.next_deadline(), self.admission.deadline()]).flatten().min()
    }

    /// The same for what calls wait for: whom we ask again and again is left aside, and timers of transactions that are
    /// no more.
    pub fn next_deadline_of_calls(&self) -> Option<Instant> {
        let theirs = self.transactions.next_deadline().filter(|_| self.transactions.live() != (0, 0));
        self.timers.next_deadline().into_iter().chain(theirs).min()
    }

    pub fn load(&self) -> Load {
        let (servers, clients) = self.transactions.live();
        Load {
            calls: self.calls,
            slots: self.slots.len(),
            legs: self.calls + self.called,
            transactions: servers + clients,
        }
    }

    /// Pairs of ports that audio of calls has.
    pub fn ports(&self) -> usize {
        self.audio.as_ref().map_or(0, |(_, booth)| booth.used())
    }

    /// Requests that became no call since this was last read.
    pub fn rejected(&mut self) -> &mut Rejected {
        &mut self.rejected
    }

    /// New calls that a bound of ours kept out since this was last read, by what was full.
    pub fn full(&mut self) -> &mut Rejected {
        &mut self.full
    }

    /// Messages repeated by us and to us since the start.
    pub fn traffic(&self) -> transaction::Traffic {
        self.transactions.traffic()
    }

    fn due(&mut self, now: Now, out: &mut Effects) {
        self.transactions.expire(now.mono, &mut out.out);
        self.asks_due(now, out);
        while let Some((_, (key, wake, turn))) = self.timers.pop_due(now.mono) {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            let Some(place) = slot.armed.iter().position(|armed| armed.turn == turn) else { continue };
            let at = slot.armed[place].at;
            if at > now.mono {
                self.timers.insert(at.min(now.mono + HOP), (key, wake, turn));
                continue;
            }
            slot.armed.swap_remove(place);
            self.working = Some(key);
            if let Wake::Call(Timer::TryTimeout(leg)) = wake
                && self.is_unheard(key, leg)
            {
                self.exit_silent(now, key, leg);
            }
            match wake {
                Wake::Call(timer) => {
                    self.say(
                        now,
                        key,
                        crate::call::story::Way::Here,
                        LegId::CALLER,
                        story::What::Turn(wake.name().0),
                    );
                    self.happen(now, key, Event::Woke(timer), out);
                }
                Wake::Session(leg) => self.session_due(now, key, leg, out),
                Wake::KeepAlive(leg) => self.keep_alive_due(now, key, leg, out),
                Wake::RepeatReliable => self.repeat_reliable(now, key, out),
                Wake::Record => {
                    self.record_as_it_is(key, out);
                    self.sweep(key);
                }
                Wake::Follow(leg) => self.follow_due(now, key, leg, out),
            }
        }
    }

    /// Works off what the transactions and actions of this turn brought up.
    fn work_off(&mut self, now: Now, out: &mut Effects) {
        while let Some(event) = self.transactions.next_event() {
            self.working = event.owner().place().map(|(key, _)| key);
            self.transaction_event(now, event, out);
        }
    }

    /// Hands one event to a call and performs what it wants, until nothing follows.
    fn happen(&mut self, now: Now, key: SlotKey, event: Event, out: &mut Effects) {
        self.pending.push_back((key, event));
        while let Some((key, event)) = self.pending.pop_front() {
            let Some(event) = self.hear_audio(now, key, event, out) else { continue };
            let Some(slot) = self.slots.get_mut(key) else { continue };
            let Some(call) = slot.call.as_mut() else { continue };
            let mut actions = std::mem::take(&mut self.actions);
            self.working = Some(key);
            let lines = &mut Switchboard {
                desk: &*self.desk,
                keeps_messages: self.audio.as_ref().is_some_and(|(_, booth)| booth.keeps_messages()),
                called: &mut self.called,
                names: &mut self.names,
                now: now.mono,
            };
            call.handle(now, event, lines, &mut actions);
            for action in actions.drain(..) {
                let action = self.show_audio(key, action);
                self.perform(now, key, action, out);
            }
            self.actions = actions;
            self.settle_audio(key);
            self.record_heard(key, out);
        }
        self.sweep(key);
    }

    fn arm(&mut self, key: SlotKey, wake: Wake, at: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.armed.retain(|armed| armed.wake != wake);
        self.armed = self.armed.wrapping_add(1);
        slot.armed.push(Armed { wake, at, turn: self.armed });
        self.timers.insert(at.min(self.now + HOP), (key, wake, self.armed));
    }

    fn disarm(&mut self, key: SlotKey, wake: Wake) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.armed.retain(|armed| armed.wake != wake);
        }
    }

    fn unpin(&mut self, key: SlotKey) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.pins = slot.pins.saturating_sub(1);
        }
        self.sweep(key);
    }

    /// Frees a slot to which nothing can come any more.
    fn sweep(&mut self, key: SlotKey) {
        if self.slots.get_mut(key).is_some_and(|slot| slot.is_done()) {
            self.slots.remove(key);
        }
    }
}

/// The addresses that calls go to, sorted.
fn far_ends(table: &Table) -> Box<[IpAddr]> {
    let gateways = table.trunks().iter().flat_map(|trunk| &trunk.gateways).filter_map(|gateway| gateway.addr);
    let phones = table.agents().iter().filter_map(|agent| agent.contact.as_ref()?.addr);
    let mut all: Vec<IpAddr> = gateways.chain(phones).map(|addr| addr.ip()).collect();
    all.sort_unstable();
    all.dedup();
    all.into_boxed_slice()
}
