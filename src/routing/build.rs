//! From a checked configuration to a table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::emergency::Emergency;
use super::fixed::FixedPhones;
use super::hosts::HostNames;
use super::layers::{Compiled, Layers, enter};
use super::numbers::{
    Entering, Features, Label, Numbers, Settings, StepEntry, TargetEntry, WhoEntry, Written,
};
use super::outbound::Outbound;
use super::plan::{Agent, CallLimits, Contact, Prompt, Secrets, Text, Voicemail};
use super::table::{Around, Table, Voices};
use super::trunk::{Auth, Gateway, Host, Trunk};
use crate::config::{self, AHEAD, At, Config, Dialled, Finding, Keys, Overflow, Overlay, TrunkTransport};
use crate::number::Country;
use crate::sip::digest::Algorithm;
use crate::sip::peer::Transport;
use crate::sip::uri::SIPS_PORT;

/// How long a step rings when nothing says.
const DEFAULT_TIMEOUT: u32 = 20;
/// The window of a confirmation when nothing says.
const DEFAULT_CONNECT: u32 = 10;

/// A text that is no configuration, with all its mistakes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", config::plain(findings, &[]))]
pub struct BadTable {
    pub findings: Vec<Finding>,
}

impl Table {
    /// Builds the table of a checked configuration. Trunks and agents that `before` has alike are taken from
    /// there, so that what is counted for them goes on.
    pub fn new(config: &Config, generation: u64, before: Option<&Table>) -> Table {
        Table::with_overlay(config, &Overlay::default(), generation, before)
    }

    /// The same with numbers that were set, or removed, over HTTP: they win over the files.
    pub fn with_overlay(
        config: &Config,
        overlay: &Overlay,
        generation: u64,
        before: Option<&Table>,
    ) -> Table {
        let country = config.node.node.country;
        let mut hosts = before.map(|before| before.around.hosts.clone()).unwrap_or_default();
        let trunks: Vec<Arc<Trunk>> = config
            .trunks
            .iter()
            .map(|trunk| kept(compile_trunk(trunk, country, &mut hosts), |name| before?.trunk(name)))
            .collect();
        let realm = &config.node.node.realm;
        let mut agents: Vec<Arc<Agent>> = config
            .agents
            .iter()
            .map(|agent| kept(compile_agent(agent, realm, &mut hosts), |name| before?.agent(name)))
            .collect();
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        let sha256_is_wanted = config.agents.iter().any(|agent| agent.ha1_sha256.is_some());
        let algorithms = algorithms(&agents, sha256_is_wanted);
        let mut nets: Vec<_> =
            trunks.iter().flat_map(|trunk| trunk.from.iter().map(|net| (*net, Arc::clone(trunk)))).collect();
        nets.sort_by_key(|(net, _)| std::cmp::Reverse(net.rank()));
        let numbers = numbers(config, overlay, &trunks, &agents);
        let around = Around {
            country,
            hosts,
            limits: limits(&config.node.limits),
            ways: Arc::new(Outbound::new(&config.dial.allow, &config.dial.deny, &trunks)),
            emergency: Emergency::new(&config.emergency, &trunks),
            dials: Arc::new(dials(country)),
            trunks,
            nets,
            fixed: FixedPhones::new(&agents),
            agents,
            algorithms,
        };
        Table {
            generation,
            around: around.into(),
            numbers: Layers::of(numbers),
            voices: Voices::default(),
            more_voices: Voices::default(),
        }
    }

    /// The same but for these numbers, set as they are told, or removed. `config`: what it was built of. `voices`: what
    /// numbers say that were set so, these and earlier ones.
    pub fn changed(
        &self,
        generation: u64,
        config: &Config,
        changes: &[(Dialled, Option<(&Keys, Written)>)],
        voices: Voices,
    ) -> Table {
        let Around { trunks, agents, .. } = &*self.around;
        let changes = changes.iter().map(|(did, set)| {
            let compiled = set.map(|(keys, written)| {
                Arc::new(compile(&config.merged(keys), written, None, trunks, agents))
            });
            (*did, compiled)
        });
        Table {
            generation,
            around: Arc::clone(&self.around),
            numbers: self.numbers.changed(changes),
            voices: Arc::clone(&self.voices),
            more_voices: voices,
        }
    }

