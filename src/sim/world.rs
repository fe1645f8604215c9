//! A world: ends, a wire, one clock, one seed, and the server's core in the middle.

mod rest;
mod sound;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::booth::Listening;
use super::check::{self, Breach, Check};
use super::core::{Census, Core, Maker};
use super::dice::Dice;
use super::happening::Happening;
use super::host::Host;
use super::layout;
use super::manner::{CallerHabit, Habit, Manner, Oddity};
use super::message::Message;
use super::queue::Queue;
use super::trace::{Crossing, Trace, label};
use super::wire::{Way, Wire};
use crate::engine::exchange::{Effects, Input};
use crate::engine::precedence;
use crate::routing::Explanation;
use crate::sip::peer::{ListenerId, Peer, Transport, Undelivered};
use crate::time::{Instant, Now, Wall};
use crate::transport::shed::Share;

/// Wall time at the world's beginning: 2026-11-01T10:00:00Z.
const BEGINNING: u64 = 1_793_527_200_000;
/// A core that is woken so often within one moment is going round in circles.
const WAKES_PER_MOMENT: u32 = 1_000;
/// How old a datagram may be that arrives once more: a transaction remembers for T4 = 5 s.
const REPLAY_WITHIN: Duration = Duration::from_secs(4);

pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What is on its way.
#[derive(Debug)]
enum Event {
    ToCore {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// To a shard, from one or from itself.
    Inside(usize, Peer, Vec<u8>),
    ToHost {
        host: usize,
        bytes: Vec<u8>,
    },
    /// This peer's port is closed.
    Refused(Peer),
    Happens(Happening),
}

/// A sentence that did not hold, and when.
#[derive(Clone, Debug)]
pub struct Broken {
    pub seed: u64,
    pub at: Instant,
    pub check: &'static str,
    pub sentence: String,
    pub ladder: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_micros() as f64 / 1e6;
        let Broken { seed, check, sentence, ladder, .. } = self;
        write!(f, "seed {seed}, at {at:.6} s, {check}: {sentence}\n{ladder}")
    }
}

pub struct World {
    pub seed: u64,
    pub now: Instant,
    /// The carrier, the stranger, the agents, the gateways.
    pub hosts: Vec<Host>,
    pub wire: Wire,
    pub trace: Trace,
    /// The records of ended calls, in order.
    pub records: Vec<Value>,
    /// What was said of the trunks, in order.
    pub said: Vec<String>,
    /// The operator's files, that of generation 1 first.
    pub published: Vec<String>,
    /// Seconds of simulated calls, each from its INVITE to its record.
    pub call_seconds: f64,
    dice: Dice,
    maker: Rc<dyn Maker>,
    shards: usize,
    cores: Vec<Box<dyn Core>>,
    queue: Queue<Event>,
    /// When each host wants to be woken.
    alarms: Vec<Option<Instant>>,
    effects: Effects,
    checks: Vec<Box<dyn Check>>,
    broken: Option<Broken>,
    generation: u64,
    agents: usize,
    gateways: usize,
    /// What is drawn of the operator's has settings of audio.
    speaks: bool,
    /// Calls dialled so far.
    serial: u64,
    /// How often cores were woken at this moment.
    wakes: u32,
    /// When the first INVITE of a call arrived, until its record is there.
    open: BTreeMap<String, Option<Instant>>,
}

impl World {
    /// A world where nobody lives yet.
    pub fn new(seed: u64, shards: usize, maker: Rc<dyn Maker>) -> World {
        let mut dice = Dice::seeded(seed);
        World {
            seed,
            now: Instant::from_micros(1_000_000),
            hosts: Vec::new(),
            wire: Wire::new(dice.fork()),
            trace: Trace::default(),
            records: Vec::new(),
            said: Vec::new(),
            published: Vec::new(),
            call_seconds: 0.0,
            dice,
            maker,
            shards,
            cores: Vec::new(),
            queue: Queue::default(),
            alarms: Vec::new(),
            effects: Effects::default(),
            checks: check::all(),
            broken: None,
            generation: 1,
            agents: 0,
            gateways: 0,
            speaks: false,
            serial: 0,
            wakes: 0,
            open: BTreeMap::new(),
        }
    }

