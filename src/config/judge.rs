//! Whether numbers may be set, or removed, by themselves: by the same checks as in files, against all that is served.

use super::check::{Check, Ours, Unread};
use super::number::{Dialled, Keys, Number};
use super::overlay::Overlay;
use super::place::{At, Finding, MAX_FINDINGS, Place, Report};
use super::{Config, Dids};
use crate::number::E164;

/// What findings call the text of a number that was set, or is to be, over HTTP.
pub fn over_http(did: Dialled) -> String {
    format!("/v1/numbers/{did}")
}

/// What is said of one.
#[derive(Debug, Default)]
pub struct Judged {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Finding>,
}

/// A number as it is to be; none: it is to be none of ours.
pub type Change = (Dialled, Option<Number>);

/// Judges numbers as they are to be. `overlay`: as it will be with them. `ours`: where the number, or block, is written that
/// a number will be ours by. `are_new`: some of them were none of ours before, so that others may lead to them.
pub fn judge(
    config: &Config,
    overlay: &Overlay,
    changes: &[Change],
    are_new: bool,
    ours: Ours<'_>,
) -> Judged {
    let mut all = Judged::default();
    let mut take = |one: Judged| {
        all.errors.extend(one.errors);
        all.warnings.extend(one.warnings);
        all.errors.len() < MAX_FINDINGS
    };
    let mut dids: Dids<u32, 5> = Dids::with_capacity(changes.len());
    for (place, (did, number)) in (0..).zip(changes) {
        let (unread, report) = (Unread::default(), Report::of(&config.files));
        let check = Check::new(config, &unread, &report, ours);
        match number {
            Some(number) => {
                dids.insert(*did, place);
                check.number(&number.keys);
            }
            None => removal(&check, config, overlay, *did),
        }
        drop(check);
        if !take(told(report, *did)) {
            break;
        }
    }
    if are_new {
        let may_be_led_to = changes.iter().any(|(did, number)| number.is_some() && may_lead_to(config, *did));
        let one_of_them = |forward| changes.get(dids.find(forward)? as usize)?.1.as_ref();
        for (number, forward) in leading(config, overlay, may_be_led_to, &one_of_them) {
            let report = Report::of(&config.files);
            comes_back(&report, number.did.place, forward);
            take(told(report, number.did.value));
        }
    }
    all.errors.truncate(MAX_FINDINGS);
    all.warnings.truncate(MAX_FINDINGS);
    all
}

/// What a number verified that is removed must be verified otherwise.
fn removal(check: &Check<'_>, config: &Config, overlay: &Overlay, did: Dialled) {
    let by_agents = config.agents.iter().filter_map(|agent| agent.number.as_ref());
    let by_agents = by_agents.map(|number| ("number", number.place, number.value));
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let by_files = config.numbers.sets().chain(profiles).chain([&config.defaults]);
    let keys = by_files.chain(overlay.numbers().map(|(_, number)| &number.keys));
    let shown = keys.filter_map(|keys| keys.caller_id.as_ref());
    let shown = shown.filter_map(|at| Some(("caller_id", at.place, at.value?)));
    for (key, place, number) in by_agents.chain(shown).filter(|(.., number)| did.covers(*number)) {
        check.verified(key, place, number);
    }
}

fn comes_back(report: &Report, place: Place, forward: At<E164>) {
    let at = report.at(forward.place);
    let what = format!("forward_to {} leads to it ({at}): the call would come back", forward.value);
    report.error(place, what, "have that one ring its agents, or forward to where this one does");
}

/// Whether a row of the files may forward to it; of a block nobody knows without a look at each.
fn may_lead_to(config: &Config, did: Dialled) -> bool {
    match did {
        Dialled::Number(number) => config.numbers.may_lead_to(number),
        Dialled::Block(_) => true,
    }
}

/// What forwards to one of some numbers, and to which. `by_rows`: whether rows of the files may. `is_one`: whether it is one of
/// them. A hundred at most.
fn leading<'n>(
    config: &Config,
    overlay: &Overlay,
    by_rows: bool,
    is_one: &dyn Fn(E164) -> Option<&'n Number>,
) -> Vec<(&'n Number, At<E164>)> {
    let profiles = config.profiles.iter().map(|profile| &profile.keys);
    let keys = config.numbers.sets().chain(profiles).chain([&config.defaults]);
    let keys = keys.chain(overlay.numbers().map(|(_, number)| &number.keys)).flat_map(forwards);
    let rows = by_rows.then(|| config.numbers.iter()).into_iter().flatten();
    let own = rows.filter_map(|number| {
        let forward = number.forward()?;
        // Most are looked at for nothing else.
        let leads = is_one(forward.value).is_some() && !overlay.holds(number.did().value);
        leads.then_some(forward)
    });
    keys.chain(own).filter_map(|forward| Some((is_one(forward.value)?, forward))).take(MAX_FINDINGS).collect()
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
    for finding in
        errors.iter_mut().chain(&mut warnings).filter(|finding| finding.file == super::place::OVER_HTTP)
    {
        finding.file.clone_from(&name);
    }
    Judged { errors, warnings }
}
