//! All numbers, trunks and agents of one generation. Immutable; published as a whole behind an `ArcSwap`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::fixed::FixedPhones;
use super::hosts::HostNames;
use super::plan::{Agent, CallLimits, Origin, Plan, Prompt, Step, Target, Text, Voicemail, Who};
use super::trunk::{Host, Trunk};
use super::{Called, Emergency, NoWay, Outbound, Urgency};
use crate::config::{Dialled, Net};
use crate::media;
use crate::number::{Country, E164, MAX_DIGITS, Prefix};
use crate::sip::digest::Algorithm;
use crate::sip::peer::NameId;

/// How long a call of one agent to another rings.
const INSIDE: Duration = Duration::from_secs(60);
/// How long a call back to somebody who called for help rings.
const BACK: Duration = Duration::from_secs(120);
/// How long of this the one who called for help rings alone: long enough to be the one who answers, short enough for
/// whoever calls back to hold the line.
const ALONE: Duration = Duration::from_secs(12);
/// How long a call out may ring (RFC 3261 §16.6: Timer C, three minutes or more).
const OUTSIDE: Duration = Duration::from_secs(180);

/// One generation of the configuration, as calls look it up. A lookup is one hash and one compare, and one more
/// for each length of block that is configured.
#[derive(Debug)]
pub struct Table {
    /// Rises by one with each publication and survives restarts.
    pub generation: u64,
    pub(super) country: Country,
    pub(super) hosts: HostNames,
    pub(super) limits: CallLimits,
    pub(super) ways: Arc<Outbound>,
    pub(super) emergency: Emergency,
    /// How what an agent dials is read.
    pub(super) dials: Arc<Trunk>,
    /// In the order of the files.
    pub(super) trunks: Vec<Arc<Trunk>>,
    /// Of every trunk, the longest first.
    pub(super) nets: Vec<(Net, Arc<Trunk>)>,
    /// By name.
    pub(super) agents: Vec<Arc<Agent>>,
    pub(super) fixed: FixedPhones,
    pub(super) algorithms: SmallVec<[Algorithm; 2]>,
    /// Whole numbers and blocks by their packed digits (which tell the two apart by their count), to `entries`.
    pub(super) index: HashMap<Dialled, u32, Scatter>,
    /// Bit n: there is a block of n digits.
    pub(super) block_lengths: u16,
    /// What is said, as it sounds.
    pub(super) voices: Voices,
    /// In the order of the configuration's numbers.
    pub(super) entries: Vec<Entry>,
}

/// One `[[number]]`, its profile and the defaults merged into it.
#[derive(Debug)]
pub(super) struct Entry {
    pub enabled: bool,
    pub label: Text,
    pub steps: Box<[StepEntry]>,
    /// Numbers with equal features share them.
    pub features: Arc<Features>,
}

#[derive(Debug)]
pub(super) struct StepEntry {
    pub seconds: u32,
    pub targets: Box<[TargetEntry]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetEntry {
    pub delay_seconds: u32,
    pub who: WhoEntry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhoEntry {
    /// By its place in `agents`.
    Agent(u32),
    Number(E164),
}

/// What a number asks for beyond who rings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Features {
    pub account: Text,
    pub pass_called_number: bool,
    pub call_connect: Option<Duration>,
    pub whisper: Option<Prompt>,
    pub whisper_agents: bool,
    pub record: bool,
    pub record_notice: Option<Prompt>,
    pub voicemail: Option<Arc<Voicemail>>,
    pub caller_id: Option<E164>,
    pub trunk: Option<Arc<Trunk>>,
}

/// Why a dialled number has no plan. Each is a 404 (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error("what was dialled is no number")]
    NotANumber,
    #[error("the dialled number is not ours")]
    UnknownNumber(E164),
    #[error("the dialled number is disabled")]
    Disabled(E164),
    #[error("[dial] does not allow it")]
    Forbidden(E164),
    #[error("the agent has no number that a call out could show")]
    NothingToShow,
}

/// What is said, as it sounds: all that a configuration names, spoken or read when it was loaded.
pub type Voices = Arc<std::collections::HashMap<Prompt, Arc<media::prompt::Prompt>>>;

impl Table {
    /// The same with what it says.
    pub fn with_voices(self, voices: Voices) -> Table {
        Table { voices, ..self }
    }

