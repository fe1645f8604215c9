//! A past call beside the plan that it would have today: what its record says of its route, and what would be
//! otherwise (R2, R3, R9, R13).
//!
//! A record tells whom a call rang, not whom it was to ring. So nothing is called a difference that the record cannot
//! know:
//! - An agent who was not rung may have had no phone there, or no line free: that it would ring is told apart, as
//!   [`Comparison::might_ring`]. An agent who was rung and would not be is a difference. A number is always there.
//! - Steps that the call never reached, since it was answered or given up before, are not compared; nor is who was
//!   held back for a head start that had not passed.
//! - A leg that another leg's 3xx led to, a transfer, and the further gateways and phones of one target are not of the
//!   plan's making; of several legs of one target the first counts.
//! - Of trunks of equal rank any may have been drawn; one that has limits may have been full, and another taken. Where
//!   the other was taken because all gateways of the first were down, that is told as a difference.
//! - Of a trunk's gateways any may have been taken, and a phone that registers is anywhere. Where a name leads is not
//!   looked up: that is told apart, as [`Comparison::by_name`].
//! - How long a step rings is seen where it rang to its end, or for longer than it would today, and no 3xx was followed.
//! - Voicemail is seen where nobody answered. A caller whose offer held no codec of ours gets none whatever is
//!   configured, and is told as a difference all the same; so are a message or a recording that failed, and a call back
//!   to whoever called for help (R13).
//! - Of where a leg went its address is known, not the user part of the URI that it was called by, nor the transport.
//! - Whispers, prompts, and which headers a leg bore are in no record.

mod reached;

use std::sync::Arc;
use std::time::Duration;

use reached::Reached;
use schemars::JsonSchema;
use serde::Serialize;

use super::cdr::{Cdr, CdrLeg, LegEnd, Outcome, Role};
use super::outcome;
use crate::routing::{Called, NoPlan, Plan, Shows, Step, Target, Text, Trunk, Who};
use crate::time::Wall;

/// Moments that lie no farther apart count as one: records are cut to milliseconds, and a busy node is late.
const TOLERANCE_MS: u64 = 1_000;

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The trunk that it came in by.
    Sender,
    /// Whether it is taken at all.
    Refusal,
    /// Who rings.
    Rings,
    /// How long, and after what head start.
    Time,
    /// By which trunk a number is called.
    Trunk,
    /// At which address of a gateway, or of a phone that does not register.
    Address,
    /// Whose number is shown.
    Shown,
    /// Whether a forwarded leg has to press 1.
    Confirmation,
    Voicemail,
    Recording,
    Account,
}

/// One way in which a call would be routed otherwise: `rang alice and bob`, and `ring alice and carol for 20 s`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Difference {
    pub about: About,
    /// What happened.
    pub was: String,
    /// What would happen; to be read behind "would".
    pub would: String,
}

impl Difference {
    pub fn new(about: About, was: impl Into<String>, would: impl Into<String>) -> Difference {
        Difference { about, was: was.into(), would: would.into() }
    }
}

/// What became of one call's route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    /// Agents who would be rung if a phone and a line of theirs were free, and who were not rung then.
    pub might_ring: Vec<Text>,
    /// A leg would go where a name leads: whether that is where it went is not known.
    pub by_name: bool,
}

/// How far a record tells of its call's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// It had none: what was dialled was answered so.
    Refused(u16),
    /// It had a plan; whom it rang is in its legs.
    Planned,
    /// It had a plan, and whom it rang is lost with the node.
    Lost,
    /// It joined a call that was there (RFC 3891).
    Joined,
    /// It was refused for what it was itself, or for a limit.
    Elsewise,
}