    /// One checker looks away: a story breaks its premise.
    pub fn leaves_unchecked(&mut self, name: &str) {
        self.checks.retain(|check| check.name() != name);
    }

    /// Leaves the wire unread: only the ends are on trial.
    #[cfg(test)]
    pub fn check_nothing(&mut self) {
        self.checks.clear();
    }

    /// Draws which faults the wire has, and how strong each is.
    pub fn draw_faults(&mut self) {
        let mut dice = self.dice.fork();
        self.wire.draw(&mut dice);
    }

    /// Draws so many agents, each of one habit, one or two gateways that show any of them, and the operator's
    /// file. The server starts.
    pub fn phones(&mut self, how_many: Range<u64>, habits: &[Habit]) {
        let agents = self.dice.within(how_many).max(1) as usize;
        let gateways = self.dice.within(1..3) as usize;
        let routing = layout::draw(&mut self.dice.fork(), self.generation, agents, gateways, self.speaks);
        self.settle(agents, gateways, &routing);
        let elsewhere: Vec<String> = (0..agents)
            .map(|index| format!("sip:{}@{}", layout::agent_name(index), layout::agent_addr(index)))
            .chain([
                format!("sip:+13125550199@{}", layout::gateway_addr(0)),
                "sip:+19005550100@127.0.3.1".to_owned(),
                "sip:nobody@192.0.2.1".to_owned(),
            ])
            .collect();
        for host in &mut self.hosts[2..2 + agents] {
            host.habits = vec![*self.dice.pick(habits)];
            host.elsewhere.clone_from(&elsewhere);
        }
        let reachable: Vec<Habit> =
            habits.iter().copied().filter(|habit| *habit != Habit::Unreachable).collect();
        for host in &mut self.hosts[2 + agents..] {
            host.habits.clone_from(&reachable);
            host.elsewhere.clone_from(&elsewhere);
        }
    }

    /// So many agents and gateways that do nothing of their own accord, and this configuration.
    pub fn settle(&mut self, agents: usize, gateways: usize, routing: &str) {
        let mut host = |name: &str, addr| Host::new(name, addr, layout::SERVER, self.dice.fork());
        let mut hosts = vec![host("caller", layout::CARRIER), host("stranger", layout::STRANGER)];
        hosts.extend((0..agents).map(|at| host(&layout::agent_name(at), layout::agent_addr(at))));
        hosts.extend((0..gateways).map(|at| host(&format!("gateway{}", at + 1), layout::gateway_addr(at))));
        self.alarms = vec![None; hosts.len()];
        self.hosts = hosts;
        (self.agents, self.gateways) = (agents, gateways);
        self.cores = self.maker.cores(self.shards, self.seed, routing);
        self.checks.iter_mut().for_each(|check| check.published(self.generation, routing));
        self.published.push(routing.to_owned());
    }

    /// Draws so many callers, who dial within the next four minutes.
    pub fn callers(&mut self, how_many: Range<u64>) {
        self.callers_of(how_many, &CallerHabit::ALL);
    }

    /// The same, each of one of these habits.
    pub fn callers_of(&mut self, how_many: Range<u64>, habits: &[CallerHabit]) {
        for _ in 0..self.dice.within(how_many) {
            let number = self.dice.below(layout::NUMBERS as u64) as usize;
            let habit = *self.dice.pick(habits);
            let after = self.dice.millis(0..240_000);
            self.later(after, Happening::Dials { number, habit });
        }
    }

    /// Draws so many ends that are cut off for a while, and publications, within the next four minutes.
    pub fn troubles(&mut self, how_many: Range<u64>) {
        for _ in 0..self.dice.within(how_many) {
            let after = self.dice.millis(0..240_000);
            let what = match self.dice.below(4) {
                0 => Happening::Published,
                1 => Happening::Replayed { back: self.dice.below(64) as usize },
                _ => Happening::Cut {
                    host: self.dice.below(self.hosts.len() as u64) as usize,
                    lasting: self.dice.millis(0..40_000),
                },
            };
            self.later(after, what);
        }
    }

    pub fn later(&mut self, after: Duration, what: Happening) {
        self.queue.push(self.now + after, Event::Happens(what));
    }

