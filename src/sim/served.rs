//! The real core in the world's middle: `engine::exchange::Exchange`, one per shard, with a desk of the sim's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::booth::{FIRST_PORT, Listening, SimBooth, Word};
use super::core::{Census, Core, Maker};
use super::layout;
use crate::config::{self, Config, Overlay, Strangers};
use crate::engine::desk::Pace;
use crate::engine::directory::Registrations;
use crate::engine::exchange::binding::{Directory, Known};
use crate::engine::exchange::{
    Anchoring, Bounds, CallEvent, Desk, Effects, Exchange, Input, LineTokens, Listener, Notice, Router,
    Settings,
};
use crate::engine::help::Help;
use crate::engine::hosts::{Hosts, Target};
use crate::engine::precedence::Standing;
use crate::engine::shard::guard;
use crate::engine::trunks::{Listed, Trunks};
use crate::media::prompt::Prompt;
use crate::number::{Country, E164};
use crate::routing::{self, Agent, Explanation, Table, Trunk};
use crate::sip::digest::Nonces;
use crate::sip::peer::{ListenerId, Transport};
use crate::time::{Instant, Now};
use crate::transport::shed::{Droppable, Share};

/// Makes real exchanges.
pub struct Served {
    bounds: Bounds,
    /// The shards share a fault.
    fault: Option<Fault>,
    /// What is looked up, and where it is found.
    names: &'static [(&'static str, SocketAddr)],
    /// We listen on any address of this machine.
    everywhere: Option<Advertise>,
    /// Audio comes through us, by so many pairs of ports.
    audio: Option<(u16, Anchoring)>,
}

/// The audio of every call comes through us.
const ALWAYS: Anchoring = Anchoring { when_needed: false };

/// What a listener says instead of where it is.
#[derive(Clone, Copy)]
struct Advertise(Option<SocketAddr>);

/// A bug that shows once: the desk panics instead of answering.
#[derive(Clone, Copy)]
enum Fault {
    /// The question for our own address, which every message to be written asks: which of them, from 1.
    Message(u32),
    /// What every call asks before it is one: which of those questions, from 1.
    Arrival(u32),
}

/// The maker of worlds with the real core inside.
pub fn served() -> Rc<dyn Maker> {
    bounded(Bounds::default())
}

/// The same with other bounds.
pub fn bounded(bounds: Bounds) -> Rc<dyn Maker> {
    Rc::new(Served::new(bounds, None))
}

/// The same, with a bug that shows once, while the `at`th message is written, from 1.
pub fn faulty(at: u32) -> Rc<dyn Maker> {
    Rc::new(Served::new(Bounds::default(), Some(Fault::Message(at))))
}

/// The same, whose audio comes through it.
pub fn faulty_with_audio(at: u32, pairs: u16) -> Rc<dyn Maker> {
    let fault = Some(Fault::Message(at));
    Rc::new(Served { audio: Some((pairs, ALWAYS)), ..Served::new(Bounds::default(), fault) })
}

/// The same, with a bug that shows once, before the first call is one: when it is about to have its record's slot (1),
/// its trunk's place (2), or its count among its caller's ringing calls (3).
pub fn faulty_at_arrival(at: u32) -> Rc<dyn Maker> {
    Rc::new(Served::new(Bounds::default(), Some(Fault::Arrival(at))))
}

/// The same, where DNS knows the hosts of fixed phones and of gateways: the addresses of one in the order in which they
/// are tried.
pub fn served_with_names(names: &'static [(&'static str, SocketAddr)]) -> Rc<dyn Maker> {
    Rc::new(Served { names, ..Served::new(Bounds::default(), None) })
}

/// The same, whose audio comes through it, by so many pairs of ports.
pub fn served_with_audio(pairs: u16) -> Rc<dyn Maker> {
    served_with_audio_so(pairs, ALWAYS)
}

/// The same, and what it says of its audio.
pub fn served_with_audio_so(pairs: u16, anchoring: Anchoring) -> Rc<dyn Maker> {
    Rc::new(Served { audio: Some((pairs, anchoring)), ..Served::new(Bounds::default(), None) })
}

/// The same, with a listener that is bound to any address, and what it advertises.
pub fn served_everywhere(advertise: Option<SocketAddr>) -> Rc<dyn Maker> {
    Rc::new(Served { everywhere: Some(Advertise(advertise)), ..Served::new(Bounds::default(), None) })
}

impl Served {
    fn new(bounds: Bounds, fault: Option<Fault>) -> Served {
        Served { bounds, fault, names: &[], everywhere: None, audio: None }
    }