impl Routed {
    pub fn of(cdr: &Cdr) -> Routed {
        let mut called = called(cdr).peekable();
        if called.peek().is_some() {
            let joined = called.all(|leg| leg.role == Role::Transfer);
            return if joined { Routed::Joined } else { Routed::Planned };
        }
        match (cdr.outcome, cdr.sip_code) {
            (Outcome::Lost, _) => Routed::Lost,
            // A plan's own verdict is never one of these (R8).
            (Outcome::Failed | Outcome::Blocked, code @ (403 | 404)) => Routed::Refused(code),
            (Outcome::Failed | Outcome::Blocked, _) => Routed::Elsewise,
            (
                Outcome::Answered
                | Outcome::Voicemail
                | Outcome::NoAnswer
                | Outcome::Busy
                | Outcome::Declined
                | Outcome::Cancelled
                | Outcome::Unreachable
                | Outcome::NotConfirmed,
                _,
            ) => Routed::Planned,
        }
    }
}

/// The status that whoever dialled is told (R2, R9, R13).
pub const fn told(why: NoPlan) -> u16 {
    match why {
        NoPlan::NotANumber | NoPlan::UnknownNumber(_) | NoPlan::Disabled(_) => 404,
        NoPlan::Forbidden(_) | NoPlan::NothingToShow => 403,
    }
}

/// Compares a call with the plan that it would have, or with why it would have none. `caller`: the number that it would
/// be shown as where the caller is shown. `speaks`: there is `[media]`, without which nothing is said, asked or recorded.
pub fn compare(cdr: &Cdr, plan: Result<&Plan, NoPlan>, caller: Option<&str>, speaks: bool) -> Comparison {
    let refused = |code: u16| format!("be answered {code}");
    let only = |was: String, would: String| Comparison {
        differences: vec![Difference::new(About::Refusal, was, would)],
        ..Comparison::default()
    };
    match (Routed::of(cdr), plan) {
        (Routed::Refused(then), Err(now)) if then == told(now) => Comparison::default(),
        (Routed::Refused(then), Err(now)) => only(format!("was answered {then}"), refused(told(now))),
        (Routed::Refused(then), Ok(plan)) => only(format!("was answered {then}"), would_do(plan, speaks)),
        (Routed::Planned | Routed::Lost, Err(now)) => only(did(cdr), refused(told(now))),
        (Routed::Lost, Ok(plan)) => {
            Comparison { differences: account(cdr, plan).into_iter().collect(), ..Comparison::default() }
        }
        (Routed::Planned, Ok(plan)) => Walk::of(cdr, plan).compared(caller, speaks),
        (Routed::Joined | Routed::Elsewise, _) => Comparison::default(),
    }
}

/// The legs that the call rang, in order.
fn called(cdr: &Cdr) -> impl Iterator<Item = &CdrLeg> {
    cdr.legs.iter().filter(|leg| leg.role != Role::Caller)
}

/// A leg that one of the plan's targets was rung by first.
struct Rung<'c> {
    step: usize,
    place: usize,
    leg: &'c CdrLeg,
}

/// A record's legs laid beside a plan's steps.
struct Walk<'c> {
    cdr: &'c Cdr,
    /// The called ones, as they began.
    legs: Vec<&'c CdrLeg>,
    plan: &'c Plan,
    rung: Vec<Rung<'c>>,
    /// Somebody was rung whom the plan does not ring there.
    strays: bool,
    /// The last step that was reached.
    reached: Option<usize>,
}