    /// All that it says, some of it twice.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        self.entries.iter().flat_map(|entry| {
            let Features { whisper, record_notice, voicemail, .. } = &*entry.features;
            let greeting = voicemail.as_ref().and_then(|voicemail| voicemail.greeting.as_ref());
            whisper.iter().chain(record_notice).chain(greeting)
        })
    }

    /// What is said, as it sounds.
    pub fn voice(&self, prompt: &Prompt) -> Option<Arc<media::prompt::Prompt>> {
        self.voices.get(prompt).cloned()
    }

    /// The name that a connection's certificate has to bear.
    pub fn host_name(&self, id: NameId) -> Option<&Text> {
        self.hosts.get(id)
    }

    /// The trunk whose `from` matches the source with the longest net (R1d).
    pub fn trunk_of(&self, source: SocketAddr) -> Option<&Arc<Trunk>> {
        self.nets.iter().find(|(net, _)| net.holds(source)).map(|(_, trunk)| trunk)
    }

    /// Whether some trunk has this address, on whatever port, in its `from` or as a gateway.
    pub fn knows(&self, ip: IpAddr) -> bool {
        let mut gateways =
            self.trunks.iter().flat_map(|trunk| &trunk.gateways).filter_map(|gateway| gateway.addr);
        self.nets.iter().any(|(net, _)| net.holds_address(ip)) || gateways.any(|gateway| gateway.ip() == ip)
    }

    /// The agents whose fixed phone is there. `leads_to`: whether a host that has a name is; asked once of each host, so
    /// as often as there are fixed phones at most.
    pub fn fixed_at(
        &self,
        addr: SocketAddr,
        leads_to: impl Fn(&Host) -> bool,
    ) -> impl Iterator<Item = &Arc<Agent>> {
        self.fixed.at(addr, leads_to)
    }

    /// The plan of a call that came on this trunk, for the text that was dialled (see [`Trunk::read_dialled`]).
    /// `draw` is any random number: it chooses among outbound trunks of equal rank (R13).
    pub fn plan(&self, trunk: &Arc<Trunk>, dialled: &str, draw: u32) -> Result<Plan, NoPlan> {
        let did = trunk.read_dialled(dialled).ok_or(NoPlan::NotANumber)?;
        self.plan_for(trunk, did, draw)
    }

    /// [`Table::plan`] for a number that is read already.
    pub fn plan_for(&self, trunk: &Arc<Trunk>, did: E164, draw: u32) -> Result<Plan, NoPlan> {
        self.plan_from(Origin::Trunk(Arc::clone(trunk)), did, draw)
    }

    /// The plan of a call to a DID of ours, whoever dialled it.
    pub fn plan_from(&self, origin: Origin, did: E164, draw: u32) -> Result<Plan, NoPlan> {
        let entry = self.entry(did).ok_or(NoPlan::UnknownNumber(did))?;
        if !entry.enabled {
            return Err(NoPlan::Disabled(did));
        }
        let features = &*entry.features;
        Ok(Plan {
            generation: self.generation,
            account: Arc::clone(&features.account),
            label: Arc::clone(&entry.label),
            did: Some(did),
            country: self.country,
            origin,
            diverts: true,
            steps: entry.steps.iter().map(|step| self.step(step, features.trunk.as_ref(), draw)).collect(),
            pass_called_number: features.pass_called_number,
            call_connect: features.call_connect,
            whisper: features.whisper.clone(),
            whisper_agents: features.whisper_agents,
            record: features.record,
            record_notice: features.record_notice.clone(),
            voicemail: features.voicemail.clone(),
            caller_id: features.caller_id,
            limits: self.limits,
            urgency: Urgency::Ordinary,
            ways: Arc::clone(&self.ways),
            forced: features.trunk.clone(),
        })
    }

    /// The plan of a call that an agent makes, for the user part or the number that was dialled: to an emergency number
    /// before anything else, inside to an agent's name or a DID of ours, else out through a trunk (R2, R13).
    pub fn plan_of(&self, agent: &Arc<Agent>, dialled: &str, draw: u32) -> Result<Plan, NoPlan> {
        if let Some(number) = self.emergency.called(dialled) {
            let (number, ways) = (Called::Emergency(Arc::clone(number)), Arc::clone(&self.emergency.ways));
            let who = match ways.first() {
                Some(trunk) => Who::Number { number, trunk: Arc::clone(trunk) },
                None => Who::Unreachable(number),
            };
            let urgency = Urgency::Emergency(ways);
            return Ok(Plan { urgency, ..self.plan_to(agent, who, OUTSIDE, agent.number, None) });
        }
        if let Some(called) = self.agent(dialled) {
            let who = Who::Agent(Arc::clone(called));
            return Ok(self.plan_to(agent, who, INSIDE, agent.number, None));
        }
        let number = self.dials.read_dialled(dialled).ok_or(NoPlan::NotANumber)?;
        if self.is_ours(number) {
            return self.plan_from(self.origin_of(agent), number, draw);
        }
        let shows = agent.number.ok_or(NoPlan::NothingToShow)?;
        let features = self.entry(shows).map(|entry| Arc::clone(&entry.features));
        let forced = features.as_ref().and_then(|features| features.trunk.as_ref());
        let who = match self.ways.choose(number, forced, draw) {
            Ok(trunk) => Who::Number { number: Called::Number(number), trunk },
            Err(NoWay::NoTrunk) => Who::Unreachable(Called::Number(number)),
            Err(NoWay::Forbidden) => return Err(NoPlan::Forbidden(number)),
        };
        Ok(self.plan_to(agent, who, OUTSIDE, Some(shows), features))
    }

    /// The plan of a call back to an agent who has just called for help, by the number that this call showed: nothing
    /// but rings, whoever is busy, wants no calls, or is disabled (R13). The agent rings alone at first; then those too
    /// who ring for the number in any case.
    pub fn plan_back(&self, origin: Origin, did: E164, agent: &Arc<Agent>, draw: u32) -> Plan {
        let entry = self.entry(did);
        let rung = |agent: &Agent| Who::Agent(Arc::new(Agent { dnd: false, ..agent.clone() }));
        let mut targets: SmallVec<[Target; 2]> = SmallVec::new();
        targets.push(Target { delay: Duration::ZERO, who: rung(agent) });
        for entry in entry.and_then(|entry| entry.steps.first()).iter().flat_map(|step| &step.targets) {
            match self.target(*entry, None, draw).map(|target| target.who) {
                Some(Who::Agent(other)) if other.name != agent.name => {
                    targets.push(Target { delay: ALONE, who: rung(&other) });
                }
                Some(who @ Who::Number { .. }) => targets.push(Target { delay: ALONE, who }),
                Some(Who::Agent(_) | Who::Unreachable(_)) | None => {}
            }
        }
        Plan {
            origin,
            diverts: true,
            steps: smallvec::smallvec![Step { timeout: BACK, targets }],
            urgency: Urgency::CallBack,
            account: entry.map(|entry| Arc::clone(&entry.features.account)).unwrap_or_default(),
            label: entry.map(|entry| Arc::clone(&entry.label)).unwrap_or_default(),
            ..self.plan_to(agent, rung(agent), BACK, Some(did), None)
        }
    }

    /// The emergency number that was dialled, if it is one.
    pub fn emergency(&self, dialled: &str) -> Option<&Text> {
        self.emergency.called(dialled)
    }

    /// The plan of an agent's call that rings nobody: it joins one that is there (RFC 3891).
    pub fn plan_beside(&self, agent: &Arc<Agent>) -> Plan {
        let mut plan = self.plan_to(agent, Who::Agent(Arc::clone(agent)), INSIDE, agent.number, None);
        plan.steps.clear();
        plan
    }

    pub fn origin_of(&self, agent: &Arc<Agent>) -> Origin {
        Origin::Agent { agent: Arc::clone(agent), dials: Arc::clone(&self.dials) }
    }

    /// To one target, without what a number asks for when it is called (R13); recorded as the number shown is.
    fn plan_to(
        &self,
        agent: &Arc<Agent>,
        who: Who,
        timeout: Duration,
        did: Option<E164>,
        features: Option<Arc<Features>>,
    ) -> Plan {
        let target = Target { delay: Duration::ZERO, who };
        let of_number = features.as_ref().map(|features| Arc::clone(&features.account));
        let account = if agent.account.is_empty() { of_number } else { Some(Arc::clone(&agent.account)) };
        Plan {
            generation: self.generation,
            account: account.unwrap_or_default(),
            label: Text::default(),
            did,
            country: self.country,
            origin: self.origin_of(agent),
            diverts: false,
            steps: smallvec::smallvec![Step { timeout, targets: smallvec::smallvec![target] }],
            pass_called_number: false,
            call_connect: None,
            whisper: None,
            whisper_agents: false,
            record: features.as_ref().is_some_and(|features| features.record),
            record_notice: features.as_ref().and_then(|features| features.record_notice.clone()),
            voicemail: None,
            caller_id: features.as_ref().and_then(|features| features.caller_id),
            limits: self.limits,
            urgency: Urgency::Ordinary,
            ways: Arc::clone(&self.ways),
            forced: features.and_then(|features| features.trunk.clone()),
        }
    }

    /// The number that an agent's call shows: the verified `caller_id` of the agent's number, else that number (R9).
    pub fn shown_of(&self, agent: &Agent) -> Option<E164> {
        let own = agent.number?;
        Some(self.entry(own).and_then(|entry| entry.features.caller_id).unwrap_or(own))
    }

    /// Whether it is a DID of ours, disabled ones and blocks included. Such a number is routed inside, never
    /// through a trunk (R2).
    pub fn is_ours(&self, number: E164) -> bool {
        self.entry(number).is_some()
    }

    /// The label of the number that serves this DID, disabled ones and blocks included; `None`: it is none of ours.
    pub fn account_of(&self, did: E164) -> Option<Arc<str>> {
        Some(Arc::clone(&self.entry(did)?.features.account))
    }

    pub fn agent(&self, name: &str) -> Option<&Arc<Agent>> {
        let place = self.agents.binary_search_by(|agent| (*agent.name).cmp(name)).ok()?;
        self.agents.get(place)
    }

    pub fn trunk(&self, name: &str) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| &*trunk.name == name)
    }

    /// In the order of the files.
    pub fn trunks(&self) -> &[Arc<Trunk>] {
        &self.trunks
    }

    /// By name.
    pub fn agents(&self) -> &[Arc<Agent>] {
        &self.agents
    }

    /// The hashes of our challenges: those by which every agent that has a password can answer, else all.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    pub fn country(&self) -> Country {
        self.country
    }

    pub fn limits(&self) -> CallLimits {
        self.limits
    }

    /// How many `[[number]]`s, a block counting once.
    pub fn numbers(&self) -> usize {
        self.entries.len()
    }

    /// Whether `[dial]` allows it, and the trunk that carries it when no number forces another (R13).
    pub fn outbound(&self, number: E164, draw: u32) -> Result<Arc<Trunk>, NoWay> {
        self.ways.choose(number, None, draw)
    }

    fn entry(&self, did: E164) -> Option<&Entry> {
        self.entries.get(self.place(did)?)
    }

    /// Where the number that serves this DID stands among `entries`: itself, else the longest block.
    pub(super) fn place(&self, did: E164) -> Option<usize> {
        let at = |key| self.index.get(&key).map(|place| *place as usize);
        if let Some(place) = at(Dialled::Number(did)) {
            return Some(place);
        }
        if self.block_lengths == 0 {
            return None;
        }
        (1..=MAX_DIGITS.min(did.len()))
            .rev()
            .filter(|len| self.block_lengths >> len & 1 == 1)
            .find_map(|len| at(Dialled::Block(Prefix::of(did, len))))
    }

    fn step(&self, step: &StepEntry, forced: Option<&Arc<Trunk>>, draw: u32) -> Step {
        Step {
            timeout: Duration::from_secs(step.seconds.into()),
            targets: step.targets.iter().filter_map(|target| self.target(*target, forced, draw)).collect(),
        }
    }

    /// None only for a place that no agent stands at, which the builder never writes.
    fn target(&self, target: TargetEntry, forced: Option<&Arc<Trunk>>, draw: u32) -> Option<Target> {
        let who = match target.who {
            WhoEntry::Agent(place) => Who::Agent(Arc::clone(self.agents.get(place as usize)?)),
            WhoEntry::Number(number) => {
                let (way, number) =
                    (forced.or_else(|| self.ways.way(number, &[], draw)), Called::Number(number));
                match way {
                    Some(trunk) => Who::Number { number, trunk: Arc::clone(trunk) },
                    None => Who::Unreachable(number),
                }
            }
        };
        Some(Target { delay: Duration::from_secs(target.delay_seconds.into()), who })
    }
}

/// Scatters packed digits over the map: one multiplication. A sender can choose what is looked up, but not what
/// is in the table, so that a seed would protect nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scatter;

impl std::hash::BuildHasher for Scatter {
    type Hasher = Scattered;

    fn build_hasher(&self) -> Scattered {
        Scattered(0)
    }
}

pub(super) struct Scattered(u64);

impl std::hash::Hasher for Scattered {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(self.0 ^ value) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    /// The tag that derived hashing writes for an enum.
    fn write_isize(&mut self, value: isize) {
        self.0 ^= value as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