    /// Where we listen everywhere the desk is asked who we are.
    fn listener(&self) -> Listener {
        let everywhere = match (self.fault, self.everywhere) {
            (_, Some(advertise)) => Some(advertise),
            (Some(Fault::Message(_)), None) => Some(Advertise(None)),
            (Some(Fault::Arrival(_)) | None, None) => None,
        };
        let addr = everywhere
            .map_or(layout::SERVER, |_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, layout::SERVER.port())));
        let advertise = everywhere.and_then(|Advertise(advertise)| Some(advertise?.to_string().into()));
        Listener { transport: Transport::Udp, addr, advertise }
    }

    fn look_up(&self, table: &Table, hosts: &Hosts) {
        let phones = table.agents().iter().filter_map(|agent| agent.contact.as_ref()?.host.as_ref());
        let gateways = table.trunks().iter().flat_map(|trunk| &trunk.gateways);
        for host in phones.chain(gateways.filter_map(|gateway| gateway.host.as_ref())) {
            let found = self.names.iter().filter(|(name, _)| *name == &*host.name);
            let found: Vec<Target> = found
                .zip(0..)
                .map(|((_, addr), rank)| Target {
                    rank,
                    server: 0,
                    weight: 0,
                    addr: *addr,
                    transport: Transport::Udp,
                })
                .collect();
            hosts.put(host, &found);
        }
    }
}

/// One shard's exchange.
struct Shard {
    exchange: Exchange,
    desk: Arc<Counter>,
    table: Arc<Table>,
    booth: Option<SimBooth>,
    said: Vec<String>,
}

impl Maker for Served {
    fn cores(&self, shards: usize, seed: u64, routing: &str) -> Vec<Box<dyn Core>> {
        let (messages, arrivals) = match self.fault {
            Some(Fault::Message(at)) => (at, 0),
            Some(Fault::Arrival(at)) => (0, at),
            None => (0, 0),
        };
        let desk = Arc::new(Counter {
            message_fault: AtomicU32::new(messages),
            arrival_fault: AtomicU32::new(arrivals),
            ..Counter::default()
        });
        let config = read(routing);
        let answer_strangers = config.node.node.strangers == Strangers::Reject;
        let table: Arc<Table> = Arc::new(spoken(Table::new(&config, 1, None)));
        self.look_up(&table, &desk.hosts);
        let node_seed = wide(seed);
        let router = Router::new(shards as u8, node_seed);
        let exchange = |shard: usize, booth: Option<(Anchoring, SimBooth)>| {
            let settings = Settings {
                node: Arc::from("sim"),
                country: country(),
                listeners: vec![self.listener()],
                answer_strangers,
                shard: shard as u8,
                router,
                seed: wide(seed ^ (shard as u64 + 1) << 32),
                realm: Arc::from(&*config.node.node.realm),
                nonces: Nonces::new([seed as u8; 64]),
                lines: LineTokens::new([seed as u8; 64]),
            };
            let desk = Arc::clone(&desk) as Arc<dyn Desk>;
            let exchange = Exchange::new(settings, Arc::clone(&table), desk).with_bounds(self.bounds);
            match booth {
                Some((anchoring, booth)) => exchange.with_audio(anchoring, Box::new(booth)),
                None => exchange,
            }
        };
        (0..shards)
            .map(|shard| {
                let desk = Arc::clone(&desk);
                let table = Arc::clone(&table);
                let of = |pairs: u16| SimBooth::new(FIRST_PORT + 2 * pairs * shard as u16, pairs);
                let audio = self.audio.map(|(pairs, anchoring)| (anchoring, of(pairs)));
                let booth = audio.as_ref().map(|(_, booth)| booth.clone());
                let exchange = exchange(shard, audio);
                Box::new(Shard { exchange, desk, table, booth, said: Vec::new() }) as Box<dyn Core>
            })
            .collect()
    }

    fn owner(&self, call_id: &[u8], shards: usize, seed: u64) -> usize {
        usize::from(Router::new(shards as u8, wide(seed)).owner(call_id))
    }
}

/// How long what is said lasts in the world.
const WHISPER: Duration = Duration::from_secs(2);

/// Something that is said.
fn silence(length: Duration) -> Prompt {
    let samples = vec![0; usize::try_from(length.as_millis()).unwrap_or_default() * 16];
    Prompt::of_samples(&samples[..samples.len() / 2], &samples)
}

/// All that a table says, each as long as the other.
fn spoken(table: Table) -> Table {
    let voices = table.prompts().map(|prompt| (prompt.clone(), Arc::new(silence(WHISPER)))).collect();
    table.with_voices(Arc::new(voices))
}

impl Shard {
    /// What the threads that carry audio have to tell.
    fn hear(&mut self, now: Now, out: &mut Effects) {
        let told = self.booth.as_ref().map(|booth| booth.told(now.mono)).unwrap_or_default();
        for (of, heard) in told {
            self.exchange.handle(now, Input::Audio { of, heard }, out);
        }
    }
}

