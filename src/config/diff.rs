//! What one configuration changes of another, for a reload to report.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::RandomState;

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use serde_json::Value;

use super::number::over_http;
use super::number::{Dialled, Keys};
use super::numbers::Listed;
use super::place::{At, Finding, MAX_FINDINGS, OVER_HTTP, Place};
use super::{Config, Dids, Overlay};
use crate::number::E164;

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By what they do: a number whose profile changed has changed.
    pub numbers: Counts,
    pub trunks: Counts,
    pub agents: Counts,
    /// What may be shown, and what is leased.
    pub caller_ids: Counts,
    pub pools: Counts,
    /// `[dial]` and `[emergency]`: they are there, written or not, so that they change or are not counted.
    pub sections: Counts,
    /// Keys of `strowger.toml` that wait for a restart, such as `limits.max_legs`.
    pub restart: Vec<String>,
    /// The first [`MAX_NAMED`] that came, differ or went.
    pub named: Vec<Named>,
    /// Numbers of which files say something else now, and in vain. The first [`MAX_FINDINGS`], and how many more.
    pub warnings: Vec<Finding>,
}

/// More are counted, and not named.
pub const MAX_NAMED: usize = 100;

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `number`, `trunk`, `agent`, `caller_id`, `pool` or `section`.
    pub kind: &'static str,
    pub name: String,
    /// `added`, `changed` or `removed`.
    pub change: &'static str,
}

/// Those that are named so far.
#[derive(Default)]
struct Names(Vec<Named>);

impl Names {
    fn add(&mut self, kind: &'static str, name: impl Display, change: &'static str) {
        if self.0.len() < MAX_NAMED {
            self.0.push(Named { kind, name: name.to_string(), change });
        }
    }
}

/// How many came, differ, went and stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
    pub unchanged: usize,
}

impl Diff {
    /// All of them together.
    pub fn total(&self) -> Counts {
        let all = [self.sections, self.trunks, self.agents, self.caller_ids, self.pools, self.numbers];
        all.into_iter().fold(Counts::default(), |sum, counts| Counts {
            added: sum.added + counts.added,
            changed: sum.changed + counts.changed,
            removed: sum.removed + counts.removed,
            unchanged: sum.unchanged + counts.unchanged,
        })
    }
}

/// Compares two configurations by what they say, not by where. `overlay`: what is set over HTTP with either; what files say of
/// these numbers counts for nothing.
pub fn diff(old: &Config, new: &Config, overlay: &Overlay) -> Diff {
    let mut names = Names::default();
    let sections = count_sections(old, new, &mut names);
    let trunks = count(
        ("trunk", &mut names),
        old.trunks.iter().map(|trunk| (&*trunk.name.value, trunk)),
        new.trunks.iter().map(|trunk| (&*trunk.name.value, trunk)),
        |was, is| was.says() == is.says(),
    );
    let agents = count(
        ("agent", &mut names),
        old.agents.iter().map(|agent| (&*agent.name.value, agent)),
        new.agents.iter().map(|agent| (&*agent.name.value, agent)),
        |was, is| was.says() == is.says(),
    );
    let caller_ids = count(
        ("caller_id", &mut names),
        old.caller_ids.iter().map(|id| (id.number.value, id)),
        new.caller_ids.iter().map(|id| (id.number.value, id)),
        |was, is| was == is,
    );
    let pools = count(
        ("pool", &mut names),
        old.pools.iter().map(|pool| (&*pool.name.value, pool)),
        new.pools.iter().map(|pool| (&*pool.name.value, pool)),
        |was, is| was.says() == is.says(),
    );
    let (numbers, in_vain) = count_numbers(old, new, overlay, &mut names);
    let (restart, warnings) = (changed_keys(old, new), in_vain.into_findings());
    Diff { numbers, trunks, agents, caller_ids, pools, sections, restart, named: names.0, warnings }
}

fn count_sections(old: &Config, new: &Config, names: &mut Names) -> Counts {
    let mut counts = Counts::default();
    let compared =
        [("[dial]", old.dial.says_the_same(&new.dial)), ("[emergency]", old.emergency == new.emergency)];
    for (name, _) in compared.into_iter().filter(|(_, is_same)| !is_same) {
        counts.changed += 1;
        names.add("section", name, "changed");
    }
    counts
}

