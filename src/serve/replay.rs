//! Past calls through another configuration: for each record the plan that its call would have, found by the functions
//! that calls use, and the difference. Owns the report; reads no file. Works on one record at a time, so that records
//! of any number can be replayed.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::call::cdr::{Cdr, Direction, rfc3339};
use crate::call::replay::{About, Comparison, Difference, Routed, compare};
use crate::number::E164;
use crate::routing::{Agent, Plan, Table, Trunk};
use crate::time::Wall;

/// Of agents who show one number so many are looked at: a record names none of them.
const MOST_AGENTS: usize = 16;

/// Why a record cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unjudged {
    /// A loop, an offer without audio, a limit …
    RefusedForItself,
    /// The trunk that it came in by is not there, and the record has no address.
    UnknownSender,
    /// No agent, or more than one with different routes, has the number that it showed.
    UnknownAgent,
    /// It took the place of a call that was there (`Replaces`).
    JoinedAnother,
}

impl Unjudged {
    const ALL: [Unjudged; 4] = [
        Unjudged::RefusedForItself,
        Unjudged::UnknownSender,
        Unjudged::UnknownAgent,
        Unjudged::JoinedAnother,
    ];

    pub const fn why(self) -> &'static str {
        match self {
            Unjudged::RefusedForItself => {
                "refused for what they were themselves: a loop, a limit, an offer …"
            }
            Unjudged::UnknownSender => {
                "came in by a trunk that is not configured, from where the record does not say"
            }
            Unjudged::UnknownAgent => {
                "made by an agent whom the record does not name, and no other number tells"
            }
            Unjudged::JoinedAnother => "took the place of another call",
        }
    }
}

/// What replaying found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Replayed {
    /// Calls that would be routed otherwise, those of one number and the same differences together.
    pub items: Vec<ReplayedCalls>,
    /// How many would be, beside those in `items`.
    pub left_out: u64,
    /// Records that were read.
    pub calls: u64,
    /// Of these: would be routed otherwise.
    pub otherwise: u64,
    /// Of these: could not be judged.
    pub unjudged: u64,
    pub unjudged_because: Vec<UnjudgedCalls>,
    /// Lines that are no record.
    pub unreadable: u64,
    /// Who would be rung in calls in which they were not, if there and free: agents, and numbers behind trunks that have
    /// limits. A record does not tell whether they were.
    pub might_ring: Vec<MightRing>,
    /// Calls that would go where a name leads: whether to where they went is not known, as names are not looked up.
    pub by_name: u64,
}

/// The first of some calls alike.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayedCalls {
    /// The call's id.
    pub id: Box<str>,
    pub node: Arc<str>,
    pub dialled: Box<str>,
    pub caller: Option<Box<str>>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "rfc3339::Text")]
    pub started: Wall,
    pub differences: Vec<Difference>,
    /// How many calls to this number have these differences, this one included.
    pub calls: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct UnjudgedCalls {
    pub why: Unjudged,
    pub calls: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct MightRing {
    /// An agent's name, or a number.
    pub target: String,
    pub calls: u64,
}

/// Replays records through a table, and counts.
pub struct Replay<'t> {
    table: &'t Table,
    speaks: bool,
    most: usize,
    /// By the number that each has, and by what its calls show.
    by_number: HashMap<String, Vec<&'t Arc<Agent>>>,
    by_shown: HashMap<String, Vec<&'t Arc<Agent>>>,
    found: Replayed,
    /// Where those of one number with the same differences stand.
    alike: HashMap<(Box<str>, Vec<Difference>), usize>,
    /// By an agent's name, or the number.
    might_ring: HashMap<Arc<str>, u64>,
    unjudged: [u64; Unjudged::ALL.len()],
}

impl<'t> Replay<'t> {
    /// `speaks`: there is `[media]`. At most so many differences are kept for the report, the others counted.
    pub fn new(table: &'t Table, speaks: bool, most: usize) -> Replay<'t> {
        let (mut by_number, mut by_shown) = (HashMap::new(), HashMap::new());
        for agent in table.agents() {
            let enter = |map: &mut HashMap<String, Vec<&'t Arc<Agent>>>, name: String| {
                let known = map.entry(name).or_default();
                if known.len() < MOST_AGENTS {
                    known.push(agent);
                }
            };
            if let Some(number) = agent.number {
                enter(&mut by_number, number.to_string());
            }
            enter(&mut by_shown, shown_of(table, agent));
        }
        let found = Replayed {
            items: Vec::new(),
            left_out: 0,
            calls: 0,
            otherwise: 0,
            unjudged: 0,
            unjudged_because: Vec::new(),
            unreadable: 0,
            might_ring: Vec::new(),
            by_name: 0,
        };
        let (alike, might_ring) = (HashMap::new(), HashMap::new());
        let unjudged = [0; Unjudged::ALL.len()];
        Replay { table, speaks, most, by_number, by_shown, found, alike, might_ring, unjudged }
    }

    /// A line that is no record.
    pub fn cannot_read(&mut self) {
        self.found.unreadable += 1;
    }