    /// How many numbers were set since it was built, at most.
    pub fn set_apart(&self) -> usize {
        self.numbers.apart()
    }

    /// Whether so many numbers were changed since it was built that it is better built anew.
    pub fn is_changed_a_lot(&self) -> bool {
        self.numbers.are_many()
    }

    /// The table of a text that holds the node's sections and the routing's together: for tests, where a few
    /// lines say what is configured. Generation 1, an empty environment.
    pub fn from_toml(text: &str) -> Result<Table, BadTable> {
        let loaded = config::parse(text, &|_| None).map_err(|findings| BadTable { findings })?;
        Ok(Table::new(&loaded.config, 1, None))
    }
}

/// Has a name that it is found by.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Trunk {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Agent {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The one of the table before, when it is alike.
fn kept<'t, T: Named + PartialEq + 't>(new: T, before: impl Fn(&str) -> Option<&'t Arc<T>>) -> Arc<T> {
    match before(new.name()) {
        Some(old) if **old == new => Arc::clone(old),
        Some(_) | None => Arc::new(new),
    }
}

/// What agents dial is read as the node's country writes it, and what a phone says of itself is not believed.
fn dials(country: Country) -> Trunk {
    Trunk {
        name: Text::default(),
        from: Vec::new(),
        gateways: Vec::new(),
        outbound: false,
        prefixes: Vec::new(),
        priority: 0,
        transport: TrunkTransport::Auto,
        auth: None,
        register: false,
        options_interval: None,
        try_timeout: Duration::ZERO,
        max_calls: 0,
        max_cps: 0,
        limit_code: 503,
        did_from: config::DidFrom::RequestUri,
        numbers: config::NumberFormat::E164,
        strip: 0,
        prefix: Text::default(),
        foreign_caller_id: config::ForeignCallerId::Pass,
        pai: config::Pai::Caller,
        diversion: false,
        history_info: false,
        carry: Vec::new(),
        x_cid: true,
        trusted_identity: false,
        nat: false,
        country,
    }
}

fn compile_trunk(trunk: &config::Trunk, country: Country, hosts: &mut HostNames) -> Trunk {
    let fallback = match trunk.transport {
        TrunkTransport::Auto | TrunkTransport::Udp => Transport::Udp,
        TrunkTransport::Tcp => Transport::Tcp,
        TrunkTransport::Tls => Transport::Tls,
    };
    let forced = Some(fallback).filter(|_| trunk.transport != TrunkTransport::Auto);
    let mut gateways: Vec<Gateway> = (0u8..)
        .zip(&trunk.gateways)
        .map(|(place, gateway)| Gateway {
            place,
            uri: (&*gateway.uri.text).into(),
            addr: gateway.uri.addr.map(|addr| match (gateway.uri.transport, fallback, gateway.uri.port) {
                (None, Transport::Tls, None) => SocketAddr::new(addr.ip(), SIPS_PORT),
                _ => addr,
            }),
            host: Host::of(&gateway.uri, forced),
            name: hosts.enter(&gateway.uri.text),
            transport: gateway.uri.transport.unwrap_or(fallback),
            long_by_tcp: trunk.transport == TrunkTransport::Auto && gateway.uri.transport.is_none(),
            priority: gateway.priority,
            weight: gateway.weight,
        })
        .collect();
    gateways.sort_by_key(|gateway| gateway.priority);
    let auth = trunk.auth.as_ref().map(|auth| Auth {
        username: (&*auth.username).into(),
        password: auth.password.as_ref().map(|secret| secret.reveal().into()),
    });
    Trunk {
        name: (&*trunk.name.value).into(),
        from: trunk.from.iter().map(|at| at.value).collect(),
        gateways,
        outbound: trunk.outbound,
        prefixes: trunk.prefixes.clone(),
        priority: trunk.priority,
        transport: trunk.transport,
        auth,
        register: trunk.register,
        options_interval: Some(trunk.options_interval).filter(|interval| !interval.is_zero()),
        try_timeout: trunk.try_timeout,
        max_calls: trunk.max_calls,
        max_cps: trunk.max_cps,
        limit_code: trunk.limit_code,
        did_from: trunk.did_from,
        numbers: trunk.numbers,
        strip: trunk.strip,
        prefix: (&*trunk.prefix).into(),
        foreign_caller_id: trunk.foreign_caller_id,
        pai: trunk.pai,
        diversion: trunk.diversion,
        history_info: trunk.history_info,
        carry: trunk.carry.iter().map(|name| Text::from(&**name)).collect(),
        x_cid: trunk.x_cid,
        trusted_identity: trunk.trusted_identity,
        nat: trunk.nat,
        country,
    }
}