/// The numbers of the files of both.
struct Rows<'c> {
    old: &'c Config,
    places: Dids<u32, 5>,
    was: Vec<Keys>,
    is: Vec<Keys>,
    /// What numbers have in common is compared once.
    alike: HashMap<(u32, u32), bool, RandomState>,
}

impl<'c> Rows<'c> {
    fn of(old: &'c Config, new: &Config) -> Rows<'c> {
        let mut places: Dids<u32, 5> = Dids::with_capacity(old.numbers.len());
        for (place, number) in (0..).zip(old.numbers.iter()) {
            places.insert(number.did().value, place);
        }
        let merged =
            |config: &Config| config.numbers.sets().map(|keys| config.merged(keys)).collect::<Vec<Keys>>();
        Rows { old, places, was: merged(old), is: merged(new), alike: HashMap::default() }
    }

    fn before(&self, number: Listed<'_>) -> Option<Listed<'c>> {
        let place = self.places.find_as_written(number.did().value)?;
        self.old.numbers.get(*place as usize)
    }

    /// Whether they do the same.
    fn are_alike(&mut self, before: Listed<'_>, number: Listed<'_>) -> bool {
        let sets = (before.set(), number.set());
        let [was, is] = [&self.was[sets.0 as usize], &self.is[sets.1 as usize]];
        let same_set = *self.alike.entry(sets).or_insert_with(|| was.says_beside_its_own(is));
        same_set
            && label_of(before, was) == label_of(number, is)
            && forward_of(before, was) == forward_of(number, is)
    }
}

/// By what they do, and what of it is in vain.
fn count_numbers<'c>(
    old: &Config,
    new: &'c Config,
    overlay: &'c Overlay,
    names: &mut Names,
) -> (Counts, InVain<'c>) {
    let mut rows = Rows::of(old, new);
    let mut counts = Counts::default();
    let mut in_vain = InVain { new, overlay, findings: Vec::new(), more: 0 };
    let mut held: HashSet<Dialled, RandomState> = HashSet::default();
    for number in new.numbers.iter() {
        let (did, before) = (number.did().value, rows.before(number));
        let is_same = before.map(|before| rows.are_alike(before, number));
        if overlay.holds(did) {
            held.insert(did);
            if is_same != Some(true) {
                in_vain.says(number);
            }
            continue;
        }
        match is_same {
            None => {
                counts.added += 1;
                names.add("number", did, "added");
            }
            Some(true) => counts.unchanged += 1,
            Some(false) => {
                counts.changed += 1;
                names.add("number", did, "changed");
            }
        }
    }
    let mut hidden = 0;
    if !overlay.is_empty() {
        for did in old.numbers.iter().map(|number| number.did().value).filter(|did| overlay.holds(*did)) {
            hidden += 1;
            if !held.contains(&did) {
                in_vain.says_no_more(did);
            }
        }
    }
    counts.removed = old.numbers.len() - hidden - counts.unchanged - counts.changed;
    if counts.removed > 0 {
        name_removed(old, new, overlay, counts.removed, names);
    }
    // Their profile may say something else.
    for (did, number) in overlay.numbers() {
        if old.merged(&number.keys) == new.merged(&number.keys) {
            counts.unchanged += 1;
        } else {
            counts.changed += 1;
            names.add("number", did, "changed");
        }
    }
    (counts, in_vain)
}

/// What files say otherwise now of numbers for which what was set over HTTP holds.
struct InVain<'c> {
    new: &'c Config,
    overlay: &'c Overlay,
    findings: Vec<Finding>,
    more: usize,
}