impl<'c> Walk<'c> {
    fn of(cdr: &'c Cdr, plan: &'c Plan) -> Walk<'c> {
        let legs = in_order(cdr);
        let mut walk = Walk { cdr, legs, plan, rung: Vec::new(), strays: false, reached: None };
        for at in 0..walk.legs.len() {
            walk.take(at);
        }
        // Where all ended by itself, whatever the plan has further is reached.
        if walk.ran_out() {
            walk.reached = plan.steps.len().checked_sub(1);
        }
        walk
    }

    /// The leg at that place.
    fn take(&mut self, at: usize) {
        let (seen, leg) = (&self.legs[..at], self.legs[at]);
        let now = self.reached.unwrap_or(0);
        let before = seen.iter().rev().find(|earlier| is_same(earlier, leg));
        let again =
            before.is_some() && self.rung.iter().any(|rung| rung.step == now && is_same(rung.leg, leg));
        let all_ended = seen.iter().all(|earlier| earlier.ended <= leg.started);
        let later =
            || (now..self.plan.steps.len()).skip(1).find_map(|step| Some((step, self.place(step, leg)?)));
        // The next gateway, flow or shown number of the same target, or another phone of the agent: each once in a step.
        let began = self.began(now);
        let in_step = seen.iter().filter(|earlier| began.is_some_and(|began| earlier.started >= began));
        let tried = in_step.filter(|earlier| is_same(earlier, leg)).any(|earlier| is_alike(earlier, leg));
        let goes_on = before.is_some_and(|earlier| !all_ended || (leads_on(earlier) && !tried));
        let found = match self.place(now, leg) {
            Some(place) if !again => {
                // Who was away when its step began may ring in a later one.
                let is_held = !self.plan.steps[now].targets[place].delay.is_zero();
                let is_over = self.legs[..at].iter().any(|earlier| earlier.end == LegEnd::Timeout);
                let comes_late = began.is_some() && all_ended && (is_over || !is_held);
                later().filter(|_| comes_late).or(Some((now, place)))
            }
            Some(_) | None if again && goes_on => return,
            Some(_) | None if all_ended => later(),
            Some(_) | None => None,
        };
        let led = seen.iter().any(|earlier| is_redirect(earlier) && earlier.ended <= leg.started);
        match found {
            Some((step, place)) => {
                self.reached = Some(step);
                self.rung.push(Rung { step, place, leg });
            }
            None if led || goes_on => {}
            None => self.strays = true,
        }
    }

    /// The place of a leg's target in a step.
    fn place(&self, step: usize, leg: &CdrLeg) -> Option<usize> {
        self.plan.steps.get(step)?.targets.iter().position(|target| is_target(target, leg))
    }

    /// All who were rung ended without an answer, and nobody gave up: every step had its turn.
    fn ran_out(&self) -> bool {
        matches!(
            self.cdr.outcome,
            Outcome::NoAnswer
                | Outcome::Busy
                | Outcome::Declined
                | Outcome::Unreachable
                | Outcome::NotConfirmed
                | Outcome::Blocked
                | Outcome::Voicemail
        )
    }

    fn of_step(&self, step: usize) -> impl Iterator<Item = &Rung<'c>> {
        self.rung.iter().filter(move |rung| rung.step == step)
    }

    /// When a step's first leg was called.
    fn began(&self, step: usize) -> Option<Wall> {
        self.of_step(step).map(|rung| rung.leg.started).min()
    }

    /// When nobody of a step was waited for any more.
    fn over(&self, step: usize) -> Option<Wall> {
        let is_last = self.rung.iter().all(|rung| rung.step <= step);
        match is_last && !self.ran_out() {
            true => Some(self.cdr.answered.unwrap_or(self.cdr.ended)),
            false => self.of_step(step).map(|rung| rung.leg.ended).max(),
        }
    }

    /// When who is held back so long would have been called: the head start ends with those whom it favours.
    fn due(&self, step: usize, delay: Duration) -> Option<Wall> {
        let began = self.began(step)?;
        let targets = &self.plan.steps.get(step)?.targets;
        let late = Wall(began.0.saturating_add(millis(delay)));
        // What a favoured one's 3xx or failure led to rings in its place.
        let is_held = |rung: &Rung<'_>| rung.step != step || !targets[rung.place].delay.is_zero();
        let held = |leg: &CdrLeg| self.rung.iter().any(|rung| std::ptr::eq(rung.leg, leg) && is_held(rung));
        let favoured =
            self.legs.iter().filter(|leg| leg.started >= began && leg.started < late && !held(leg));
        let has_any = self.of_step(step).any(|rung| !is_held(rung));
        let alone_until = favoured.map(|leg| leg.ended).max().filter(|_| has_any).unwrap_or(began);
        Some(alone_until.min(late))
    }

    fn compared(&self, caller: Option<&str>, speaks: bool) -> Comparison {
        let mut found = Comparison::default();
        let mut missed = false;
        for target in self.not_rung() {
            match &target.who {
                Who::Agent(agent) if agent.dnd => {}
                Who::Agent(agent) if found.might_ring.contains(&agent.name) => {}
                Who::Agent(agent) => found.might_ring.push(Arc::clone(&agent.name)),
                Who::Number { number, trunk } if self.may_have_found_no_room(number, trunk) => {
                    found.might_ring.push(number.to_string().into());
                }
                Who::Number { .. } => missed = true,
                Who::Unreachable(_) => {}
            }
        }
        let would_not = self.rung.iter().any(|rung| self.is_never_rung(rung));
        if self.strays || missed || would_not {
            found.differences.push(Difference::new(About::Rings, did(self.cdr), would_ring(self.plan)));
        } else {
            found.differences.extend((0..self.plan.steps.len()).filter_map(|step| self.time(step)));
        }
        for rung in &self.rung {
            found.differences.extend(self.trunk(rung));
            match self.reached(rung) {
                Reached::There => {}
                Reached::Elsewhere(difference) => found.differences.push(difference),
                Reached::ByName => found.by_name = true,
            }
            found.differences.extend(self.shown(rung, caller));
        }
        found.differences.extend(self.confirmation(speaks));
        found.differences.extend(self.voicemail(speaks));
        found.differences.extend(self.recording(speaks));
        found.differences.extend(account(self.cdr, self.plan));
        found
    }

    fn target(&self, rung: &Rung<'_>) -> Option<&'c Target> {
        self.plan.steps.get(rung.step)?.targets.get(rung.place)
    }

    /// The plan names it and yet would not ring it.
    fn is_never_rung(&self, rung: &Rung<'_>) -> bool {
        self.target(rung).is_some_and(|target| match &target.who {
            Who::Agent(agent) => agent.dnd,
            Who::Number { .. } => false,
            Who::Unreachable(_) => true,
        })
    }

    /// The targets of the steps that were reached whose turn had come, and who were not rung.
    fn not_rung(&self) -> impl Iterator<Item = &'c Target> {
        let reached = self.reached.map_or(0, |step| step + 1);
        let steps = self.plan.steps.iter().enumerate().take(reached);
        let all = steps.flat_map(|(at, step)| {
            step.targets.iter().enumerate().map(move |(place, target)| (at, place, target))
        });
        let missed = all.filter(|(step, place, target)| {
            let rang = self.of_step(*step).any(|rung| rung.place == *place);
            let had_its_turn = match (self.due(*step, target.delay), self.over(*step)) {
                (Some(due), Some(over)) => target.delay.is_zero() || due < over,
                (None, _) | (_, None) => true,
            };
            !rang && had_its_turn
        });
        missed.map(|(_, _, target)| target)
    }

    /// The call had no more legs to have, or each trunk that serves the number has limits, and may have been full.
    fn may_have_found_no_room(&self, called: &Called, first: &Arc<Trunk>) -> bool {
        let mut tried: Vec<Arc<Trunk>> = vec![Arc::clone(first)];
        while tried.last().is_some_and(is_limited) {
            let known: Vec<&Trunk> = tried.iter().map(|trunk| &**trunk).collect();
            let Some(next) = self.plan.next_way(called, &known) else { return true };
            tried.push(next);
        }
        self.legs.len() >= usize::from(self.plan.limits.max_legs) || self.cdr.outcome == Outcome::Blocked
    }

    /// How long the step rang, or after what head start.
    fn time(&self, step: usize) -> Option<Difference> {
        // Whom a 3xx led to, and who was rung by the plan, cannot be told apart.
        if self.legs.iter().any(|leg| is_redirect(leg)) {
            return None;
        }
        let timeout = millis(self.plan.steps.get(step)?.timeout);
        let began = self.began(step)?;
        let since = |at: Wall| at.0.saturating_sub(began.0);
        let to_its_end = self.of_step(step).find(|rung| rung.leg.end == LegEnd::Timeout);
        let longest =
            self.of_step(step).map(|rung| since(rung.leg.answered.unwrap_or(rung.leg.ended))).max()?;
        let rang = match to_its_end {
            Some(rung) => Some(since(rung.leg.ended)).filter(|rang| rang.abs_diff(timeout) > TOLERANCE_MS),
            None => Some(longest).filter(|rang| *rang > timeout + TOLERANCE_MS),
        };
        if let Some(rang) = rang {
            let names = listed(self.of_step(step).map(|rung| name(rung.leg)));
            let (was, would) = (format!("rang {names} for {}", seconds(rang)), seconds(timeout));
            return Some(Difference::new(About::Time, was, format!("ring for {would}")));
        }
        let late = self.of_step(step).find_map(|rung| {
            let due = since(self.due(step, self.target(rung)?.delay)?);
            let was = since(rung.leg.started);
            (was.abs_diff(due) > TOLERANCE_MS).then_some((rung, was, due))
        });
        let (rung, was, due) = late?;
        let after = |ms: u64| if ms == 0 { "at once".to_owned() } else { format!("after {}", seconds(ms)) };
        let name = name(rung.leg);
        Some(Difference::new(
            About::Time,
            format!("rang {name} {}", after(was)),
            format!("ring {name} {}", after(due)),
        ))
    }

    /// The trunk that the plan would call it by, or may have drawn.
    fn way(&self, rung: &Rung<'_>) -> Option<(&'c Called, &'c Arc<Trunk>)> {
        let (called, trunk) = match &self.target(rung)?.who {
            Who::Number { number, trunk } => (number, trunk),
            Who::Agent(_) | Who::Unreachable(_) => return None,
        };
        let drawn = rung.leg.trunk.as_ref().and_then(|name| self.plan.may_begin_by(called, name));
        Some((called, drawn.unwrap_or(trunk)))
    }

    fn trunk(&self, rung: &Rung<'_>) -> Option<Difference> {
        let (called, would) = self.way(rung)?;
        let was = rung.leg.trunk.as_ref().filter(|was| **was != would.name)?;
        if is_limited(would) && self.plan.next_way(called, &[would]).is_some() {
            return None;
        }
        Some(Difference::new(
            About::Trunk,
            format!(
                "{} {called} through trunk {was}",
                if self.plan.diverts { "forwarded to" } else { "called" }
            ),
            format!("go through trunk {}", would.name),
        ))
    }

    /// Where the first leg of a target went, if it would go by the same trunk, or to the same agent.
    fn reached(&self, rung: &Rung<'_>) -> Reached {
        match self.target(rung).map(|target| &target.who) {
            Some(Who::Agent(agent)) if !agent.dnd => Reached::at(agent, rung.leg),
            Some(Who::Number { .. }) => match self.way(rung) {
                Some((_, trunk)) if rung.leg.trunk.as_ref() == Some(&trunk.name) => {
                    Reached::through(trunk, rung.leg)
                }
                Some(_) | None => Reached::There,
            },
            Some(Who::Agent(_) | Who::Unreachable(_)) | None => Reached::There,
        }
    }

    /// Whose number the first leg of a target showed (R9).
    fn shown(&self, rung: &Rung<'_>, caller: Option<&str>) -> Option<Difference> {
        let number = self.plan.did.map(|did| did.to_string());
        let of_caller = caller.filter(|_| !self.cdr.withheld);
        let would = match self.way(rung).map(|(_, trunk)| self.plan.shows_on(trunk)) {
            Some(Shows::Did) => number.as_deref(),
            Some(Shows::Caller | Shows::CallerThenDid) | None => of_caller,
        };
        let was = rung.leg.presented.as_deref();
        if was == would {
            return None;
        }
        let said = |shown: Option<&str>| match shown {
            None => "no number".to_owned(),
            Some(shown) if self.cdr.did.as_deref() == Some(shown) => shown.to_owned(),
            // The same words for every caller, so that calls can be counted together.
            Some(shown) if self.cdr.caller.as_deref() == Some(shown) => "the caller's number".to_owned(),
            Some(shown) => shown.to_owned(),
        };
        let to = name(rung.leg);
        Some(Difference::new(
            About::Shown,
            format!("showed {to} {}", said(was)),
            format!("show {}", said(would)),
        ))
    }

    /// R6: whether whoever answered a forwarded call had to press 1.
    fn confirmation(&self, speaks: bool) -> Option<Difference> {
        let winner = self.cdr.winner?;
        let leg = called(self.cdr).find(|leg| leg.id == winner && leg.role == Role::Forward)?;
        match (leg.confirmed.is_some(), speaks && self.plan.call_connect.is_some()) {
            (true, false) => Some(("had to press 1", "not have to")),
            (false, true) => Some(("was not asked to press 1", "be")),
            (true, true) | (false, false) => None,
        }
        .map(|(was, would)| Difference::new(About::Confirmation, format!("{} {was}", name(leg)), would))
    }

    /// R10: whether nobody's answer led to voicemail.
    fn voicemail(&self, speaks: bool) -> Option<Difference> {
        if !self.ran_out() || self.cdr.outcome == Outcome::Blocked {
            return None;
        }
        match (took_message(self.cdr), speaks && self.plan.voicemail.is_some()) {
            (true, false) => Some(("went to voicemail".to_owned(), "not".to_owned())),
            (false, true) => {
                Some((format!("was answered {}", self.cdr.sip_code), "go to voicemail".to_owned()))
            }
            (true, true) | (false, false) => None,
        }
        .map(|(was, would)| Difference::new(About::Voicemail, was, would))
    }

    fn recording(&self, speaks: bool) -> Option<Difference> {
        self.cdr.winner?;
        match (self.cdr.recording.is_some(), speaks && self.plan.record) {
            (true, false) => Some(("was recorded", "not be")),
            (false, true) => Some(("was not recorded", "be")),
            (true, true) | (false, false) => None,
        }
        .map(|(was, would)| Difference::new(About::Recording, was, would))
    }
}

