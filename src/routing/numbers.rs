//! The numbers of one generation, as little memory as they need: what many have alike is there once, what only one has
//! lies in one piece with that of all others. Ten million of them are freed in a moment.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};

use super::plan::{Prompt, Text, Voicemail};
use super::trunk::Trunk;
use crate::config::{Dialled, Dids, Lengths};
use crate::number::E164;

/// Who rings, by its step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StepEntry {
    pub seconds: u32,
    pub targets: Box<[TargetEntry]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetEntry {
    pub delay_seconds: u32,
    pub who: WhoEntry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WhoEntry {
    /// By its place among the table's agents.
    Agent(u32),
    Number(E164),
    /// The number's own `forward_to`: what it is stands with the number, for it is seldom another's too.
    Forward,
}

/// What a number asks for beyond who rings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Features {
    pub account: Text,
    pub pass_called_number: bool,
    pub call_connect: Option<std::time::Duration>,
    pub whisper: Option<Prompt>,
    pub whisper_agents: bool,
    pub record: bool,
    pub record_notice: Option<Prompt>,
    pub voicemail: Option<Arc<Voicemail>>,
    pub caller_id: Option<E164>,
    pub trunk: Option<Arc<Trunk>>,
}

/// Where a label begins among all, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(u32, u16);

/// What is kept of a number in the line that it is found in: 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Its own `forward_to`.
    forward: Option<E164>,
    label_at: u32,
    label_len: u16,
    /// By their place: what it has in common with others; [`REMOVED`].
    settings: u32,
    /// In the order of the configuration's numbers; [`OVER_HTTP`].
    place: u32,
}

/// What numbers have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub enabled: bool,
    pub steps: Box<[StepEntry]>,
    pub features: Arc<Features>,
}

/// Instead of settings: the number was removed.
const REMOVED: u32 = u32::MAX;
/// Instead of a place: the number was set over HTTP.
const OVER_HTTP: u32 = u32::MAX;

/// Where a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// In the files: by its place in the configuration's order.
    InFiles(usize),
    OverHttp,
}

/// All numbers and blocks.
#[derive(Debug)]
pub(super) struct Numbers {
    dids: Dids<Row, 2>,
    labels: Box<str>,
    settings: Box<[Settings]>,
    /// Those of the files that were set over HTTP when they were entered, and so are not among them: by their place.
    hidden: BTreeMap<Dialled, usize>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t> {
    row: &'t Row,
    of: &'t Numbers,
}

impl Numbers {
    /// How many `[[number]]`s, a block counting once.
    pub fn len(&self) -> usize {
        self.dids.len()
    }

    pub fn find(&self, did: E164) -> Option<Found<'_>> {
        Some(Found { row: self.dids.find(did)?, of: self })
    }

    /// That one itself, be it removed.
    pub fn get(&self, did: Dialled) -> Option<Found<'_>> {
        Some(Found { row: self.dids.find_as_written(did)?, of: self })
    }

    /// Where that one stands in the files, if it does.
    pub fn in_files(&self, did: Dialled) -> Option<usize> {
        match self.get(did).map(Found::written) {
            Some(Written::InFiles(place)) => Some(place),
            Some(Written::OverHttp) | None => self.hidden.get(&did).copied(),
        }
    }

    pub fn block_lengths(&self) -> Lengths {
        self.dids.block_lengths()
    }

    /// Bytes that they take: to find them by, and with what they say.
    pub fn bytes(&self) -> (usize, usize) {
        let settings = size_of_val(&*self.settings)
            + self
                .settings
                .iter()
                .map(|settings| size_of::<Features>() + size_of_val(&*settings.steps))
                .sum::<usize>();
        (self.dids.bytes(), self.dids.bytes() + self.labels.len() + settings)
    }

    /// Seldom twice, however many numbers share them.
    pub fn features(&self) -> impl Iterator<Item = &Arc<Features>> {
        self.settings.iter().map(|settings| &settings.features)
    }
}

impl<'t> Found<'t> {
    /// There is none, and none behind it either.
    pub(super) fn is_removed(self) -> bool {
        self.row.settings == REMOVED
    }