    /// Lets so much time pass, or stops at the first broken sentence.
    pub fn run(&mut self, lasting: Duration) {
        let until = self.now + lasting;
        while self.step(until) {}
        self.now = self.now.max(until);
    }

    /// From now on the wire is perfect, and whoever still calls hangs up within a minute.
    pub fn heal(&mut self) {
        self.wire.heal();
        for (host, alarm) in self.hosts.iter_mut().zip(&mut self.alarms) {
            host.wind_up(self.now);
            *alarm = host.next_at();
        }
    }

    /// The first broken sentence.
    pub fn verdict(&self) -> Result<(), Box<Broken>> {
        self.broken.clone().map_or(Ok(()), |broken| Err(Box::new(broken)))
    }

    /// What all shards hold.
    pub fn census(&self) -> Census {
        self.cores.iter().fold(Census::default(), |sum, core| sum + core.census())
    }

    /// The next moment at which something happens.
    pub fn next_at(&self) -> Option<Instant> {
        let cores = self.cores.iter().filter_map(|core| core.next_deadline());
        let alarms = self.alarms.iter().flatten().copied();
        cores.chain(alarms).chain(self.queue.next_at()).min()
    }

    /// When the last of what is on its way now arrives.
    pub fn in_flight_until(&self) -> Option<Instant> {
        self.queue.last_at()
    }

    /// One thing happens, if it is due by then. What arrives comes before what was waited for.
    pub fn step(&mut self, until: Instant) -> bool {
        let Some(at) = self.next_at().filter(|at| *at <= until && self.broken.is_none()) else {
            return false;
        };
        if at > self.now {
            self.now = at;
            self.wakes = 0;
        }
        if let Some((_, event)) = self.queue.pop_due(self.now) {
            self.takes_place(event);
        } else if let Some(host) = due(&self.alarms, self.now) {
            self.hosts[host].tick(self.now);
            self.post(host);
        } else if let Some(shard) =
            self.cores.iter().position(|core| core.next_deadline().is_some_and(|at| at <= self.now))
        {
            self.wakes += 1;
            if self.wakes > WAKES_PER_MOMENT {
                let sentence = format!("shard {shard} wants to be woken without end");
                self.breaks("bounded", Breach { call_id: String::new(), sentence });
            }
            self.feed(shard, Input::Due);
        }
        true
    }

    /// Something happens now.
    pub fn happens(&mut self, what: Happening) {
        let hosts = self.hosts.len();
        if what.is_foreign() {
            self.checks.retain(|check| check.stands_anything());
        }
        match what {
            Happening::Dials { number, habit } => {
                let manner = habit.manner(&mut self.dice);
                self.dials(&layout::did(number % layout::NUMBERS), manner);
            }
            Happening::Acts { host, call, act } => {
                let calls = &self.hosts[host % hosts].parties;
                let known = calls.keys().nth(call % calls.len().max(1)).cloned();
                if let Some(call_id) = known {
                    self.acts(host % hosts, &call_id, &act);
                }
            }
            Happening::Next { way, host, fate } => {
                self.wire.next_one(way, self.hosts[host % hosts].stack.addr.ip(), fate);
            }
            Happening::Cut { host, lasting } => {
                self.wire.cut(self.hosts[host % hosts].stack.addr.ip(), self.now + lasting);
            }
            Happening::Replayed { back } => {
                if let Some((from, bytes)) = self.earlier(back) {
                    self.arrives(from, &bytes);
                }
            }
            Happening::Mangled { back, at, byte } => {
                if let Some((from, mut bytes)) = self.earlier(back) {
                    let length = bytes.len();
                    bytes[at % length] = byte;
                    self.arrives(from, &bytes);
                }
            }
            Happening::Stray { host, bytes } => self.arrives(self.hosts[host % hosts].stack.addr, &bytes),
            Happening::Forged { host, back, forgeries } => {
                let of_late = self.of_late().count().max(1);
                let model = self.of_late().nth(back % of_late).map(|crossing| crossing.message.clone());
                if let Some(mut forged) = model {
                    forgeries.iter().for_each(|forgery| forgery.rewrite(&mut forged));
                    self.arrives(self.hosts[host % hosts].stack.addr, &forged.bytes());
                }
            }
            Happening::Refused { host } => {
                let to = udp(self.hosts[host % hosts].stack.addr);
                self.takes_place(Event::Refused(to));
            }
            Happening::HungUp { call } => {
                let calls = self.live_calls();
                if let Some(call) = calls.get(call % calls.len().max(1)) {
                    self.operator_hangs_up(call);
                }
            }
            Happening::Published => self.publish(None),
            Happening::Passes(lasting) => self.run(lasting),
        }
    }

