//! How the trunks are, the same for all shards: which of their gateways answer (R14), since when, and what they
//! failed of last. Read on the call path without a lock; written when something changes.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::streamless::Streamless;
use crate::routing::{Gateway, Table, Text, Trunk};
use crate::sip::build;
use crate::sip::peer::{Insecure, Transport, Undelivered};
use crate::time::Wall;

/// What went wrong with a gateway, or with our registration there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Two OPTIONS had no answer at all.
    NoAnswer,
    /// The transport could not deliver: nobody listens there, or no connection could be opened.
    Unreachable,
    /// No TLS connection came about: its certificate, ours, or the way in which it uses TLS.
    Insecure(Insecure),
    /// It took our REGISTER, and does not list our Contact.
    Unlisted,
    /// DNS knows no address of its host, or none was heard of yet.
    NotFound,
    /// No listener of ours has its transport, or its family of addresses.
    NoListener,
    /// It answered OPTIONS with this status.
    Refused(u16),
    /// It said nothing at all to a call's INVITE within `try_timeout`.
    CallUnanswered,
    /// It answered a call's INVITE with this status, which leads on to the next gateway.
    CallRefused(u16),
}

impl Failure {
    const NO_ANSWER: u32 = 1;
    const UNREACHABLE: u32 = 2;
    const UNLISTED: u32 = 3;
    const NOT_FOUND: u32 = 4;
    const NO_LISTENER: u32 = 5;
    const CALL_UNANSWERED: u32 = 6;
    /// Beside the status of a [`Failure::CallRefused`].
    const OF_A_CALL: u32 = 1 << 16;
    /// Beside the place in [`Insecure::ALL`] of a [`Failure::Insecure`].
    const OF_TLS: u32 = 1 << 17;

    const fn to_bits(self) -> u32 {
        match self {
            Failure::NoAnswer => Failure::NO_ANSWER,
            Failure::Unreachable => Failure::UNREACHABLE,
            Failure::Insecure(why) => Failure::OF_TLS | why as u32,
            Failure::Unlisted => Failure::UNLISTED,
            Failure::NotFound => Failure::NOT_FOUND,
            Failure::NoListener => Failure::NO_LISTENER,
            Failure::Refused(code) => code as u32,
            Failure::CallUnanswered => Failure::CALL_UNANSWERED,
            Failure::CallRefused(code) => Failure::OF_A_CALL | code as u32,
        }
    }

    fn of_bits(bits: u32) -> Option<Failure> {
        match bits {
            0 => None,
            Failure::NO_ANSWER => Some(Failure::NoAnswer),
            Failure::UNREACHABLE => Some(Failure::Unreachable),
            Failure::UNLISTED => Some(Failure::Unlisted),
            Failure::NOT_FOUND => Some(Failure::NotFound),
            Failure::NO_LISTENER => Some(Failure::NoListener),
            Failure::CALL_UNANSWERED => Some(Failure::CallUnanswered),
            bits if bits & Failure::OF_TLS != 0 => {
                let place = usize::try_from(bits & !Failure::OF_TLS).ok()?;
                Some(Failure::Insecure(*Insecure::ALL.get(place)?))
            }
            bits => {
                let code = u16::try_from(bits & !Failure::OF_A_CALL).unwrap_or(0);
                let of_a_call = bits & Failure::OF_A_CALL != 0;
                Some(if of_a_call { Failure::CallRefused(code) } else { Failure::Refused(code) })
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoAnswer => f.write_str("no answer to OPTIONS"),
            Failure::Unreachable => f.write_str("it cannot be reached"),
            Failure::Insecure(why) => write!(f, "no TLS connection: {why}"),
            Failure::Unlisted => f.write_str("the carrier does not list us"),
            Failure::NotFound => f.write_str("its host is not found"),
            Failure::NoListener => f.write_str("nothing here listens so"),
            Failure::Refused(code) => write!(f, "{code} {}", build::phrase(*code)),
            Failure::CallUnanswered => f.write_str("no answer to a call"),
            Failure::CallRefused(code) => write!(f, "{code} {} to a call", build::phrase(*code)),
        }
    }
}

impl From<Undelivered> for Failure {
    fn from(why: Undelivered) -> Failure {
        match why {
            Undelivered::Unreachable | Undelivered::Closed => Failure::Unreachable,
            Undelivered::Insecure(why) => Failure::Insecure(why),
        }
    }
}

/// What was seen of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Alive,
    Failed(Failure),
}

