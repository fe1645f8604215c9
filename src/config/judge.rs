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
    judge_up_to(MAX_FINDINGS, config, overlay, changes, leads, ours)
}

/// The same for who wants to know all that has a mistake, at once: `most` mistakes are told.
pub fn judge_up_to(
    most: usize,
    config: &Config,
    overlay: &Overlay,
    changes: &[Change],
    leads: Option<&Leads>,
    ours: Ours<'_>,
) -> Judged {
    let mut all = each(most, config, changes, ours);
    let mut dids = Dids::<u32, 5>::with_capacity(changes.len());
    let mut removed = Dids::<u32, 5>::with_capacity(changes.len());
    for (place, (did, number)) in (0..).zip(changes) {
        match number {
            Some(_) if leads.is_some_and(|leads| !leads.may_be_forwarded_to(*did)) => {}
            Some(_) => drop(dids.insert(*did, place)),
            None if leads.is_some_and(|leads| !leads.may_be_shown(*did)) => {}
            None => drop(removed.insert(*did, place)),
        }
    }
    if !removed.is_empty() {
        let one_of_them = |shown| Some(changes.get(*removed.find(shown)? as usize)?.0);
        removals(config, overlay, &one_of_them, ours, (&mut all, most));
    }
    let one_of_them = |forward| changes.get(*dids.find(forward)? as usize)?.1.as_ref();
    let leading = if dids.is_empty() { Vec::new() } else { leading(config, overlay, &one_of_them, most) };
    for (number, by, forward) in leading {
        // That it leads to itself was seen.
        if by == Some(number.did.value) {
            continue;
        }
        let report = Report::of(&config.files);
        comes_back(&report, number.did.place, by, forward);
        all.take(told(report, number.did.value), most);
    }
    all
}

/// Judges what numbers say that are to be so.
pub fn judge_itself(config: &Config, changes: &[Change], ours: Ours<'_>) -> Judged {
    each(MAX_FINDINGS, config, changes, ours)
}

fn each(most: usize, config: &Config, changes: &[Change], ours: Ours<'_>) -> Judged {
    let mut all = Judged::default();
    for (did, number) in changes.iter().filter_map(|(did, number)| Some((*did, number.as_ref()?))) {
        let (unread, report) = (Unread::default(), Report::of(&config.files));
        Check::new(config, &unread, &report, ours).number(&number.keys);
        all.take(told(report, did), most);
        if all.errors.len() >= most {
            break;
        }
    }
    all
}

impl Judged {
    /// So many mistakes at most; of warnings as many as are ever told.
    fn take(&mut self, more: Judged, most: usize) {
        let errors = most.saturating_sub(self.errors.len());
        let warnings = MAX_FINDINGS.saturating_sub(self.warnings.len());
        self.errors.extend(more.errors.into_iter().take(errors));
        self.warnings.extend(more.warnings.into_iter().take(warnings));
    }
}

/// What a number verified that is removed must be verified otherwise. `removed`: which one made a number ours, if one did.
fn removals(
    config: &Config,
    overlay: &Overlay,
    removed: &dyn Fn(E164) -> Option<Dialled>,
    ours: Ours<'_>,
    (all, most): (&mut Judged, usize),
) {
    let by_agents = config.agents.iter().filter_map(|agent| agent.number.as_ref());
    let by_agents = by_agents.map(|number| (None, "number", *number));
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let by_files = config.numbers.sets().chain(profiles).chain([&config.defaults]).map(|keys| (None, keys));
    let keys = by_files.chain(overlay.numbers().map(|(did, number)| (Some(did), &number.keys)));
    let shown = keys.filter_map(|(by, keys)| {
        let at = keys.caller_id.as_ref()?;
        Some((by, "caller_id", At { value: at.value?, place: at.place }))
    });
    for (by, key, shown) in by_agents.chain(shown) {
        let Some(did) = removed(shown.value).filter(|_| all.errors.len() < most) else { continue };
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
        all.take(Judged { errors: errors.into_iter().map(by_it).collect(), warnings: Vec::new() }, most);
    }
}

/// `by`: what forwards, where that is set over HTTP.
fn comes_back(report: &Report, place: Place, by: Option<Dialled>, forward: At<E164>) {
    let at = by.map_or_else(|| report.at(forward.place), over_http);
    let what = format!("forward_to {} leads to it ({at}): the call would come back", forward.value);
    report.error(place, what, "have that one ring its agents, or forward to where this one does");
}

/// What forwards to one of some numbers, where it is set over HTTP as which, and to which. `is_one`: whether it is. So many at most.
fn leading<'n>(
    config: &Config,
    overlay: &Overlay,
    is_one: &dyn Fn(E164) -> Option<&'n Number>,
    most: usize,
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
        .take(most)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Entry, Set, parse, read_body};
    use super::*;
    use crate::time::Wall;

    /// As many as a node may have: each looks for what shows it among all others, and all together no longer than one.
    #[test]
    fn of_many_numbers_that_are_removed_those_are_told_that_somebody_shows() {
        const MANY: u32 = 30_000;
        let config = parse("[[agent]]\nname = \"alice\"\nnumber = \"+12015550000\"\n", &|_| None);
        let config = config.expect_err("its number is verified by nothing");
        assert!(config[0].message.contains("+12015550000"), "{config:?}");
        let text = "[[agent]]\nname = \"alice\"\nnumber = \"+12015550000\"\n\
            [[number]]\ndid = \"+1201555*\"\nring = [\"alice\"]\n[[number]]\ndid = \"+12015550000\"\nring = [\"alice\"]\n";
        let config = parse(text, &|_| None).unwrap().config;
        let (mut overlay, mut removed) = (Overlay::default(), Vec::new());
        let mut put = |did: Dialled, set| {
            let entry = Entry { set, at: Wall(0), by: "".into(), generation: 1 };
            overlay.put(did, Some(Arc::new(entry)));
        };
        for last in 0..MANY {
            // Each shows one that is removed, ten of them the same.
            let body = format!("{{\"ring\": [\"alice\"], \"caller_id\": \"+1303555{:04}\"}}", last % 3_000);
            let did: Dialled = format!("+1202{last:07}").parse().unwrap();
            let (number, errors) = read_body("", &body, did, std::path::Path::new(""));
            assert!(errors.is_empty());
            put(did, Set::To(number.unwrap().over_http().into()));
            let gone: Dialled = format!("+1303{:07}", 5_550_000 + last).parse().unwrap();
            put(gone, Set::Removed);
            removed.push((gone, None));
        }
        for gone in ["+12015550000", "+1201555*"] {
            put(gone.parse().unwrap(), Set::Removed);
            removed.push((gone.parse().unwrap(), None));
        }
        let judged = judge_up_to(usize::MAX, &config, &overlay, &removed, None, &|_| None);
        assert_eq!(judged.errors.len(), MANY as usize + 1, "{:?}", judged.errors.first());
        assert!(judged.errors.iter().any(|error| error.file.ends_with("+12015550000")));
        assert_eq!(judge(&config, &overlay, &removed, None, &|_| None).errors.len(), MAX_FINDINGS);
        let first = &judge(&config, &overlay, &removed[5..6], None, &|_| None).errors;
        assert!(first.len() == 10 && first[0].message.starts_with("it is removed, and "), "{first:?}");
    }
}
