//! All numbers, trunks and agents of one generation. Immutable; published as a whole behind an `ArcSwap`.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::fixed::FixedPhones;
use super::hosts::HostNames;
use super::layers::Layers;
use super::numbers::{Features, Found, StepEntry, TargetEntry, WhoEntry, Written};
use super::plan::{Agent, CallLimits, Origin, Plan, Prompt, Step, Target, Text, Who};
use super::trunk::{Host, Trunk};
use super::{Called, Emergency, NoWay, Outbound, Urgency};
use crate::config::{Dialled, Net};
use crate::media;
use crate::number::{Country, E164};
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

/// One generation of the configuration, as calls look it up.
#[derive(Debug)]
pub struct Table {
    /// Rises by one with each publication and survives restarts.
    pub generation: u64,
    pub(super) around: Arc<Around>,
    pub(super) numbers: Layers,
    /// What is said by what files name, as it sounds, …
    pub(super) voices: Voices,
    /// … and by numbers that were set one by one since.
    pub(super) more_voices: Voices,
}

/// All but the numbers: the same for all generations in which only numbers were set.
#[derive(Debug)]
pub(super) struct Around {
    pub country: Country,
    pub hosts: HostNames,
    pub limits: CallLimits,
    pub ways: Arc<Outbound>,
    pub emergency: Emergency,
    /// How what an agent dials is read.
    pub dials: Arc<Trunk>,
    /// In the order of the files.
    pub trunks: Vec<Arc<Trunk>>,
    /// Of every trunk, the longest first.
    pub nets: Vec<(Net, Arc<Trunk>)>,
    /// By name.
    pub agents: Vec<Arc<Agent>>,
    pub fixed: FixedPhones,
    pub algorithms: SmallVec<[Algorithm; 2]>,
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
    /// The same as that generation.
    pub fn with_generation(self, generation: u64) -> Table {
        Table { generation, ..self }
    }

    /// The same with what it says.
    pub fn with_voices(self, voices: Voices) -> Table {
        Table { voices, ..self }
    }

    /// What is said by what it was built of.
    pub fn voices(&self) -> &Voices {
        &self.voices
    }

    /// What numbers say that were set since it was built.
    pub fn more_voices(&self) -> &Voices {
        &self.more_voices
    }

    /// Whether it is among what is said by what it was built of.
    pub fn has_voice(&self, prompt: &Prompt) -> bool {
        self.voices.contains_key(prompt)
    }

