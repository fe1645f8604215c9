//! How the targets of a plan end, what of it is known before it rings, and what the caller is told (R3, R8).

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Agent, Contact, Plan, Who};

/// How one target ended: one who was not rung at all counts as well (R3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetEnd {
    Busy,
    Declined,
    /// Its trunk carries as many calls as it may, and answers this instead (R14: `limit_code`).
    NoCircuit(u16),
    /// It led to nothing but numbers that `[dial]` forbids.
    Forbidden,
    Other,
}

/// Why a target is not rung, whatever else happens in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrung {
    DoNotDisturb,
    NoContact,
    /// No trunk serves the number.
    NoTrunk,
    /// The trunk that serves the number has none.
    NoGateway,
}

impl TargetEnd {
    /// How all targets ended, where all ended alike.
    pub fn of_all(ends: impl Iterator<Item = TargetEnd>) -> TargetEnd {
        let alike = |one, other| match (one, other) {
            (TargetEnd::NoCircuit(code), TargetEnd::NoCircuit(_)) => TargetEnd::NoCircuit(code),
            (one, other) if one == other => one,
            // Both are our own refusals; but not even one code stands for both.
            (TargetEnd::NoCircuit(_), TargetEnd::Forbidden)
            | (TargetEnd::Forbidden, TargetEnd::NoCircuit(_)) => TargetEnd::Forbidden,
            (_, _) => TargetEnd::Other,
        };
        ends.reduce(alike).unwrap_or(TargetEnd::Other)
    }

    /// Of two phones of one agent: who declined on one has declined, who speaks on one is busy (R8).
    pub fn louder(self, other: TargetEnd) -> TargetEnd {
        let loudness = |end| match end {
            TargetEnd::Declined => 4,
            TargetEnd::Busy => 3,
            TargetEnd::NoCircuit(_) => 2,
            TargetEnd::Forbidden => 1,
            TargetEnd::Other => 0,
        };
        if loudness(other) > loudness(self) { other } else { self }
    }

    /// The final response to the caller when all targets ended so, without an answer (R8).
    pub const fn told(self) -> u16 {
        match self {
            TargetEnd::Busy => 486,
            TargetEnd::Declined => 603,
            TargetEnd::NoCircuit(code) => code,
            TargetEnd::Forbidden | TargetEnd::Other => 480,
        }
    }
}

impl Unrung {
    pub const fn end(self) -> TargetEnd {
        match self {
            Unrung::DoNotDisturb => TargetEnd::Busy,
            Unrung::NoContact | Unrung::NoTrunk | Unrung::NoGateway => TargetEnd::Other,
        }
    }
}

/// Where an agent can be called.
pub type Reached = SmallVec<[Arc<Contact>; 2]>;

/// Who knows where the agents' phones are just now.
pub trait Phones {
    /// Every phone of an agent: the fixed one, and those that have registered (R3.3).
    fn of(&self, agent: &Agent) -> Reached;
}

/// The phones that the configuration names, where nobody knows of others.
pub struct Fixed;

impl Phones for Fixed {
    fn of(&self, agent: &Agent) -> Reached {
        agent.contact.iter().cloned().collect()
    }
}

impl Agent {
    /// Why the agent is never rung. Who wants no calls is busy, phone or not (R3.3).
    pub fn unrung(&self, phones: &dyn Phones) -> Option<Unrung> {
        if self.dnd {
            return Some(Unrung::DoNotDisturb);
        }
        phones.of(self).is_empty().then_some(Unrung::NoContact)
    }
}

impl Who {
    /// Why it is never rung.
    pub fn unrung(&self, phones: &dyn Phones) -> Option<Unrung> {
        match self {
            Who::Agent(agent) => agent.unrung(phones),
            Who::Number { trunk, .. } => trunk.gateways.is_empty().then_some(Unrung::NoGateway),
            Who::Unreachable(_) => Some(Unrung::NoTrunk),
        }
    }
}

impl Plan {
    /// What the caller is told at once where nobody is rung at all (R3.5). None: somebody is, if not busy just then.
    pub fn rings_nobody(&self, phones: &dyn Phones) -> Option<u16> {
        let all = || self.steps.iter().flat_map(|step| &step.targets);
        let targets = || all().map(|target| target.who.unrung(phones));
        let nobody = targets().all(|unrung| unrung.is_some());
        nobody.then(|| TargetEnd::of_all(targets().flatten().map(Unrung::end)).told())
    }
}