fn compile_agent(agent: &config::Agent, realm: &str, hosts: &mut HostNames) -> Agent {
    Agent {
        name: (&*agent.name.value).into(),
        contact: agent.contact.as_ref().map(|uri| {
            Arc::new(Contact {
                uri: (&*uri.text).into(),
                addr: uri.addr,
                host: Host::of(uri, None),
                name: hosts.enter(&uri.text),
                transport: uri.transport.unwrap_or(Transport::Udp),
                peer: None,
                route: Box::default(),
                other_flow: None,
            })
        }),
        max_calls: agent.max_calls,
        dnd: agent.dnd,
        number: agent.number.map(|at| at.value),
        account: (&*agent.account).into(),
        secrets: secrets(agent, realm),
    }
}

/// From the password, where there is one; a hash that is written out is of an older one, or of none.
fn secrets(agent: &config::Agent, realm: &str) -> Secrets {
    let known = |algorithm: Algorithm, written: &Option<Box<str>>| {
        let of = |password: &config::Secret| {
            let ha1 =
                algorithm.ha1(agent.name.value.as_bytes(), realm.as_bytes(), password.reveal().as_bytes());
            Text::from(String::from_utf8_lossy(ha1.as_bytes()))
        };
        written.as_deref().map(Text::from).or_else(|| agent.password.as_ref().map(of))
    };
    Secrets { md5: known(Algorithm::Md5, &agent.ha1), sha256: known(Algorithm::Sha256, &agent.ha1_sha256) }
}

/// By which hashes agents are asked, the same for all: those that all of them can answer to, since a phone takes the
/// first that it knows (RFC 8760 §2.4); where there is none, both.
///
/// By SHA-256 only where somebody has a `ha1_sha256`: phones in use fail at a challenge of two hashes of which they
/// know one (baresip 1.0 gives up).
fn algorithms(agents: &[Arc<Agent>], sha256_is_wanted: bool) -> SmallVec<[Algorithm; 2]> {
    let able = |one: &&Arc<Agent>| !one.secrets.is_none();
    let all_have =
        |algorithm: Algorithm| agents.iter().filter(able).all(|one| one.secrets.ha1(algorithm).is_some());
    let wanted = |algorithm: &Algorithm| match algorithm {
        Algorithm::Sha256 => sha256_is_wanted,
        Algorithm::Md5 => true,
    };
    let asked: SmallVec<[Algorithm; 2]> =
        Algorithm::ALL.into_iter().filter(wanted).filter(|algorithm| all_have(*algorithm)).collect();
    if asked.is_empty() { Algorithm::ALL.into() } else { asked }
}

fn limits(limits: &config::Limits) -> CallLimits {
    CallLimits {
        max_call: limits.max_call_seconds,
        max_legs: limits.max_legs,
        max_ringing_per_caller: limits.max_ringing_per_caller,
        rtp_timeout: limits.rtp_timeout,
    }
}