    /// One record more.
    pub fn take(&mut self, cdr: &Cdr) {
        self.found.calls += 1;
        let compared = match self.judge(cdr) {
            Ok(compared) => compared,
            Err(why) => {
                self.found.unjudged += 1;
                self.unjudged[why as usize] += 1;
                return;
            }
        };
        self.found.by_name += u64::from(compared.by_name);
        for target in compared.might_ring {
            *self.might_ring.entry(target).or_default() += 1;
        }
        if compared.differences.is_empty() {
            return;
        }
        self.found.otherwise += 1;
        let key = (cdr.dialled.clone(), compared.differences);
        if let Some(known) = self.alike.get(&key) {
            self.found.items[*known].calls += 1;
        } else if self.found.items.len() < self.most {
            self.found.items.push(ReplayedCalls {
                id: cdr.id.clone(),
                node: Arc::clone(&cdr.node),
                dialled: cdr.dialled.clone(),
                caller: cdr.caller.clone(),
                started: cdr.started,
                differences: key.1.clone(),
                calls: 1,
            });
            self.alike.insert(key, self.found.items.len() - 1);
        } else {
            self.found.left_out += 1;
        }
    }

    pub fn finish(mut self) -> Replayed {
        self.found.might_ring = self
            .might_ring
            .iter()
            .map(|(target, calls)| MightRing { target: target.to_string(), calls: *calls })
            .collect();
        self.found.might_ring.sort_by(|one, other| one.target.cmp(&other.target));
        let because = Unjudged::ALL.into_iter().zip(self.unjudged);
        self.found.unjudged_because = because
            .filter(|(_, calls)| *calls > 0)
            .map(|(why, calls)| UnjudgedCalls { why, calls })
            .collect();
        self.found
    }

    /// How the call of a record would be routed otherwise.
    pub fn judge(&self, cdr: &Cdr) -> Result<Comparison, Unjudged> {
        match Routed::of(cdr) {
            Routed::Elsewise => return Err(Unjudged::RefusedForItself),
            Routed::Joined => return Err(Unjudged::JoinedAnother),
            Routed::Refused(_) | Routed::Planned | Routed::Lost => {}
        }
        match cdr.direction {
            Direction::Inbound => self.of_trunk(cdr),
            Direction::Outbound | Direction::Internal => self.of_agent(cdr),
        }
    }

    fn of_trunk(&self, cdr: &Cdr) -> Result<Comparison, Unjudged> {
        let was = cdr.trunk.as_deref().unwrap_or_default();
        let (trunk, moved) = match self.sender(cdr)? {
            Some(trunk) => (trunk, *trunk.name != *was),
            None => {
                let would = "be refused: no trunk's `from` holds its address";
                let differs = Difference::new(About::Sender, format!("came in by trunk {was}"), would);
                return Ok(Comparison { differences: vec![differs], ..Comparison::default() });
            }
        };
        let plan = match E164::parse_e164(&cdr.dialled) {
            // It was read as a number when it came; what stood there is not in the record.
            Ok(did) => self.table.plan_for(trunk, did, 0),
            Err(_) => self.table.plan(trunk, &cdr.dialled, 0),
        };
        let mut compared =
            compare(cdr, plan.as_ref().map_err(|why| *why), cdr.caller.as_deref(), self.speaks);
        if moved {
            let would = format!("come in by {}", trunk.name);
            compared
                .differences
                .insert(0, Difference::new(About::Sender, format!("came in by trunk {was}"), would));
        }
        Ok(compared)
    }

    /// The trunk by which it would come in: by its address, or by our registration at that trunk (R1c, R1d).
    fn sender(&self, cdr: &Cdr) -> Result<Option<&'t Arc<Trunk>>, Unjudged> {
        let named = cdr.trunk.as_deref().and_then(|name| self.table.trunk(name));
        let peer = cdr.legs.first().and_then(|leg| leg.peer);
        let by_address = peer.map(|peer| self.table.trunk_of(peer));
        match (named, by_address) {
            (Some(named), None) => Ok(Some(named)),
            (Some(named), Some(_)) if named.register => Ok(Some(named)),
            (_, Some(by_address)) => Ok(by_address),
            (None, None) => Err(Unjudged::UnknownSender),
        }
    }

    /// The record names no agent, so that every one whose call it may be is asked.
    fn of_agent(&self, cdr: &Cdr) -> Result<Comparison, Unjudged> {
        let by_number = cdr.did.as_ref().filter(|did| **did != cdr.dialled);
        let by_number = by_number.and_then(|did| self.by_number.get(&**did));
        let by_shown = || cdr.caller.as_ref().and_then(|caller| self.by_shown.get(&**caller));
        let agents = by_number.or_else(by_shown).ok_or(Unjudged::UnknownAgent)?;
        let of_account = |agent: &&&Arc<Agent>| !agent.account.is_empty() && agent.account == cdr.account;
        let compared = |agent: &&'t Arc<Agent>| {
            let plan = self.table.plan_of(agent, &cdr.dialled, 0);
            let help = |plan: &Plan| plan.urgency.is_emergency();
            let shown = match (&plan, agent.number) {
                // Whoever comes is to know the agent's own number (R13).
                (Ok(plan), Some(number)) if help(plan) => number.to_string(),
                (Ok(_) | Err(_), _) => shown_of(self.table, agent),
            };
            compare(cdr, plan.as_ref().map_err(|why| *why), Some(&shown), self.speaks)
        };
        let named = agents.iter().find(of_account).map(&compared);
        let mut all = agents.iter().map(&compared);
        match named.or_else(|| all.next()) {
            Some(one) if agents.iter().any(|agent| of_account(&agent)) || all.all(|other| other == one) => {
                Ok(one)
            }
            Some(_) | None => Err(Unjudged::UnknownAgent),
        }
    }
}

/// What an agent's calls show: a number, or its name.
fn shown_of(table: &Table, agent: &Agent) -> String {
    table.shown_of(agent).map_or_else(|| agent.name.to_string(), |number| number.to_string())
}