    /// Somebody dials; returns the Call-ID.
    pub fn dials(&mut self, dialled: &str, manner: Manner) -> String {
        self.serial += 1;
        let from = format!("+1415555{:04}", self.serial % 10_000);
        let host = usize::from(manner.oddity == Oddity::Stranger);
        let dialled = match manner.oddity == Oddity::WrongNumber {
            true => layout::NOBODYS,
            false => dialled,
        };
        let call_id = self.hosts[host].dial(self.now, &from, dialled, manner);
        self.post(host);
        call_id
    }

    pub fn acts(&mut self, host: usize, call_id: &str, act: &super::manner::Act) {
        self.hosts[host].act(self.now, call_id, act);
        self.post(host);
    }

    pub fn asks(&mut self, host: usize, call_id: &str, method: &str, dress: fn(Message) -> Message) {
        self.hosts[host].ask(self.now, call_id, method, dress);
        self.post(host);
    }

    /// This very message reaches the server at once, from wherever.
    pub fn sends(&mut self, from: SocketAddr, message: &Message) {
        self.arrives(from, &message.bytes());
    }

    /// From now on the server takes no new calls.
    pub fn drain(&mut self) {
        for shard in 0..self.cores.len() {
            self.feed(shard, Input::Drain);
        }
    }

    /// The shards find messages in their queues that have lain so long; how many of 256 new INVITEs each of them would
    /// have dropped unread.
    pub fn lags(&mut self, age: Duration) -> Vec<Share> {
        for shard in 0..self.cores.len() {
            self.feed(shard, Input::Backlog { age, lost: 0 });
        }
        self.cores.iter_mut().map(|core| core.shed(self.now)).collect()
    }

    /// The record ids of the calls in progress.
    pub fn live_calls(&self) -> Vec<String> {
        self.cores.iter().flat_map(|core| core.live_calls()).collect()
    }

    /// An operator hangs up the call of that record id.
    pub fn operator_hangs_up(&mut self, call: &str) {
        for shard in 0..self.cores.len() {
            self.feed(shard, Input::HangUp { call });
        }
    }

    /// What each gateway failed of last, as operators are told.
    pub fn failures(&self) -> Vec<String> {
        self.cores.first().map(|core| core.failures()).unwrap_or_default()
    }

    /// What operators are told that a call would do just now, by the configuration that was published last.
    pub fn explains(&self, routing: &str, dialled: &str, from: Option<&str>) -> Option<Explanation> {
        self.cores.first()?.explains(self.now, routing, dialled, from)
    }

    /// Publishes a configuration: this one, or a newly drawn one.
    pub fn publish(&mut self, routing: Option<&str>) {
        self.generation += 1;
        let (agents, mut dice) = (self.agents.max(1), self.dice.fork());
        let drawn = layout::draw(&mut dice, self.generation, agents, self.gateways, self.speaks);
        for shard in 0..self.cores.len() {
            let mut effects = std::mem::take(&mut self.effects);
            let now = self.clock();
            self.cores[shard].publish(now, self.generation, routing.unwrap_or(&drawn), &mut effects);
            self.turn_ends(shard, effects);
        }
        for check in &mut self.checks {
            check.published(self.generation, routing.unwrap_or(&drawn));
        }
        self.published.push(routing.map_or(drawn, str::to_owned));
    }