fn is_limited(trunk: &Arc<Trunk>) -> bool {
    trunk.max_calls > 0 || trunk.max_cps > 0
}

fn account(cdr: &Cdr, plan: &Plan) -> Option<Difference> {
    let said = |account: &str| match account {
        "" => "no account".to_owned(),
        account => format!("account {account}"),
    };
    (*cdr.account != *plan.account).then(|| {
        Difference::new(
            About::Account,
            format!("was on {}", said(&cdr.account)),
            format!("be on {}", said(&plan.account)),
        )
    })
}

/// The called legs as they began.
fn in_order(cdr: &Cdr) -> Vec<&CdrLeg> {
    let mut legs: Vec<&CdrLeg> = called(cdr).filter(|leg| leg.role != Role::Transfer).collect();
    legs.sort_by_key(|leg| (leg.started, leg.id));
    legs
}

fn is_same(one: &CdrLeg, other: &CdrLeg) -> bool {
    one.role == other.role && one.target == other.target
}

/// To the same place, with the same number shown.
fn is_alike(one: &CdrLeg, other: &CdrLeg) -> bool {
    one.peer.is_some()
        && one.peer == other.peer
        && one.trunk == other.trunk
        && one.presented == other.presented
}

fn is_redirect(leg: &CdrLeg) -> bool {
    leg.sip_code.is_some_and(|code| code / 100 == 3)
}