/// The trunks of the table that is served.
#[derive(Debug)]
pub struct Trunks {
    known: ArcSwap<Known>,
    /// Held while another table's trunks are put in place.
    settling: Mutex<()>,
    streamless: Streamless,
}

#[derive(Debug, Default)]
struct Known {
    generation: u64,
    /// By name.
    trunks: Box<[Arc<TrunkState>]>,
}

/// One trunk.
#[derive(Debug)]
pub struct TrunkState {
    name: Text,
    /// As those of [`Trunk::gateways`].
    gateways: Box<[Arc<GatewayState>]>,
    /// Calls that its limits refused, in and out.
    refused: AtomicU64,
    enrolment: Arc<Enrolment>,
}

/// Our registration at the carrier.
#[derive(Debug, Default)]
struct Enrolment {
    /// Until when, in ms of wall time; 0: we are not registered.
    until: AtomicU64,
    /// When we came to be or not to be.
    since: AtomicU64,
    failure: AtomicU32,
    failed: AtomicU64,
}

/// How our registration at a carrier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Trying,
    /// Until then.
    Registered(Wall),
}

/// By what a carrier's list shows that it has registered us, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    /// Our Contact stands there with our token.
    ByToken,
    /// It stands there without.
    ByAddress,
    /// The only Contact is our user's, at an address that is not ours: what the carrier sends may go there, and names no
    /// token.
    Elsewhere,
    /// It lists nobody, and says for how long.
    Nowhere,
}

/// The same as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub state: Registration,
    pub since: Option<Wall>,
    pub failure: Option<(Failure, Wall)>,
}

/// One gateway.
#[derive(Debug)]
struct GatewayState {
    uri: Text,
    transport: Transport,
    down: AtomicBool,
    /// When it came up or went down, in ms of wall time; 0: it has been up since it is known.
    since: AtomicU64,
    /// A [`Failure`], and when it was; 0: none.
    failure: AtomicU32,
    failed: AtomicU64,
    /// Of the last OPTIONS that was answered, in µs; 0: none was.
    round_trip: AtomicU32,
}

/// A gateway as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub up: bool,
    /// None: as long as it is known.
    pub since: Option<Wall>,
    /// The last one, and when it was.
    pub failure: Option<(Failure, Wall)>,
    /// Of the last OPTIONS that was answered.
    pub round_trip: Option<Duration>,
}

impl Default for Trunks {
    fn default() -> Self {
        Trunks {
            known: ArcSwap::from_pointee(Known::default()),
            settling: Mutex::new(()),
            streamless: Streamless::default(),
        }
    }
}

impl Trunks {
    /// From now on these are served. A gateway that its trunk had before is as it was; others are taken for up. Every
    /// shard calls it, the first is heard.
    pub fn settle(&self, table: &Table) {
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load();
        if before.generation >= table.generation {
            return;
        }
        let mut trunks: Vec<Arc<TrunkState>> =
            table.trunks().iter().map(|trunk| state_of(trunk, before.of(&trunk.name))).collect();
        trunks.sort_by(|a, b| a.name.cmp(&b.name));
        self.known.store(Arc::new(Known { generation: table.generation, trunks: trunks.into() }));
    }

    /// Where nobody takes a connection.
    pub fn streamless(&self) -> &Streamless {
        &self.streamless
    }

    /// The trunk of that name; None: it is not served any more.
    pub fn of(&self, name: &str) -> Option<Arc<TrunkState>> {
        self.known.load().of(name).cloned()
    }