    /// All that it says, some of it twice.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        self.numbers.features().flat_map(|features| {
            let Features { whisper, record_notice, voicemail, .. } = &**features;
            let greeting = voicemail.as_ref().and_then(|voicemail| voicemail.greeting.as_ref());
            whisper.iter().chain(record_notice).chain(greeting)
        })
    }

    /// What is said, as it sounds.
    pub fn voice(&self, prompt: &Prompt) -> Option<Arc<media::prompt::Prompt>> {
        self.voices.get(prompt).or_else(|| self.more_voices.get(prompt)).cloned()
    }

    /// The name that a connection's certificate has to bear.
    pub fn host_name(&self, id: NameId) -> Option<&Text> {
        self.around.hosts.get(id)
    }

    /// The trunk whose `from` matches the source with the longest net (R1d).
    pub fn trunk_of(&self, source: SocketAddr) -> Option<&Arc<Trunk>> {
        self.around.nets.iter().find(|(net, _)| net.holds(source)).map(|(_, trunk)| trunk)
    }

    /// Whether some trunk has this address, on whatever port, in its `from` or as a gateway.
    pub fn knows(&self, ip: IpAddr) -> bool {
        let mut gateways =
            self.around.trunks.iter().flat_map(|trunk| &trunk.gateways).filter_map(|gateway| gateway.addr);
        self.around.nets.iter().any(|(net, _)| net.holds_address(ip))
            || gateways.any(|gateway| gateway.ip() == ip)
    }

    /// The agents whose fixed phone is there. `leads_to`: whether a host that has a name is; asked once of each host, so
    /// as often as there are fixed phones at most.
    pub fn fixed_at(
        &self,
        addr: SocketAddr,
        leads_to: impl Fn(&Host) -> bool,
    ) -> impl Iterator<Item = &Arc<Agent>> {
        self.around.fixed.at(addr, leads_to)
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
        let number = self.numbers.find(did).ok_or(NoPlan::UnknownNumber(did))?;
        if !number.is_enabled() {
            return Err(NoPlan::Disabled(did));
        }
        let features = &**number.features();
        Ok(Plan {
            generation: self.generation,
            account: Arc::clone(&features.account),
            label: number.label().into(),
            did: Some(did),
            country: self.around.country,
            origin,
            diverts: true,
            steps: number.steps().iter().map(|step| self.step(number, step, draw)).collect(),
            pass_called_number: features.pass_called_number,
            call_connect: features.call_connect,
            whisper: features.whisper.clone(),
            whisper_agents: features.whisper_agents,
            record: features.record,
            record_notice: features.record_notice.clone(),
            voicemail: features.voicemail.clone(),
            caller_id: features.caller_id,
            limits: self.around.limits,
            urgency: Urgency::Ordinary,
            ways: Arc::clone(&self.around.ways),
            forced: features.trunk.clone(),
        })
    }

    /// The plan of a call that an agent makes, for the user part or the number that was dialled: to an emergency number
    /// before anything else, inside to an agent's name or a DID of ours, else out through a trunk (R2, R13).
    pub fn plan_of(&self, agent: &Arc<Agent>, dialled: &str, draw: u32) -> Result<Plan, NoPlan> {
        if let Some(number) = self.around.emergency.called(dialled) {
            let (number, ways) =
                (Called::Emergency(Arc::clone(number)), Arc::clone(&self.around.emergency.ways));
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
        let number = self.around.dials.read_dialled(dialled).ok_or(NoPlan::NotANumber)?;
        if self.is_ours(number) {
            return self.plan_from(self.origin_of(agent), number, draw);
        }
        let shows = agent.number.ok_or(NoPlan::NothingToShow)?;
        let features = self.numbers.find(shows).map(|number| Arc::clone(number.features()));
        let forced = features.as_ref().and_then(|features| features.trunk.as_ref());
        let who = match self.around.ways.choose(number, forced, draw) {
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
        let number = self.numbers.find(did);
        let rung = |agent: &Agent| Who::Agent(Arc::new(Agent { dnd: false, ..agent.clone() }));
        let mut targets: SmallVec<[Target; 2]> = SmallVec::new();
        targets.push(Target { delay: Duration::ZERO, who: rung(agent) });
        let step = number.and_then(|number| Some((number, number.steps().first()?)));
        for (number, entry) in
            step.iter().flat_map(|(number, step)| step.targets.iter().map(|entry| (*number, *entry)))
        {
            match self.target(number, entry, None, draw).map(|target| target.who) {
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
            account: number.map(|number| Arc::clone(&number.features().account)).unwrap_or_default(),
            label: number.map(|number| number.label().into()).unwrap_or_default(),
            ..self.plan_to(agent, rung(agent), BACK, Some(did), None)
        }
    }

    /// The emergency number that was dialled, if it is one.
    pub fn emergency(&self, dialled: &str) -> Option<&Text> {
        self.around.emergency.called(dialled)
    }

    /// The plan of an agent's call that rings nobody: it joins one that is there (RFC 3891).
    pub fn plan_beside(&self, agent: &Arc<Agent>) -> Plan {
        let mut plan = self.plan_to(agent, Who::Agent(Arc::clone(agent)), INSIDE, agent.number, None);
        plan.steps.clear();
        plan
    }

    pub fn origin_of(&self, agent: &Arc<Agent>) -> Origin {
        Origin::Agent { agent: Arc::clone(agent), dials: Arc::clone(&self.around.dials) }
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
            country: self.around.country,
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
            limits: self.around.limits,
            urgency: Urgency::Ordinary,
            ways: Arc::clone(&self.around.ways),
            forced: features.and_then(|features| features.trunk.clone()),
        }
    }

    /// The number that an agent's call shows: the verified `caller_id` of the agent's number, else that number (R9).
    pub fn shown_of(&self, agent: &Agent) -> Option<E164> {
        let own = agent.number?;
        Some(self.numbers.find(own).and_then(|number| number.features().caller_id).unwrap_or(own))
    }

    /// Whether it is a DID of ours, disabled ones and blocks included. Such a number is routed inside, never
    /// through a trunk (R2).
    pub fn is_ours(&self, number: E164) -> bool {
        self.numbers.find(number).is_some()
    }

    /// The label of the number that serves this DID, disabled ones and blocks included; `None`: it is none of ours.
    pub fn account_of(&self, did: E164) -> Option<Arc<str>> {
        Some(Arc::clone(&self.numbers.find(did)?.features().account))
    }

    pub fn agent(&self, name: &str) -> Option<&Arc<Agent>> {
        let place = self.around.agents.binary_search_by(|agent| (*agent.name).cmp(name)).ok()?;
        self.around.agents.get(place)
    }

    pub fn trunk(&self, name: &str) -> Option<&Arc<Trunk>> {
        self.around.trunks.iter().find(|trunk| &*trunk.name == name)
    }

    /// In the order of the files.
    pub fn trunks(&self) -> &[Arc<Trunk>] {
        &self.around.trunks
    }

    /// By name.
    pub fn agents(&self) -> &[Arc<Agent>] {
        &self.around.agents
    }

    /// The hashes of our challenges: those by which every agent that has a password can answer, else all.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.around.algorithms
    }

    pub fn country(&self) -> Country {
        self.around.country
    }

    pub fn limits(&self) -> CallLimits {
        self.around.limits
    }

    /// The number that serves this DID, a disabled one or a block too. Waits for nobody and reads one line of memory, now and then
    /// the next, and what many numbers have in common.
    pub fn number(&self, did: E164) -> Option<Found<'_>> {
        self.numbers.find(did)
    }

    /// Bytes that the numbers take: to find them by, and with what they say.
    pub fn bytes(&self) -> (usize, usize) {
        self.numbers.bytes()
    }

    /// How many `[[number]]`s, a block counting once.
    pub fn numbers(&self) -> usize {
        self.numbers.len()
    }

    /// Whether `[dial]` allows it, and the trunk that carries it when no number forces another (R13).
    pub fn outbound(&self, number: E164, draw: u32) -> Result<Arc<Trunk>, NoWay> {
        self.around.ways.choose(number, None, draw)
    }

    /// As what the number that serves this DID is written, and where: itself, else the longest block.
    pub fn serving(&self, did: E164) -> Option<(Dialled, Written)> {
        let (written, found) = self.numbers.serving(did)?;
        Some((written, found.written()))
    }

    /// Whether, and where, that one itself is written.
    pub fn written(&self, did: Dialled) -> Option<Written> {
        self.numbers.written(did).map(Found::written)
    }

    /// Where that one itself stands in the files, whatever was set of it over HTTP.
    pub fn in_files(&self, did: Dialled) -> Option<usize> {
        self.numbers.in_files(did)
    }

    /// What of it is large and may be shared with other generations.
    pub fn shared(&self) -> [Arc<dyn Any + Send + Sync>; 2] {
        self.numbers.shared()
    }

    /// Whether all but the numbers is the very same.
    pub fn is_around(&self, other: &Table) -> bool {
        Arc::ptr_eq(&self.around, &other.around)
    }

    fn step(&self, number: Found<'_>, step: &StepEntry, draw: u32) -> Step {
        let forced = number.features().trunk.as_ref();
        let targets = step.targets.iter().filter_map(|target| self.target(number, *target, forced, draw));
        Step { timeout: Duration::from_secs(step.seconds.into()), targets: targets.collect() }
    }

    /// None only for a place that no agent stands at, and for a number that is not there, which the builder never writes.
    fn target(
        &self,
        number: Found<'_>,
        target: TargetEntry,
        forced: Option<&Arc<Trunk>>,
        draw: u32,
    ) -> Option<Target> {
        let outside = |number: E164| {
            let (way, number) =
                (forced.or_else(|| self.around.ways.way(number, &[], draw)), Called::Number(number));
            match way {
                Some(trunk) => Who::Number { number, trunk: Arc::clone(trunk) },
                None => Who::Unreachable(number),
            }
        };
        let who = match target.who {
            WhoEntry::Agent(place) => Who::Agent(Arc::clone(self.around.agents.get(place as usize)?)),
            WhoEntry::Number(number) => outside(number),
            WhoEntry::Forward => outside(number.forward()?),
        };
        Some(Target { delay: Duration::from_secs(target.delay_seconds.into()), who })
    }
}
