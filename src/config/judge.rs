//! Whether numbers may be set, or removed, by themselves: by the same checks as in files, against all that is served.

use super::check::{Check, Ours, Unread};
use super::leads::Leads;
use super::number::{Dialled, Keys, Number, over_http};
use super::overlay::Overlay;
use super::place::{At, Finding, MAX_FINDINGS, Place, Report};
use super::{Config, Dids};
use crate::number::E164;

/// What is said of one.
#[derive(Debug, Default)]
pub struct Judged {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

/// A number as it is to be; none: it is to be none of ours.
pub type Change = (Dialled, Option<Number>);

/// Judges numbers as they are to be, and what leads to them. `overlay`: as it will be with them. `ours`: where the number, or
/// block, is written that a number will be ours by. `leads`: to which numbers others lead, to look no further where nobody
/// does; none: all are looked at.
pub fn judge(
    config: &Config,
    overlay: &Overlay,
    changes: &[Change],
    leads: Option<&Leads>,
    ours: Ours<'_>,
) -> Judged {
    let mut all = judge_itself(config, changes, ours);
    let mut dids = Dids::<u32, 5>::with_capacity(changes.len());
    for (place, (did, number)) in (0..).zip(changes) {
        match number {
            Some(_) if leads.is_some_and(|leads| !leads.may_be_forwarded_to(*did)) => {}
            Some(_) => drop(dids.insert(*did, place)),
            None if leads.is_some_and(|leads| !leads.may_be_shown(*did)) => {}
            None => all.take(removal(config, overlay, *did, ours)),
        }
    }
    let one_of_them = |forward| changes.get(*dids.find(forward)? as usize)?.1.as_ref();
    let leading = if dids.is_empty() { Vec::new() } else { leading(config, overlay, &one_of_them) };
    for (number, by, forward) in leading {
        // That it leads to itself was seen.
        if by == Some(number.did.value) {
            continue;
        }
        let report = Report::of(&config.files);
        comes_back(&report, number.did.place, by, forward);
        all.take(told(report, number.did.value));
    }
    all
}

/// Judges what numbers say that are to be so.
pub fn judge_itself(config: &Config, changes: &[Change], ours: Ours<'_>) -> Judged {
    let mut all = Judged::default();
    for (did, number) in changes.iter().filter_map(|(did, number)| Some((*did, number.as_ref()?))) {
        let (unread, report) = (Unread::default(), Report::of(&config.files));
        Check::new(config, &unread, &report, ours).number(&number.keys);
        all.take(told(report, did));
        if all.errors.len() >= MAX_FINDINGS {
            break;
        }
    }
    all
}

impl Judged {
    fn take(&mut self, more: Judged) {
        let room = |list: &Vec<Finding>| MAX_FINDINGS.saturating_sub(list.len());
        let (errors, warnings) = (room(&self.errors), room(&self.warnings));
        self.errors.extend(more.errors.into_iter().take(errors));
        self.warnings.extend(more.warnings.into_iter().take(warnings));
    }
}

/// What a number verified that is removed must be verified otherwise.
fn removal(config: &Config, overlay: &Overlay, did: Dialled, ours: Ours<'_>) -> Judged {
    let by_agents = config.agents.iter().filter_map(|agent| agent.number.as_ref());
    let by_agents = by_agents.map(|number| (None, "number", *number));
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let by_files = config.numbers.sets().chain(profiles).chain([&config.defaults]).map(|keys| (None, keys));
    let keys = by_files.chain(overlay.numbers().map(|(did, number)| (Some(did), &number.keys)));
    let shown = keys.filter_map(|(by, keys)| {
        let at = keys.caller_id.as_ref()?;
        Some((by, "caller_id", At { value: at.value?, place: at.place }))
    });
    let mut all = Judged::default();
    for (by, key, shown) in by_agents.chain(shown).filter(|(.., shown)| did.covers(shown.value)) {
        let (unread, report) = (Unread::default(), Report::of(&config.files));
        Check::new(config, &unread, &report, ours).verified(key, shown.place, shown.value);
        let at = by.map_or_else(|| report.at(shown.place), over_http);
        let (_, errors, _) = report.into_parts();
        let by_it = |Finding { message, remedy, .. }| Finding {
            file: over_http(did),
            line: 1,
            column: 1,
            message: format!("it is removed, and {message} ({at})"),
            remedy,
        };
        all.take(Judged { errors: errors.into_iter().map(by_it).collect(), warnings: Vec::new() });
    }
    all
}

/// `by`: what forwards, where that is set over HTTP.
fn comes_back(report: &Report, place: Place, by: Option<Dialled>, forward: At<E164>) {
    let at = by.map_or_else(|| report.at(forward.place), over_http);
    let what = format!("forward_to {} leads to it ({at}): the call would come back", forward.value);
    report.error(place, what, "have that one ring its agents, or forward to where this one does");
}

/// What forwards to one of some numbers, where it is set over HTTP as which, and to which. `is_one`: whether it is. A hundred at most.
fn leading<'n>(
    config: &Config,
    overlay: &Overlay,
    is_one: &dyn Fn(E164) -> Option<&'n Number>,
) -> Vec<(&'n Number, Option<Dialled>, At<E164>)> {
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let keys = config.numbers.sets().chain(profiles).chain([&config.defaults]);
    let keys = keys.flat_map(forwards).map(|forward| (None, forward));
    let set = overlay
        .numbers()
        .flat_map(|(did, number)| forwards(&number.keys).map(move |forward| (Some(did), forward)));
    let own = config.numbers.iter().filter_map(|number| {
        let forward = number.forward()?;
        // Most are looked at for nothing else.
        let leads = is_one(forward.value).is_some() && !overlay.holds(number.did().value);
        leads.then_some((None, forward))
    });
    keys.chain(set)
        .chain(own)
        .filter_map(|(by, forward)| Some((is_one(forward.value)?, by, forward)))
        .take(MAX_FINDINGS)
        .collect()
}

/// Where keys forward to, by their steps.
fn forwards(keys: &Keys) -> impl Iterator<Item = At<E164>> {
    let own = keys.forward_to.and_then(|at| Some(At { value: at.value?, place: at.place }));
    let steps = keys.overflow.iter().flat_map(|steps| &steps.value);
    own.into_iter().chain(steps.filter_map(|step| step.forward_to))
}

fn told(report: Report, did: Dialled) -> Judged {
    let (_, mut errors, mut warnings) = report.into_parts();
    let name = over_http(did);
    let unnamed = |finding: &&mut Finding| finding.file == super::place::OVER_HTTP;
    errors.iter_mut().chain(&mut warnings).filter(unnamed).for_each(|finding| finding.file.clone_from(&name));
    Judged { errors, warnings }
}