impl InVain<'_> {
    /// The files say that. The same as is set is no news.
    fn says(&mut self, number: Listed<'_>) {
        let At { value: did, place } = number.did();
        let in_files = || self.new.merged(&number.written().keys);
        if self.overlay.number(did).is_some_and(|set| self.new.merged(&set.keys) == in_files()) {
            return;
        }
        let file = self.new.files.name(place).display().to_string();
        self.warn(did, (file, place), "which wins over what the file says now", "lets the file say");
    }

    /// No file names it any more.
    fn says_no_more(&mut self, did: Dialled) {
        if self.overlay.number(did).is_none() {
            return;
        }
        let place = Place { line: 1, column: 1, ..Place::default() };
        let stays = "and stays, though no file names it any more";
        self.warn(did, (over_http(did), place), stays, "removes it");
    }

    fn warn(&mut self, did: Dialled, (file, place): (String, Place), why: &str, unset: &str) {
        // What this very publication sets back is nobody's.
        let Some(entry) = self.overlay.get(did).filter(|entry| !entry.by.is_empty()) else { return };
        if self.findings.len() >= MAX_FINDINGS {
            self.more += 1;
            return;
        }
        let done = if entry.number().is_some() { "set" } else { "removed" };
        let message = format!("{did}: {done} over HTTP by {}, {why}", entry.by);
        let remedy = format!("`strowger numbers unset {did}` {unset}");
        self.findings.push(Finding { file, line: place.line, column: place.column, message, remedy });
    }

    fn into_findings(mut self) -> Vec<Finding> {
        if self.more > 0 {
            let file = OVER_HTTP.to_owned();
            let message = format!("of {} more numbers files say something else now, in vain", self.more);
            let remedy = "`strowger numbers list --set` lists those that are set over HTTP".to_owned();
            self.findings.push(Finding { file, line: 1, column: 1, message, remedy });
        }
        self.findings
    }
}

fn name_removed(old: &Config, new: &Config, overlay: &Overlay, removed: usize, names: &mut Names) {
    let mut there: Dids<u32, 5> = Dids::with_capacity(new.numbers.len());
    new.numbers.iter().for_each(|number| {
        there.insert(number.did().value, 0);
    });
    let dids = old.numbers.iter().map(|number| number.did().value);
    let gone = dids.filter(|did| there.find_as_written(*did).is_none() && !overlay.holds(*did));
    gone.take(removed.min(MAX_NAMED)).for_each(|did| names.add("number", did, "removed"));
}

fn label_of<'c>(number: Listed<'c>, merged: &'c Keys) -> &'c str {
    number.label().or(merged.label.as_ref().map(|at| &*at.value)).unwrap_or_default()
}

fn forward_of(number: Listed<'_>, merged: &Keys) -> Option<E164> {
    number.forward().map(|at| at.value).or(merged.forward_to.and_then(|at| at.value))
}

impl Keys {
    /// Whether they say the same but for the label and where they forward to.
    fn says_beside_its_own(&self, other: &Keys) -> bool {
        let without = |keys: &Keys| Keys { label: None, forward_to: None, ..keys.clone() };
        without(self) == without(other)
    }
}

fn count<K: Eq + std::hash::Hash + Display, T>(
    (kind, names): (&'static str, &mut Names),
    old: impl Iterator<Item = (K, T)>,
    new: impl Iterator<Item = (K, T)>,
    same: impl Fn(&T, &T) -> bool,
) -> Counts {
    let mut old: HashMap<K, T, RandomState> = old.collect();
    let mut counts = Counts::default();
    for (key, is) in new {
        match old.remove(&key) {
            None => {
                counts.added += 1;
                names.add(kind, key, "added");
            }
            Some(was) if same(&was, &is) => counts.unchanged += 1,
            Some(_) => {
                counts.changed += 1;
                names.add(kind, key, "changed");
            }
        }
    }
    counts.removed = old.len();
    let mut gone: Vec<String> = old.into_keys().map(|key| key.to_string()).collect();
    gone.sort();
    gone.into_iter().for_each(|key| names.add(kind, key, "removed"));
    counts
}

fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let flat = |config: &Config| {
        let mut keys = BTreeMap::new();
        flatten(String::new(), serde_json::to_value(&config.node).unwrap_or_default(), &mut keys);
        keys
    };
    let (old, new) = (flat(old), flat(new));
    let mut changed: Vec<String> =
        new.iter().filter(|(key, is)| old.get(*key) != Some(is)).map(key_of).collect();
    changed.extend(old.iter().filter(|(key, _)| !new.contains_key(*key)).map(key_of));
    changed.sort();
    changed
}

fn key_of((key, _): (&String, &Value)) -> String {
    key.clone()
}

/// `limits.max_legs`, `listen[0].addr`
fn flatten(path: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(path, value, into);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (place, value) in list.into_iter().enumerate() {
                flatten(format!("{path}[{place}]"), value, into);
            }
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            into.insert(path, value);
        }
    }
}