/// Its end has the same target called once more: a next gateway, trunk or flow, a redirect, or another number shown.
/// Whatever a leg says that was given up for its silence comes too late to matter.
fn leads_on(leg: &CdrLeg) -> bool {
    let refuses_the_number = |code| outcome::refuses_the_shown_number(code) && leg.role == Role::Forward;
    match (leg.end, leg.sip_code) {
        (LegEnd::Unreachable, _) => true,
        (LegEnd::Timeout, _) => false,
        (_, Some(code)) => code == 430 || is_redirect(leg) || refuses_the_number(code),
        (_, None) => true,
    }
}

fn is_target(target: &Target, leg: &CdrLeg) -> bool {
    let Some(name) = leg.target.as_deref() else { return false };
    match &target.who {
        Who::Agent(agent) => leg.role == Role::Agent && *agent.name == *name,
        Who::Number { number, .. } | Who::Unreachable(number) => {
            leg.role == Role::Forward && number.to_string() == name
        }
    }
}

/// Voicemail answered, whether a message was left or not (R10).
fn took_message(cdr: &Cdr) -> bool {
    cdr.answered.is_some() && matches!(cdr.outcome, Outcome::Voicemail | Outcome::NoAnswer)
}

/// `rang alice and bob, then +1…`
fn did(cdr: &Cdr) -> String {
    let mut rounds: Vec<Vec<String>> = Vec::new();
    let mut seen: Vec<&CdrLeg> = Vec::new();
    for leg in in_order(cdr) {
        let name = name(leg);
        let begins = seen.iter().all(|earlier| earlier.ended <= leg.started);
        let before = seen.iter().rev().find(|earlier| is_same(earlier, leg));
        let is_new = before.is_none_or(|earlier| begins && !leads_on(earlier));
        match rounds.last_mut() {
            Some(round) if is_new && !begins => round.push(name),
            Some(_) if !is_new => {}
            Some(_) | None => rounds.push(vec![name]),
        }
        seen.push(leg);
    }
    match (rounds.is_empty(), cdr.outcome) {
        (false, _) => {
            let rounds: Vec<String> = rounds.into_iter().map(|round| listed(round.into_iter())).collect();
            format!("rang {}", rounds.join(", then "))
        }
        (true, Outcome::Lost) => "was answered".to_owned(),
        (true, _) if took_message(cdr) => "rang nobody and went to voicemail".to_owned(),
        (true, Outcome::Cancelled) => "was given up".to_owned(),
        (true, _) => format!("rang nobody and was answered {}", cdr.sip_code),
    }
}