    pub(super) fn written(self) -> Written {
        match self.row.place {
            OVER_HTTP => Written::OverHttp,
            place => Written::InFiles(place as usize),
        }
    }

    pub fn is_enabled(self) -> bool {
        self.settings().enabled
    }

    /// What the operator calls it; empty when it has no name.
    pub fn label(self) -> &'t str {
        let (begin, length) = (self.row.label_at as usize, usize::from(self.row.label_len));
        self.of.labels.get(begin..begin + length).unwrap_or_default()
    }

    /// The external number that rings, beside or in place of agents.
    pub fn forward(self) -> Option<E164> {
        self.row.forward
    }

    pub(super) fn steps(self) -> &'t [StepEntry] {
        &self.settings().steps
    }

    pub(super) fn features(self) -> &'t Arc<Features> {
        &self.settings().features
    }

    fn settings(self) -> &'t Settings {
        &self.of.settings[self.row.settings as usize]
    }
}

/// Numbers that are being entered.
#[derive(Debug)]
pub(super) struct Entering {
    dids: Dids<Row, 2>,
    labels: String,
    hidden: BTreeMap<Dialled, usize>,
    /// Each once, and where it is found by its hash.
    settings: Vec<Settings>,
    known: HashTable<u32>,
    hasher: RandomState,
    texts: HashSet<Text, RandomState>,
}

impl Entering {
    /// So many, with so many bytes of labels.
    pub fn of(numbers: usize, labels: usize) -> Entering {
        Entering {
            dids: Dids::with_capacity(numbers),
            labels: String::with_capacity(labels),
            hidden: BTreeMap::new(),
            settings: Vec::new(),
            known: HashTable::new(),
            hasher: RandomState::new(),
            texts: HashSet::default(),
        }
    }

    /// Those will be entered next.
    pub fn look_ahead(&self, dids: impl Iterator<Item = Dialled>) {
        self.dids.look_ahead(dids);
    }

    /// The same text once.
    pub fn text(&mut self, text: &str) -> Text {
        if let Some(text) = self.texts.get(text) {
            return Arc::clone(text);
        }
        let text: Text = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    /// A number, its profile and the defaults merged into it.
    pub fn enter(
        &mut self,
        did: Dialled,
        forward: Option<E164>,
        label: Label,
        settings: u32,
        written: Written,
    ) {
        let Label(label_at, label_len) = label;
        let place = match written {
            Written::InFiles(place) => place as u32,
            Written::OverHttp => OVER_HTTP,
        };
        self.dids.insert(did, Row { forward, label_at, label_len, settings, place });
    }

    /// A number of the files that is set over HTTP.
    pub fn hide(&mut self, did: Dialled, place: usize) {
        self.hidden.insert(did, place);
    }

    /// A number that is no more.
    pub fn enter_removed(&mut self, did: Dialled) {
        self.dids.insert(did, Row { settings: REMOVED, place: OVER_HTTP, ..Row::default() });
    }

    /// What numbers have in common: by its place, the same for the same.
    pub fn settings(&mut self, new: &Settings) -> u32 {
        let Entering { settings, known, hasher, .. } = self;
        let same = |place: &u32| settings.get(*place as usize) == Some(new);
        let hash_of = |place: &u32| hasher.hash_one(settings.get(*place as usize));
        match known.entry(hasher.hash_one(Some(new)), same, hash_of) {
            Entry::Occupied(there) => *there.get(),
            Entry::Vacant(free) => {
                let place = settings.len() as u32;
                free.insert(place);
                settings.push(new.clone());
                place
            }
        }
    }

    /// A label, for the numbers that have it. A configuration holds no more of them than fit.
    pub fn label(&mut self, label: &str) -> Label {
        let place = Label(self.labels.len() as u32, label.len() as u16);
        self.labels.push_str(label);
        place
    }

    pub fn finish(self) -> Numbers {
        let Entering { dids, labels, settings, hidden, .. } = self;
        Numbers { dids, labels: labels.into(), settings: settings.into(), hidden }
    }
}
