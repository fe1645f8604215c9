//! What one configuration changes of another, for a reload to report.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hash::RandomState;

use hashbrown::HashMap;
use serde::Serialize;
use serde_json::Value;

use super::number::Keys;
use super::numbers::Listed;
use super::{Config, Dids, Overlay};
use crate::number::E164;

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By what they do: a number whose profile changed has changed.
    pub numbers: Counts,
    pub trunks: Counts,
    pub agents: Counts,
    /// Keys of `strowger.toml` that wait for a restart, such as `limits.max_legs`.
    pub restart: Vec<String>,
    /// The first [`MAX_NAMED`] that came, differ or went.
    pub named: Vec<Named>,
}

/// More are counted, and not named.
pub const MAX_NAMED: usize = 100;

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `number`, `trunk` or `agent`.
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
    /// Numbers, trunks and agents together.
    pub fn total(&self) -> Counts {
        [self.numbers, self.trunks, self.agents].into_iter().fold(Counts::default(), |sum, counts| Counts {
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
    let numbers = count_numbers(old, new, overlay, &mut names);
    Diff { numbers, trunks, agents, restart: changed_keys(old, new), named: names.0 }
}

/// By what they do. What numbers have in common is compared once.
fn count_numbers(old: &Config, new: &Config, overlay: &Overlay, names: &mut Names) -> Counts {
    let mut places: Dids<u32, 5> = Dids::with_capacity(old.numbers.len());
    for (place, number) in (0..).zip(old.numbers.iter()) {
        places.insert(number.did().value, place);
    }
    let merged =
        |config: &Config| config.numbers.sets().map(|keys| config.merged(keys)).collect::<Vec<Keys>>();
    let [was, is] = [merged(old), merged(new)];
    let mut alike: HashMap<(u32, u32), bool, RandomState> = HashMap::default();
    let mut counts = Counts::default();
    for number in new.numbers.iter().filter(|number| !overlay.holds(number.did().value)) {
        let before =
            places.find_as_written(number.did().value).and_then(|place| old.numbers.get(*place as usize));
        let Some(before) = before else {
            counts.added += 1;
            names.add("number", number.did().value, "added");
            continue;
        };
        let sets = (before.set(), number.set());
        let [was, is] = [&was[sets.0 as usize], &is[sets.1 as usize]];
        let same_set = *alike.entry(sets).or_insert_with(|| was.says_beside_its_own(is));
        let same = same_set
            && label_of(before, was) == label_of(number, is)
            && forward_of(before, was) == forward_of(number, is);
        if same {
            counts.unchanged += 1;
        } else {
            counts.changed += 1;
            names.add("number", number.did().value, "changed");
        }
    }
    let hidden = match overlay.is_empty() {
        true => 0,
        false => old.numbers.iter().filter(|number| overlay.holds(number.did().value)).count(),
    };
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
    counts
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