    /// What was seen of a gateway, by its place in `gateways`. True: it was up and is down, or the other way round. Only
    /// one of several shards that see the same hears true.
    pub fn mark(&self, trunk: &Trunk, at: usize, sign: Sign, now: Wall) -> bool {
        let known = self.known.load();
        let Some(state) = known.of(&trunk.name).and_then(|state| state.gateway(trunk, at)) else {
            return false;
        };
        let down = match sign {
            Sign::Alive => false,
            Sign::Failed(failure) => {
                state.failed_of(failure, now);
                true
            }
        };
        // Mostly nothing changes, and nothing is written.
        if state.down.load(Ordering::Relaxed) == down {
            return false;
        }
        let changed = state.down.swap(down, Ordering::Relaxed) != down;
        if changed {
            state.since.store(now.0, Ordering::Relaxed);
        }
        changed
    }

    /// What a call failed of at a gateway, by its place in `gateways`: it is remembered, and makes nothing up or down.
    pub fn failed(&self, trunk: &Trunk, at: usize, failure: Failure, now: Wall) {
        if let Some(state) = self.known.load().of(&trunk.name).and_then(|state| state.gateway(trunk, at)) {
            state.failed_of(failure, now);
        }
    }

    /// How long a gateway took to answer OPTIONS.
    pub fn measured(&self, trunk: &Trunk, at: usize, round_trip: Duration) {
        let micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX).max(1);
        if let Some(state) = self.known.load().of(&trunk.name).and_then(|state| state.gateway(trunk, at)) {
            state.round_trip.store(micros, Ordering::Relaxed);
        }
    }

    /// How our registration stands, and what went wrong.
    pub fn registration(&self, name: &str, is: Registration, failed: Option<Failure>, now: Wall) {
        let known = self.known.load();
        let Some(enrolment) = known.of(name).map(|state| &state.enrolment) else { return };
        if let Some(failure) = failed {
            enrolment.failure.store(failure.to_bits(), Ordering::Relaxed);
            enrolment.failed.store(now.0, Ordering::Relaxed);
        }
        let until = match is {
            Registration::Trying => 0,
            Registration::Registered(until) => until.0,
        };
        let before = enrolment.until.swap(until, Ordering::Relaxed);
        if (before == 0) != (until == 0) {
            enrolment.since.store(now.0, Ordering::Relaxed);
        }
    }

    /// A trunk's limit refused a call.
    pub fn refused(&self, name: &str) {
        if let Some(state) = self.known.load().of(name) {
            state.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Known {
    fn of(&self, name: &str) -> Option<&Arc<TrunkState>> {
        let at = self.trunks.binary_search_by(|state| (*state.name).cmp(name)).ok()?;
        self.trunks.get(at)
    }
}

impl TrunkState {
    /// The state of a gateway of a trunk, which may be of an older table than this.
    fn gateway(&self, trunk: &Trunk, at: usize) -> Option<&Arc<GatewayState>> {
        let gateway = trunk.gateways.get(at)?;
        let same_place = self.gateways.get(at).filter(|state| state.is_of(gateway));
        same_place.or_else(|| self.gateways.iter().find(|state| state.is_of(gateway)))
    }

    /// Whether a gateway is down. One that is not served any more is not.
    pub fn is_down(&self, trunk: &Trunk, at: usize) -> bool {
        self.gateway(trunk, at).is_some_and(|state| state.down.load(Ordering::Relaxed))
    }

    /// A gateway as operators see it.
    pub fn seen(&self, trunk: &Trunk, at: usize) -> Option<Seen> {
        let state = self.gateway(trunk, at)?;
        let wall = |ms: &AtomicU64| Some(Wall(ms.load(Ordering::Relaxed))).filter(|at| at.0 != 0);
        let micros = u64::from(state.round_trip.load(Ordering::Relaxed));
        Some(Seen {
            up: !state.down.load(Ordering::Relaxed),
            since: wall(&state.since),
            failure: Failure::of_bits(state.failure.load(Ordering::Relaxed)).zip(wall(&state.failed)),
            round_trip: Some(Duration::from_micros(micros)).filter(|trip| !trip.is_zero()),
        })
    }

    /// Our registration at the carrier.
    pub fn enrolled(&self) -> Enrolled {
        let Enrolment { until, since, failure, failed } = &*self.enrolment;
        let wall = |ms: &AtomicU64| Some(Wall(ms.load(Ordering::Relaxed))).filter(|at| at.0 != 0);
        Enrolled {
            state: wall(until).map_or(Registration::Trying, Registration::Registered),
            since: wall(since),
            failure: Failure::of_bits(failure.load(Ordering::Relaxed)).zip(wall(failed)),
        }
    }

    /// Whether a gateway has come up since our registration failed last.
    pub fn has_come_back(&self) -> bool {
        let failed = self.enrolment.failed.load(Ordering::Relaxed);
        let came_up = |state: &Arc<GatewayState>| {
            !state.down.load(Ordering::Relaxed) && state.since.load(Ordering::Relaxed) > failed
        };
        self.gateways.iter().any(came_up)
    }

    /// Calls that the trunk's limits refused since it is known.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl GatewayState {
    fn new(gateway: &Gateway) -> GatewayState {
        GatewayState {
            uri: Arc::clone(&gateway.uri),
            transport: gateway.transport,
            down: AtomicBool::new(false),
            since: AtomicU64::new(0),
            failure: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            round_trip: AtomicU32::new(0),
        }
    }

    fn failed_of(&self, failure: Failure, now: Wall) {
        self.failure.store(failure.to_bits(), Ordering::Relaxed);
        self.failed.store(now.0, Ordering::Relaxed);
    }

    /// The same, taken for up: what it failed of last is remembered.
    fn taken_for_up(&self, gateway: &Gateway) -> GatewayState {
        GatewayState {
            failure: AtomicU32::new(self.failure.load(Ordering::Relaxed)),
            failed: AtomicU64::new(self.failed.load(Ordering::Relaxed)),
            ..GatewayState::new(gateway)
        }
    }

    fn is_of(&self, gateway: &Gateway) -> bool {
        self.transport == gateway.transport && self.uri == gateway.uri
    }
}

/// Where nobody asks any more, nobody would find out that a gateway is back: there all count as up.
fn state_of(trunk: &Trunk, before: Option<&Arc<TrunkState>>) -> Arc<TrunkState> {
    let is_asked = trunk.options_interval.is_some();
    let gateways = trunk.gateways.iter().enumerate().map(|(at, gateway)| {
        match before.and_then(|before| before.gateway(trunk, at)) {
            Some(known) if is_asked => Arc::clone(known),
            Some(known) => Arc::new(known.taken_for_up(gateway)),
            None => Arc::new(GatewayState::new(gateway)),
        }
    });
    Arc::new(TrunkState {
        name: Arc::clone(&trunk.name),
        gateways: gateways.collect(),
        refused: AtomicU64::new(before.map_or(0, |before| before.refusals())),
        enrolment: before.map(|before| Arc::clone(&before.enrolment)).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(generation: u64, keys: &str) -> Arc<Table> {
        let text = format!("[[trunk]]\nname = \"carrier\"\n{keys}\n");
        let config = crate::config::parse(&text, &|_| None).unwrap().config;
        Arc::new(Table::new(&config, generation, None))
    }

    const BOTH: &str = "gateways = [{ uri = \"sip:192.0.2.1\" }, { uri = \"sip:192.0.2.2\" }]";

    fn downs(trunks: &Trunks, table: &Table) -> Vec<bool> {
        let trunk = &table.trunks()[0];
        let state = trunks.of("carrier").unwrap();
        (0..trunk.gateways.len()).map(|at| state.is_down(trunk, at)).collect()
    }

    #[test]
    fn r14_a_change_is_told_once_and_a_failure_is_remembered() {
        let (trunks, table) = (Trunks::default(), table(1, BOTH));
        trunks.settle(&table);
        let trunk = &table.trunks()[0];
        let mark = |sign, at| trunks.mark(trunk, 0, sign, Wall(at));
        assert!(!mark(Sign::Alive, 1), "it was taken for up");
        assert!(mark(Sign::Failed(Failure::NoAnswer), 2) && !mark(Sign::Failed(Failure::Refused(503)), 3));
        assert_eq!(downs(&trunks, &table), [true, false]);
        assert!(mark(Sign::Alive, 4) && !mark(Sign::Alive, 5));
        trunks.measured(trunk, 0, Duration::from_millis(7));
        let seen = trunks.of("carrier").unwrap().seen(trunk, 0).unwrap();
        assert_eq!((seen.up, seen.since), (true, Some(Wall(4))));
        let (failure, at) = seen.failure.unwrap();
        assert_eq!((failure.to_string().as_str(), at), ("503 Service Unavailable", Wall(3)));
        assert_eq!(seen.round_trip, Some(Duration::from_millis(7)));
    }

    #[test]
    fn every_failure_comes_back_from_its_bits() {
        let plain = [
            Failure::NoAnswer,
            Failure::Unreachable,
            Failure::Unlisted,
            Failure::NotFound,
            Failure::NoListener,
            Failure::CallUnanswered,
            Failure::Refused(699),
            Failure::CallRefused(699),
        ];
        for failure in plain.into_iter().chain(Insecure::ALL.map(Failure::Insecure)) {
            assert_eq!(Failure::of_bits(failure.to_bits()), Some(failure));
        }
    }

    #[test]
    fn r14_what_a_call_failed_of_is_remembered_and_makes_nothing_up_or_down() {
        let (trunks, table) = (Trunks::default(), table(1, BOTH));
        trunks.settle(&table);
        let trunk = &table.trunks()[0];
        let told = |at| trunks.of("carrier").unwrap().seen(trunk, at).unwrap();
        for (failure, words) in [
            (Failure::CallRefused(503), "503 Service Unavailable to a call"),
            (Failure::CallUnanswered, "no answer to a call"),
            (Failure::Unreachable, "it cannot be reached"),
        ] {
            trunks.failed(trunk, 1, failure, Wall(9));
            assert_eq!(
                told(1).failure.map(|(what, at)| (what.to_string(), at)),
                Some((words.to_owned(), Wall(9)))
            );
            assert!(told(1).up && told(1).since.is_none() && told(0).failure.is_none());
        }
        assert!(trunks.mark(trunk, 1, Sign::Failed(Failure::NoAnswer), Wall(10)));
        trunks.failed(trunk, 1, Failure::CallRefused(500), Wall(11));
        assert!(!told(1).up, "a call's failure brings nothing up");
    }

    #[test]
    fn r14_health_survives_a_reload_and_a_changed_gateway_is_taken_for_up() {
        let (trunks, first) = (Trunks::default(), table(1, BOTH));
        trunks.settle(&first);
        for at in 0..2 {
            assert!(trunks.mark(&first.trunks()[0], at, Sign::Failed(Failure::Unreachable), Wall(1)));
        }
        let second = table(
            2,
            "gateways = [{ uri = \"sip:192.0.2.3\" }, { uri = \"sip:192.0.2.2\" }, { uri = \"sip:192.0.2.1\", priority = 1 }]",
        );
        trunks.settle(&second);
        trunks.settle(&second);
        assert_eq!(downs(&trunks, &second), [true, false, true], "by priority");
        // A call that began before marks what is still there.
        assert!(trunks.mark(&first.trunks()[0], 0, Sign::Alive, Wall(2)));
        assert_eq!(downs(&trunks, &second), [false, false, true]);
        let off = table(3, &format!("{BOTH}\noptions_interval = 0"));
        trunks.settle(&off);
        assert_eq!(downs(&trunks, &off), [false, false], "nobody would find out that it is back");
        let seen = trunks.of("carrier").unwrap().seen(&off.trunks()[0], 0).unwrap();
        assert_eq!(
            seen.failure,
            Some((Failure::Unreachable, Wall(1))),
            "but what it failed of last is known"
        );
    }
}