/// What numbers say alike is compiled once.
fn numbers(config: &Config, overlay: &Overlay, trunks: &[Arc<Trunk>], agents: &[Arc<Agent>]) -> Numbers {
    let mut entering = Entering::of(config.numbers.len() + overlay.len(), config.numbers.label_bytes());
    let merged: Vec<Keys> = config.numbers.sets().map(|keys| config.merged(keys)).collect();
    // By its place, without a `forward_to` and with one.
    let mut compiled: Vec<[Option<u32>; 2]> = vec![[None; 2]; merged.len()];
    let mut labels: Vec<Option<Label>> = vec![None; merged.len()];
    for (place, number) in config.numbers.iter().enumerate() {
        if place.is_multiple_of(AHEAD) {
            let next = (place..).take(AHEAD).map_while(|place| config.numbers.get(place));
            entering.look_ahead(next.map(|next| next.did().value));
        }
        if overlay.holds(number.did().value) {
            entering.hide(number.did().value, place);
            continue;
        }
        let set = number.set() as usize;
        let keys = &merged[set];
        let forward = number.forward().map(|at| at.value).or(keys.forward_to.and_then(|at| at.value));
        let settings = *compiled[set][usize::from(forward.is_some())].get_or_insert_with(|| {
            let account = entering.text(text(&keys.account));
            let settings = settings(keys, account, forward.is_some(), trunks, agents);
            entering.settings(&settings)
        });
        let label = match number.label() {
            Some(own) => entering.label(own),
            // The profile's, or the defaults': once, however many have it.
            None => *labels[set].get_or_insert_with(|| entering.label(text(&keys.label))),
        };
        entering.enter(number.did().value, forward, label, settings, Written::InFiles(place));
    }
    for (did, number) in overlay.numbers() {
        let keys = config.merged(&number.keys);
        let account = entering.text(text(&keys.account));
        enter(&mut entering, did, &compile(&keys, Written::OverHttp, Some(account), trunks, agents));
    }
    entering.finish()
}

/// What is kept of a number that is set by itself. `account`: where the same text is there already.
fn compile(
    keys: &Keys,
    written: Written,
    account: Option<Text>,
    trunks: &[Arc<Trunk>],
    agents: &[Arc<Agent>],
) -> Compiled {
    let forward = keys.forward_to.and_then(|at| at.value);
    let account = account.unwrap_or_else(|| text(&keys.account).into());
    let settings = settings(keys, account, forward.is_some(), trunks, agents);
    Compiled { written, forward, label: text(&keys.label).into(), settings }
}

fn text(key: &Option<At<Box<str>>>) -> &str {
    key.as_ref().map_or("", |at| &at.value)
}

fn settings(
    keys: &Keys,
    account: Text,
    forwards: bool,
    trunks: &[Arc<Trunk>],
    agents: &[Arc<Agent>],
) -> Settings {
    Settings {
        enabled: keys.enabled.is_none_or(|at| at.value),
        steps: steps(keys, forwards, agents),
        features: features(keys, account, trunks).into(),
    }
}

/// R3: its own step, then its `overflow`.
fn steps(keys: &Keys, forwards: bool, agents: &[Arc<Agent>]) -> Box<[StepEntry]> {
    let timeout = keys.timeout.map_or(DEFAULT_TIMEOUT, |at| at.value);
    let overflow = keys.overflow.iter().flat_map(|steps| &steps.value);
    let overflow = overflow.map(|step| overflow_step(step, timeout, agents));
    std::iter::once(first_step(keys, forwards, timeout, agents)).chain(overflow).collect()
}