/// What the plan does, to be read behind "would".
fn would_do(plan: &Plan, speaks: bool) -> String {
    let rings = would_ring(plan);
    let nobody = !plan.steps.iter().flat_map(|step| &step.targets).any(may_ring);
    if nobody && speaks && plan.voicemail.is_some() { "go to voicemail".to_owned() } else { rings }
}

/// `ring alice, after 5 s bob too, for 20 s, then +1… for 15 s`
fn would_ring(plan: &Plan) -> String {
    let of_step = |step: &Step| {
        let (held, first): (Vec<&Target>, Vec<&Target>) =
            step.targets.iter().filter(|target| may_ring(target)).partition(|target| !target.delay.is_zero());
        let names = |targets: &[&Target]| listed(targets.iter().map(|target| who(target)));
        let timeout = seconds(millis(step.timeout));
        match (first.is_empty(), held.first()) {
            (true, None) => None,
            (true, Some(_)) => Some(format!("{} for {timeout}", names(&held))),
            (false, None) => Some(format!("{} for {timeout}", names(&first))),
            (false, Some(late)) => {
                let after = seconds(millis(late.delay));
                Some(format!("{}, after {after} {} too, for {timeout}", names(&first), names(&held)))
            }
        }
    };
    let steps: Vec<String> = plan.steps.iter().filter_map(of_step).collect();
    let mut never = plan.steps.iter().flat_map(|step| &step.targets).filter(|target| !may_ring(target));
    let never = listed(never.by_ref().map(|target| match &target.who {
        Who::Agent(agent) => format!("{} (do not disturb)", agent.name),
        Who::Number { number, .. } => number.to_string(),
        Who::Unreachable(number) => format!("{number} (no trunk serves it)"),
    }));
    let rings =
        if steps.is_empty() { "ring nobody".to_owned() } else { format!("ring {}", steps.join(", then ")) };
    if never.is_empty() { rings } else { format!("{rings}, and not {never}") }
}

/// Whether it is rung if a phone of it is there and free.
fn may_ring(target: &Target) -> bool {
    match &target.who {
        Who::Agent(agent) => !agent.dnd,
        Who::Number { .. } => true,
        Who::Unreachable(_) => false,
    }
}

fn who(target: &Target) -> String {
    match &target.who {
        Who::Agent(agent) => agent.name.to_string(),
        Who::Number { number, .. } | Who::Unreachable(number) => number.to_string(),
    }
}

fn name(leg: &CdrLeg) -> String {
    leg.target.as_deref().unwrap_or("somebody").to_owned()
}

/// To the second: `20 s`.
fn seconds(ms: u64) -> String {
    format!("{} s", ms.saturating_add(500) / 1_000)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `a, b and c`
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