impl Core for Shard {
    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        self.hear(now, out);
        let message = input.message();
        guard(
            &mut self.exchange,
            out,
            |core, out| core.handle(now, input, out),
            |core, out| core.panicked(now, message, out),
        );
    }

    fn standing<'m>(&self, message: &'m [u8]) -> Option<Standing<'m>> {
        self.exchange.standing(message)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let told = self.booth.as_ref().and_then(SimBooth::next_deadline);
        self.exchange.next_deadline().into_iter().chain(told).min()
    }

    fn next_deadline_of_calls(&self) -> Option<Instant> {
        self.exchange.next_deadline_of_calls()
    }

    fn shed(&mut self, now: Instant) -> Share {
        self.exchange.shed(now, Droppable { may: true, came: 0 })
    }

    fn hears(&mut self, now: Now, port: u16, word: Word, out: &mut Effects) {
        if let Some((of, heard)) = self.booth.as_ref().and_then(|booth| booth.heard(now.mono, port, word)) {
            self.handle(now, Input::Audio { of, heard }, out);
        }
    }

    fn heard_at(&self, port: u16) -> Option<u16> {
        self.booth.as_ref()?.heard_at(port)
    }

    fn listening(&self) -> Vec<Listening> {
        self.booth.as_ref().map(SimBooth::listening).unwrap_or_default()
    }

    fn written(&self) -> Vec<(u16, Option<u16>)> {
        self.booth.as_ref().map(SimBooth::written).unwrap_or_default()
    }

    fn pressed(&self) -> Vec<(u16, char)> {
        self.booth.as_ref().map(SimBooth::pressed).unwrap_or_default()
    }

    fn awaits_keys(&self, port: u16) -> bool {
        self.booth.as_ref().is_some_and(|booth| booth.awaits_keys(port))
    }

    fn said_to(&self, port: u16) -> Vec<(Instant, Duration)> {
        self.booth.as_ref().map(|booth| booth.said_to(port)).unwrap_or_default()
    }

    fn census(&self) -> Census {
        let load = self.exchange.load();
        Census { calls: load.calls, slots: load.slots, legs: load.legs, transactions: load.transactions }
    }

    fn held(&self) -> Vec<String> {
        let ports = self.exchange.ports();
        let ports = (ports > 0).then(|| format!("{ports} pairs of ports"));
        self.desk.held().into_iter().chain(ports).collect()
    }

    fn live_calls(&self) -> Vec<String> {
        self.exchange.live_calls().map(|call| call.id.to_string()).collect()
    }

    fn records(&mut self, effects: &mut Effects) -> Vec<Value> {
        let mut records: Vec<Value> = Vec::new();
        for notice in effects.notices.drain(..) {
            match notice {
                Notice::Ended(cdr) => records.push(serde_json::to_value(&*cdr).unwrap_or_default()),
                Notice::Said(CallEvent::TrunkUp { trunk, gateway }) => {
                    self.said.push(format!("{trunk} {gateway} up"));
                }
                Notice::Said(CallEvent::TrunkDown { trunk, gateway, why }) => {
                    self.said.push(format!("{trunk} {gateway} down: {why}"));
                }
                Notice::Said(CallEvent::Enrolled { trunk, listed }) => {
                    let how = match listed {
                        Listed::ByToken | Listed::ByAddress => "",
                        Listed::Elsewhere => " at another address",
                        Listed::Nowhere => " without a list",
                    };
                    self.said.push(format!("{trunk} registered{how}"));
                }
                Notice::Said(CallEvent::NotEnrolled { trunk, why }) => {
                    self.said.push(format!("{trunk} not registered: {why}"));
                }
                Notice::Answered(_) | Notice::SetUp { .. } | Notice::Said(_) => {}
            }
        }
        // The world's disk is at once done with them.
        records.iter().for_each(|_| self.desk.release_record());
        records
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn failures(&self) -> Vec<String> {
        let trunks = Desk::trunks(&*self.desk);
        let mut all = Vec::new();
        for trunk in self.table.trunks() {
            let state = trunks.of(&trunk.name);
            for (at, gateway) in trunk.gateways.iter().enumerate() {
                let failure = state.as_ref().and_then(|state| state.seen(trunk, at)?.failure);
                all.extend(failure.map(|(what, _)| format!("{} {}: {what}", trunk.name, gateway.place)));
            }
        }
        all
    }

    fn explains(
        &self,
        now: Instant,
        routing: &str,
        dialled: &str,
        from: Option<&str>,
    ) -> Option<Explanation> {
        let phones = Known { directory: self.desk.directory(), hosts: self.desk.hosts(), now };
        Some(routing::explain(&self.table, &read(routing), &Overlay::default(), &phones, dialled, from))
    }

    fn publish(&mut self, now: Now, generation: u64, routing: &str, out: &mut Effects) {
        self.table = table(routing, generation);
        self.exchange.handle(now, Input::Published(Arc::clone(&self.table)), out);
    }
}