    /// An inward datagram of the last seconds, counted back from now. A late repetition of an older one is not
    /// taken: nothing lives in the network for longer than T4.
    fn earlier(&self, back: usize) -> Option<(SocketAddr, Vec<u8>)> {
        let key = |crossing: &Crossing| {
            let message = &crossing.message;
            (message.branch().to_owned(), message.start.clone(), message.to_tag().map(str::to_owned))
        };
        let mut recent: Vec<&Crossing> = Vec::new();
        let mut older = BTreeSet::new();
        for crossing in self.trace.crossings.iter().filter(|crossing| crossing.way == Way::In) {
            match self.now.since(crossing.at) < REPLAY_WITHIN {
                true => recent.push(crossing),
                false => drop(older.insert(key(crossing))),
            }
        }
        recent.retain(|crossing| !older.contains(&key(crossing)));
        let crossing = recent.iter().rev().nth(back % recent.len().max(1))?;
        Some((crossing.peer, crossing.message.bytes()))
    }

    /// What crossed the edge in the last seconds, the last first.
    fn of_late(&self) -> impl Iterator<Item = &Crossing> {
        let recent = |crossing: &&Crossing| self.now.since(crossing.at) < REPLAY_WITHIN;
        self.trace.crossings.iter().rev().take_while(recent)
    }

    fn takes_place(&mut self, event: Event) {
        match event {
            Event::ToCore { from, bytes } => self.arrive_together(from, bytes),
            Event::Inside(to, from, bytes) => {
                self.feed(to, Input::Received { from, bytes: &bytes, age: Duration::ZERO });
            }
            Event::ToHost { host, bytes } => {
                if let Err(why) = self.hosts[host].receive(self.now, &bytes) {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let sentence =
                        format!("{} cannot read what we sent: {why}\n{text}", self.hosts[host].name);
                    self.breaks("readable", Breach { call_id: String::new(), sentence });
                }
                self.post(host);
            }
            Event::Refused(to) => {
                for shard in 0..self.cores.len() {
                    self.feed(shard, Input::Undeliverable { to, why: Undelivered::Unreachable });
                }
            }
            Event::Happens(what) => self.happens(what),
        }
    }

    /// What reaches the server at one moment is one batch of its socket's, taken in R8's order.
    fn arrive_together(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        let mut batch = vec![(from, bytes)];
        for event in self.queue.take_due(self.now, |event| matches!(event, Event::ToCore { .. })) {
            if let Event::ToCore { from, bytes } = event {
                batch.push((from, bytes));
            }
        }
        let messages: Vec<&[u8]> = batch.iter().map(|(_, bytes)| &**bytes).collect();
        let standing = |message| {
            let of_cores = self.cores.iter().filter_map(|core| core.standing(message));
            of_cores.max_by_key(|standing| standing.does.is_some())
        };
        for at in precedence::order(&messages, standing) {
            let (from, bytes) = &batch[at];
            self.arrives(*from, bytes);
        }
    }

    /// A datagram reaches the server.
    fn arrives(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut shard = 0;
        if let Ok(message) = Message::parse(bytes) {
            shard = self.maker.owner(message.call_id().as_bytes(), self.shards, self.seed);
            if check::begins_call(from, &message) {
                self.open.entry(message.call_id().to_owned()).or_insert(Some(self.now));
            }
            self.crosses(Crossing { at: self.now, way: Way::In, peer: from, message });
        }
        self.feed(shard, Input::Received { from: udp(from), bytes, age: Duration::ZERO });
    }

    fn feed(&mut self, shard: usize, input: Input<'_>) {
        let mut effects = std::mem::take(&mut self.effects);
        let now = self.clock();
        self.cores[shard].handle(now, input, &mut effects);
        self.turn_ends(shard, effects);
    }

    /// What a turn of a core brought about.
    fn turn_ends(&mut self, shard: usize, mut effects: Effects) {
        let records = self.cores[shard].records(&mut effects);
        self.said.extend(self.cores[shard].said());
        for (to, bytes) in effects.out.messages() {
            let inside = |to: u8| Event::Inside(to.into(), Peer::inside(shard as u8), bytes.to_vec());
            match to.shard() {
                Some(to) => self.queue.push(self.now, inside(to)),
                None => self.leaves(to, bytes),
            }
        }
        effects.out.clear();
        self.effects = effects;
        for record in records {
            self.recorded(record);
        }
        let (now, census) = (self.now, self.census());
        self.check(|check| check.turn_over(now, census));
        let sides: Vec<Listening> = self.cores.iter().flat_map(|core| core.listening()).collect();
        if !sides.is_empty() {
            self.check(|check| check.listens(&sides));
        }
    }