fn features(keys: &Keys, account: Text, trunks: &[Arc<Trunk>]) -> Features {
    let trunk = keys.trunk.as_ref().and_then(|at| at.value.as_deref());
    Features {
        account,
        pass_called_number: is(&keys.pass_called_number),
        call_connect: is(&keys.call_connect)
            .then(|| seconds(keys.call_connect_seconds.map_or(DEFAULT_CONNECT, |at| at.value))),
        whisper: prompt(&keys.whisper),
        whisper_agents: is(&keys.whisper_agents),
        record: is(&keys.record),
        record_notice: prompt(&keys.record_notice),
        voicemail: voicemail(keys.voicemail.as_ref().map_or(&config::Voicemail::PLAIN, |at| &at.value)),
        caller_id: keys.caller_id.and_then(|at| at.value),
        trunk: trunk.and_then(|name| trunks.iter().find(|trunk| &*trunk.name == name)).cloned(),
    }
}

/// R3.1 and R3.2: `forward_to` and `ring` together, `assigned_to` where neither is set. Beside `ring` it rings
/// too, before all others by its head start; beside `forward_to` alone it does not.
fn first_step(keys: &Keys, forwards: bool, timeout: u32, agents: &[Arc<Agent>]) -> StepEntry {
    let ring: &[At<Box<str>>] = keys.ring.as_ref().map_or(&[], |at| &at.value);
    let assigned = keys.assigned_to.as_ref().and_then(|at| at.value.as_deref());
    let assigned = assigned.filter(|_| !ring.is_empty() || !forwards);
    let head_start = keys.assigned_head_start.map_or(0, |at| at.value);
    let mut targets = Vec::new();
    if let Some(place) = assigned.and_then(|name| agent_place(agents, name)) {
        targets.push(TargetEntry { delay_seconds: 0, who: WhoEntry::Agent(place) });
    }
    let delay = if targets.is_empty() { 0 } else { head_start };
    push_targets(&mut targets, forwards.then_some(WhoEntry::Forward), ring, delay, agents);
    StepEntry { seconds: timeout, targets: targets.into() }
}

/// R3.4: its own `ring`, `forward_to` and `timeout`.
fn overflow_step(step: &Overflow, timeout: u32, agents: &[Arc<Agent>]) -> StepEntry {
    let mut targets = Vec::new();
    let forward = step.forward_to.map(|at| WhoEntry::Number(at.value));
    push_targets(&mut targets, forward, &step.ring, 0, agents);
    StepEntry { seconds: step.timeout.map_or(timeout, |at| at.value), targets: targets.into() }
}

/// Nobody rings twice in a step.
fn push_targets(
    targets: &mut Vec<TargetEntry>,
    forward: Option<WhoEntry>,
    ring: &[At<Box<str>>],
    delay_seconds: u32,
    agents: &[Arc<Agent>],
) {
    let places = ring.iter().filter_map(|name| agent_place(agents, name));
    for who in forward.into_iter().chain(places.map(WhoEntry::Agent)) {
        if !targets.iter().any(|target| target.who == who) {
            targets.push(TargetEntry { delay_seconds, who });
        }
    }
}

fn agent_place(agents: &[Arc<Agent>], name: &str) -> Option<u32> {
    let place = agents.binary_search_by(|agent| (*agent.name).cmp(name)).ok()?;
    u32::try_from(place).ok()
}

fn is(key: &Option<At<bool>>) -> bool {
    key.is_some_and(|at| at.value)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

fn prompt(key: &Option<At<Option<config::Prompt>>>) -> Option<Prompt> {
    key.as_ref().and_then(|at| at.value.as_ref()).map(compile_prompt)
}

fn compile_prompt(prompt: &config::Prompt) -> Prompt {
    match prompt {
        config::Prompt::Text(text) => Prompt::Text((&**text).into()),
        config::Prompt::File { path, .. } => Prompt::File(path.as_path().into()),
    }
}

fn voicemail(voicemail: &config::Voicemail) -> Option<Arc<Voicemail>> {
    match voicemail {
        config::Voicemail::Off => None,
        config::Voicemail::On { greeting, max_seconds, min_seconds } => Some(Arc::new(Voicemail {
            greeting: greeting.as_ref().map(compile_prompt),
            max_message: seconds(*max_seconds),
            min_message: seconds(*min_seconds),
        })),
    }
}
