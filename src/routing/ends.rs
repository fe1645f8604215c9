//! How the targets of a plan end, what of it is known before it rings, and what the caller is told (R3, R8).

use super::{Agent, Plan, Who};

/// How one target ended: one who was not rung at all counts as well (R3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetEnd {
    Busy,
    Declined,
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
    /// The final response to the caller when all targets ended so, without an answer (R8).
    pub fn told(ends: impl Iterator<Item = TargetEnd>) -> u16 {
        let (mut all, mut busy, mut declined) = (0usize, 0usize, 0usize);
        for end in ends {
            all += 1;
            match end {
                TargetEnd::Busy => busy += 1,
                TargetEnd::Declined => declined += 1,
                TargetEnd::Other => {}
            }
        }
        match all {
            0 => 480,
            all if busy == all => 486,
            all if declined == all => 603,
            _ => 480,
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

impl Agent {
    /// Why the agent is never rung. Who wants no calls is busy, phone or not (R3.3).
    pub fn unrung(&self) -> Option<Unrung> {
        match &self.contact {
            _ if self.dnd => Some(Unrung::DoNotDisturb),
            None => Some(Unrung::NoContact),
            Some(_) => None,
        }
    }
}

impl Who {
    /// Why it is never rung.
    pub fn unrung(&self) -> Option<Unrung> {
        match self {
            Who::Agent(agent) => agent.unrung(),
            Who::Number { trunk, .. } => trunk.gateways.is_empty().then_some(Unrung::NoGateway),
            Who::Unreachable(_) => Some(Unrung::NoTrunk),
        }
    }
}

impl Plan {
    /// What the caller is told at once where nobody is rung at all (R3.5). None: somebody is, if not busy just then.
    pub fn rings_nobody(&self) -> Option<u16> {
        let targets = || self.steps.iter().flat_map(|step| &step.targets).map(|target| target.who.unrung());
        let nobody = targets().all(|unrung| unrung.is_some());
        nobody.then(|| TargetEnd::told(targets().flatten().map(Unrung::end)))
    }
}