    /// The server sends a datagram.
    fn leaves(&mut self, to: Peer, bytes: &[u8]) {
        match Message::parse(bytes) {
            Ok(message) => {
                self.crosses(Crossing { at: self.now, way: Way::Out, peer: to.addr, message });
            }
            Err(why) => {
                let sentence = format!("we sent to {}: {why}\n{}", to.addr, String::from_utf8_lossy(bytes));
                self.breaks("readable", Breach { call_id: String::new(), sentence });
            }
        }
        let Some(host) = self.host_at(to.addr.ip()) else { return };
        let label = self.label_of(bytes);
        for at in self.wire.carry(self.now, Way::Out, to.addr.ip(), label.as_deref()) {
            let event = match self.hosts[host].is_closed() {
                true => Event::Refused(to),
                false => Event::ToHost { host, bytes: bytes.to_vec() },
            };
            self.queue.push(at, event);
        }
    }

    /// The label of a datagram, where the wire asks for it.
    fn label_of(&self, bytes: &[u8]) -> Option<String> {
        let message = self.wire.wants_labels().then(|| Message::parse(bytes).ok())??;
        Some(label(&message))
    }

    /// The picture of a broken sentence shows the message that broke it.
    fn crosses(&mut self, crossing: Crossing) {
        self.trace.crossings.push(crossing);
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            let verdict = self.trace.crossings.last().map_or(Ok(()), |crossing| check.saw(crossing));
            if let Err(breach) = verdict {
                self.breaks(check.name(), breach);
            }
        }
        self.checks = checks;
    }

    fn recorded(&mut self, record: Value) {
        let call_id = record["legs"][0]["sip_call_id"].as_str().unwrap_or_default();
        if let Some(began) = self.open.get_mut(call_id).and_then(Option::take) {
            self.call_seconds += self.now.since(began).as_secs_f64();
        }
        self.check(|check| check.recorded(&record));
        self.records.push(record);
    }

    /// Puts what a host has to say on the wire.
    fn post(&mut self, host: usize) {
        for parcel in std::mem::take(&mut self.hosts[host].stack.outbox) {
            let label = self.label_of(&parcel.bytes);
            for at in self.wire.carry(self.now, Way::In, parcel.from.ip(), label.as_deref()) {
                self.queue.push(at, Event::ToCore { from: parcel.from, bytes: parcel.bytes.clone() });
            }
        }
        self.alarms[host] = self.hosts[host].next_at();
    }

    fn check(&mut self, mut ask: impl FnMut(&mut dyn Check) -> Result<(), Breach>) {
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            if let Err(breach) = ask(check.as_mut()) {
                self.breaks(check.name(), breach);
            }
        }
        self.checks = checks;
    }

    fn breaks(&mut self, check: &'static str, breach: Breach) {
        if self.broken.is_none() {
            let ladder = self.ladder_of(&breach.call_id, true);
            let (seed, at) = (self.seed, self.now);
            self.broken = Some(Broken { seed, at, check, sentence: breach.sentence, ladder });
        }
    }

    /// The picture of the call that this Call-ID belongs to, the caller's or a leg's.
    pub fn ladder_of(&self, call_id: &str, exact: bool) -> String {
        let family = self.trace.family(call_id);
        let name = |ip: IpAddr| {
            self.host_at(ip).map_or_else(|| ip.to_string(), |host| self.hosts[host].name.clone())
        };
        self.trace.ladder(&family, &name, exact)
    }

    fn host_at(&self, ip: IpAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.stack.addr.ip() == ip)
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, wall: Wall(BEGINNING + self.now.as_micros() / 1_000) }
    }
}

fn udp(addr: SocketAddr) -> Peer {
    Peer::at(addr, Transport::Udp, ListenerId(0))
}

/// The first host whose alarm rings.
fn due(alarms: &[Option<Instant>], now: Instant) -> Option<usize> {
    alarms.iter().position(|alarm| alarm.is_some_and(|at| at <= now))
}