fn table(routing: &str, generation: u64) -> Arc<Table> {
    Arc::new(spoken(Table::new(&read(routing), generation, None)))
}

/// # Panics
/// When the text is no configuration: a mistake of the world's author.
fn read(routing: &str) -> Config {
    match config::parse(routing, &|_| None) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{findings:?} in\n{routing}"),
    }
}

fn country() -> Country {
    match Country::parse("US") {
        Some(country) => country,
        None => unreachable!("the United States are a country"),
    }
}

fn wide(seed: u64) -> [u8; 16] {
    (u128::from(seed) << 64 | u128::from(!seed)).to_le_bytes()
}

/// How many records may wait at once.
const RECORDS: u32 = 10_000;

/// The sim's desk: plain counts, each of which must be back at zero in the end, and the trunks' calls per second.
#[derive(Default)]
struct Counter {
    counts: Mutex<BTreeMap<String, u32>>,
    paces: Mutex<BTreeMap<String, Pace>>,
    registrations: Registrations,
    help: Help,
    hosts: Hosts,
    trunks: Trunks,
    /// So many questions for our address until one is a bug; 0: none is.
    message_fault: AtomicU32,
    /// The same of the questions that an arriving call asks.
    arrival_fault: AtomicU32,
}

/// Panics where the count has come to its end, without words on stderr.
fn may_panic(fault: &AtomicU32) {
    let left = fault.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if left == Ok(1) {
        resume_unwind(Box::new("the fault"));
    }
}

impl Counter {
    /// Adds one unless `most` are there; 0 is no limit. Says how many there are, `None` when full.
    fn add(&self, key: String, most: u32) -> Option<u32> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_insert(0);
        if most != 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(*count)
    }

    /// Takes one away; one too many shows as held.
    fn give(&self, key: String) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&key) {
            Some(count) if *count > 0 => *count -= 1,
            Some(_) | None => drop(counts.insert(format!("{key} given back twice"), 1)),
        }
    }

    fn held(&self) -> Vec<String> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(_, count)| **count > 0).map(|(key, count)| format!("{key}: {count}")).collect()
    }
}

impl Desk for Counter {
    fn reserve_record(&self) -> bool {
        may_panic(&self.arrival_fault);
        self.add("records".to_owned(), RECORDS).is_some()
    }

    fn reserve_record_beyond(&self) {
        self.add("records".to_owned(), 0);
    }

    fn release_record(&self) {
        self.give("records".to_owned());
    }

    fn local_address(&self, _listener: ListenerId, _towards: IpAddr) -> SocketAddr {
        may_panic(&self.message_fault);
        layout::SERVER
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        ip == layout::SERVER.ip()
    }

    fn take_agent(&self, agent: &Agent) -> bool {
        self.add(format!("agent {}", agent.name), agent.max_calls).is_some()
    }

    fn free_agent(&self, agent: &Agent) {
        self.give(format!("agent {}", agent.name));
    }

    fn seat_agent(&self, agent: &Agent) {
        self.add(format!("agent {}", agent.name), 0);
    }

    fn take_trunk(&self, trunk: &Trunk, now: Instant) -> bool {
        may_panic(&self.arrival_fault);
        let has_room = self.add(format!("trunk {}", trunk.name), trunk.max_calls).is_some();
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let in_pace = paces.entry(trunk.name.to_string()).or_default().take(now, trunk.max_cps);
        if has_room && !in_pace {
            self.free_trunk(trunk);
        }
        has_room && in_pace
    }

    fn seat_trunk(&self, trunk: &Trunk) {
        self.add(format!("trunk {}", trunk.name), 0);
    }

    fn free_trunk(&self, trunk: &Trunk) {
        self.give(format!("trunk {}", trunk.name));
    }

    fn ringing_began(&self, caller: E164, did: E164) -> (u32, u32) {
        may_panic(&self.arrival_fault);
        let of_caller = self.add(format!("ringing of {caller}"), 0);
        let of_both = self.add(format!("ringing of {caller} at {did}"), 0);
        (of_caller.unwrap_or(0), of_both.unwrap_or(0))
    }

    fn ringing_ended(&self, caller: E164, did: E164) {
        self.give(format!("ringing of {caller}"));
        self.give(format!("ringing of {caller} at {did}"));
    }

    fn help(&self) -> &Help {
        &self.help
    }

    fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    fn directory(&self) -> &dyn Directory {
        &self.registrations
    }

    fn trunks(&self) -> &Trunks {
        &self.trunks
    }
}
