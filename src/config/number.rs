//! `[[number]]`, `[[profile]]` and `[defaults]`: what happens to a call to a DID. A number's own key wins over
//! its profile, a profile over the defaults.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::fields::{Fields, shown};
use super::forms::{LINE, LINES, List, OrEmpty, Whole, form};
use super::place::{At, Place};
use crate::number::{BadNumber, E164, MAX_DIGITS, Prefix};

/// `overflow` steps of one number.
const MAX_STEPS: usize = 16;
const STEPS: List = List::up_to(MAX_STEPS);
/// How long a step may ring.
const TIMEOUT: Whole = Whole::of("seconds", 1, 3600);
/// … and one alone before the others.
const HEAD_START: Whole = Whole::of("seconds", 0, TIMEOUT.most);
/// How long whoever was called may take to press 1.
const CALL_CONNECT: Whole = Whole::of("seconds", 1, 120);
/// How long a message is at most, and how long one has to be to be kept.
pub(super) const MAX_MESSAGE: Whole = Whole::of("seconds", 1, 3600);
pub(super) const MIN_MESSAGE: Whole = Whole::of("seconds", 0, 60);
/// What holds where neither is written.
pub(super) const MAX_SECONDS: u32 = 120;
pub(super) const MIN_SECONDS: u32 = 2;
/// The keys of `[[number]]`, in the order of the documentation; a CSV's header is made of these.
pub(super) const KEYS: &[&str] = &[
    "did",
    "label",
    "profile",
    "account",
    "forward_to",
    "timeout",
    "pass_called_number",
    "call_connect",
    "call_connect_seconds",
    "whisper",
    "whisper_agents",
    "record",
    "record_notice",
    "ring",
    "assigned_to",
    "assigned_head_start",
    "overflow",
    "voicemail",
    "caller_id",
    "trunk",
    "pool",
    "enabled",
];

/// `[[number]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub did: At<Dialled>,
    pub keys: Keys,
}

impl Number {
    /// One that says nothing: all it does is its profile's, or as the defaults have it.
    pub fn bare(did: Dialled) -> Number {
        Number { did: At { value: did, place: Place::default() }, keys: Keys::default() }
    }
}

/// A `did`: one number, or a block of them, `+1555*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialled {
    Number(E164),
    Block(Prefix),
}

/// Why a text is no `did`.
pub(super) enum NoDid {
    Block,
    Number(BadNumber),
}

impl Dialled {
    pub(super) fn parse(text: &str) -> Result<Dialled, NoDid> {
        match text.strip_suffix('*') {
            Some(block) => Prefix::parse(block)
                .filter(|prefix| (1..MAX_DIGITS).contains(&prefix.len()))
                .map(Dialled::Block)
                .ok_or(NoDid::Block),
            None => E164::parse_e164(text).map(Dialled::Number).map_err(NoDid::Number),
        }
    }

    /// Whether that number is it, or in it.
    pub fn covers(self, number: E164) -> bool {
        match self {
            Dialled::Number(own) => own == number,
            Dialled::Block(prefix) => prefix.covers(number),
        }
    }
}

/// What findings call the text of a number that was set, or is to be, over HTTP.
pub fn over_http(did: Dialled) -> String {
    format!("/v1/numbers/{did}")
}

impl std::str::FromStr for Dialled {
    type Err = String;

    /// Reads a number or a block; digits alone are a number without its plus.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    fn from_str(text: &str) -> Result<Dialled, String> {
        let is_bare = text.starts_with(|first: char| first.is_ascii_digit());
        let text = if is_bare { format!("+{text}") } else { text.to_owned() };
        Dialled::parse(&text).map_err(|why| match why {
            NoDid::Block => format!("\"{}\" is no block of numbers; {BLOCK_FORM}", shown(&text)),
            NoDid::Number(bad) => format!("{bad}; {}", bad.remedy()),
        })
    }
}

/// How a block is written.
const BLOCK_FORM: &str = "write +, 1 to 14 digits and *, like \"+1201555*\"";

/// `[[profile]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub name: At<Box<str>>,
    pub keys: Keys,
}

/// What `[[number]]`, `[[profile]]` and `[defaults]` may say. A key that is not written is inherited; one that
/// is written as an empty text unsets what would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub label: Option<At<Box<str>>>,
    /// The `[[profile]]` that the keys not written here are taken from.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&LINE))]
    pub profile: Option<At<Option<Box<str>>>>,
    /// A label in CDRs, events and filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub account: Option<At<Box<str>>>,
    /// An external number that rings.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&OrEmpty))]
    pub forward_to: Option<At<Option<E164>>>,
    /// How long it rings, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 20))]
    #[schemars(transform = form(&TIMEOUT))]
    pub timeout: Option<At<u32>>,
    /// A forwarded leg shows the DID, not the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub pass_called_number: Option<At<bool>>,
    /// A forwarded leg has to press 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub call_connect: Option<At<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 10))]
    #[schemars(transform = form(&CALL_CONNECT))]
    pub call_connect_seconds: Option<At<u32>>,
    /// What a forwarded leg hears before it is bridged.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    pub whisper: Option<At<Option<Prompt>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub whisper_agents: Option<At<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub record: Option<At<bool>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    pub record_notice: Option<At<Option<Prompt>>>,
    /// Agents that ring, all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINES))]
    pub ring: Option<At<Vec<At<Box<str>>>>>,
    /// The agent that rings alone for `assigned_head_start`, or where neither `ring` nor `forward_to` is set.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&LINE))]
    pub assigned_to: Option<At<Option<Box<str>>>>,
    /// In seconds; 0: together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    #[schemars(transform = form(&HEAD_START))]
    pub assigned_head_start: Option<At<u32>>,
    /// Other routing after no answer, tried in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&STEPS))]
    pub overflow: Option<At<Vec<Overflow>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<At<Voicemail>>,
    /// A verified external number shown on outbound calls from this DID.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&OrEmpty))]
    pub caller_id: Option<At<Option<E164>>>,
    /// Forces an outbound trunk.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&LINE))]
    pub trunk: Option<At<Option<Box<str>>>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "unset_is_empty")]
    #[schemars(transform = form(&LINE))]
    pub pool: Option<At<Option<Box<str>>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub enabled: Option<At<bool>>,
}

/// One that is written as an empty text is so again.
fn unset_is_empty<T: Serialize, S: serde::Serializer>(
    key: &Option<At<Option<T>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match key.as_ref().and_then(|at| at.value.as_ref()) {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

/// One step of `overflow`. Two are equal when they say the same, wherever they do.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = [{ "required": ["ring"] }, { "required": ["forward_to"] }]))]
pub struct Overflow {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, transform = form(&LINES))]
    pub ring: Vec<At<Box<str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&OrEmpty))]
    pub forward_to: Option<At<E164>>,
    /// In seconds; left out: the number's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&TIMEOUT))]
    pub timeout: Option<At<u32>>,
    #[serde(skip)]
    pub place: Place,
}

impl PartialEq for Overflow {
    fn eq(&self, other: &Overflow) -> bool {
        let says = |step: &Overflow| (step.forward_to.map(|at| at.value), step.timeout.map(|at| at.value));
        self.ring == other.ring && says(self) == says(other)
    }
}

/// Something to be said: a text, or a sound file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(Box<str>),
    /// The path as it was written, and joined with the folder of the file that names it.
    File {
        written: Box<str>,
        path: PathBuf,
    },
}

/// `voicemail`: false, true, or how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voicemail {
    Off,
    On { greeting: Option<Prompt>, max_seconds: u32, min_seconds: u32 },
}

impl Voicemail {
    /// `voicemail = true`
    pub const PLAIN: Voicemail =
        Voicemail::On { greeting: None, max_seconds: MAX_SECONDS, min_seconds: MIN_SECONDS };
}

impl Keys {
    /// Whether anybody rings in any step (R3.5).
    pub fn rings_somebody(&self) -> bool {
        let rings = |step: &Overflow| !step.ring.is_empty() || step.forward_to.is_some();
        self.ring.as_ref().is_some_and(|ring| !ring.value.is_empty())
            || self.forward_to.is_some_and(|forward| forward.value.is_some())
            || self.assigned_to.as_ref().is_some_and(|agent| agent.value.is_some())
            || self.overflow.iter().flat_map(|steps| &steps.value).any(rings)
    }

    /// These keys, each that is not written taken from `base`.
    pub fn over(&self, base: &Keys) -> Keys {
        macro_rules! each {
            ($($key:ident)+) => { Keys { $($key: self.$key.as_ref().or(base.$key.as_ref()).cloned()),+ } };
        }
        each! {
            label profile account forward_to timeout pass_called_number call_connect call_connect_seconds whisper
            whisper_agents record record_notice ring assigned_to assigned_head_start overflow voicemail caller_id
            trunk pool enabled
        }
    }

    /// With what is named by `file` as it would be written in that folder: relative to it where it lies there, else absolute.
    pub fn written_in(mut self, folder: &Path) -> Keys {
        let here = |prompt: &mut Prompt| {
            if let Prompt::File { written, path } = prompt {
                *written = path.strip_prefix(folder).unwrap_or(path).display().to_string().into();
            }
        };
        [&mut self.whisper, &mut self.record_notice]
            .into_iter()
            .filter_map(|key| key.as_mut()?.value.as_mut())
            .for_each(here);
        if let Some(Voicemail::On { greeting: Some(greeting), .. }) =
            self.voicemail.as_mut().map(|at| &mut at.value)
        {
            here(greeting);
        }
        self
    }

    /// Puts each key, each name in a list and each step of `overflow` elsewhere.
    pub(super) fn place_by(&mut self, moved: &impl Fn(Place) -> Place) {
        macro_rules! each {
            ($($key:ident)+) => {
                $(if let Some(at) = &mut self.$key {
                    at.place = moved(at.place);
                })+
            };
        }
        each! {
            label profile account forward_to timeout pass_called_number call_connect call_connect_seconds whisper
            whisper_agents record record_notice ring assigned_to assigned_head_start overflow voicemail caller_id
            trunk pool enabled
        }
        for name in self.ring.iter_mut().flat_map(|ring| &mut ring.value) {
            name.place = moved(name.place);
        }
        for step in self.overflow.iter_mut().flat_map(|steps| &mut steps.value) {
            step.place = moved(step.place);
            for name in &mut step.ring {
                name.place = moved(name.place);
            }
            if let Some(forward) = &mut step.forward_to {
                forward.place = moved(forward.place);
            }
            if let Some(timeout) = &mut step.timeout {
                timeout.place = moved(timeout.place);
            }
        }
    }
}

/// `nameless`: takes the keys of a number whose `did` cannot be read: mistakes in them are told too.
pub(super) fn read_number(fields: &Fields<'_>, folder: &Path, nameless: &mut Vec<Keys>) -> Option<Number> {
    if !fields.has("did") {
        fields.missing("did", "write did = \"+12015550101\"");
    }
    let did = did(fields);
    let keys = keys(fields, folder);
    fields.finish();
    match did {
        Some(did) => Some(Number { did, keys }),
        None => {
            nameless.push(keys);
            None
        }
    }
}

/// `nameless`: takes the keys of a profile whose name cannot be read.
pub(super) fn read_profile(fields: &Fields<'_>, folder: &Path, nameless: &mut Vec<Keys>) -> Option<Profile> {
    if !fields.has("name") {
        fields.missing("name", "write name = \"realty\"");
    }
    let name = fields.name("name");
    let keys = keys(fields, folder);
    if let Some(at) = &keys.profile {
        fields.refuse(at.place, "a profile has no profile".into(), "write its keys out here");
    }
    fields.finish();
    match name {
        Some(name) => Some(Profile { name, keys }),
        None => {
            nameless.push(keys);
            None
        }
    }
}

pub(super) fn read_defaults(fields: &Fields<'_>, folder: &Path) -> Keys {
    let keys = keys(fields, folder);
    fields.finish();
    keys
}

fn did(fields: &Fields<'_>) -> Option<At<Dialled>> {
    let text = fields.text("did")?;
    match Dialled::parse(&text) {
        Ok(value) => Some(At { value, place: text.place }),
        Err(NoDid::Block) => {
            let what = format!("did = \"{}\" is no block of numbers", shown(&text));
            fields.refuse(text.place, what, BLOCK_FORM);
            None
        }
        Err(NoDid::Number(bad)) => {
            fields.refuse(text.place, bad.to_string(), bad.remedy());
            None
        }
    }
}

fn keys(fields: &Fields<'_>, folder: &Path) -> Keys {
    Keys {
        label: fields.text("label"),
        profile: fields.some_text("profile"),
        account: fields.text("account"),
        forward_to: fields.number("forward_to"),
        timeout: timeout(fields),
        pass_called_number: fields.flag("pass_called_number"),
        call_connect: call_connect(fields),
        call_connect_seconds: fields.whole("call_connect_seconds", &CALL_CONNECT),
        whisper: prompt(fields, "whisper", folder),
        whisper_agents: fields.flag("whisper_agents"),
        record: fields.flag("record"),
        record_notice: prompt(fields, "record_notice", folder),
        ring: fields.list("ring"),
        assigned_to: fields.some_text("assigned_to"),
        assigned_head_start: fields.whole("assigned_head_start", &HEAD_START),
        overflow: overflow(fields),
        voicemail: voicemail(fields, folder),
        caller_id: fields.number("caller_id"),
        trunk: fields.some_text("trunk"),
        pool: fields.some_text("pool"),
        enabled: fields.flag("enabled"),
    }
}

/// One that is there and cannot be read counts as wanted: no warning is to say that it is missing.
fn call_connect(fields: &Fields<'_>) -> Option<At<bool>> {
    const KEY: &str = "call_connect";
    let unread = || fields.has(KEY).then_some(At { value: true, place: fields.place });
    fields.flag(KEY).or_else(unread)
}

fn timeout(fields: &Fields<'_>) -> Option<At<u32>> {
    let timeout = fields.whole("timeout", &TIMEOUT)?;
    if timeout.value < 10 {
        let what = format!("timeout = {}: few people answer so fast", timeout.value);
        fields.report().warning(timeout.place, what, "write 10 seconds or more");
    }
    Some(timeout)
}

fn overflow(fields: &Fields<'_>) -> Option<At<Vec<Overflow>>> {
    let form = "overflow = [{ ring = [\"carol\"], timeout = 15 }]";
    let list = fields.tables("overflow", "a step of overflow", form)?;
    if list.len() > MAX_STEPS {
        fields.refuse(list.place, format!("overflow has more than {MAX_STEPS} steps"), "leave some out");
    }
    let step = |fields: &Fields<'_>| {
        let (ring, forward) = (fields.list("ring"), fields.number("forward_to"));
        let step = Overflow {
            ring: ring.map(|list| list.value).unwrap_or_default(),
            forward_to: forward.and_then(|at| Some(At { value: at.value?, place: at.place })),
            timeout: timeout(fields),
            place: fields.place,
        };
        // One that is written to ring nobody for now (`ring = []`) is passed over.
        if !["ring", "forward_to"].iter().any(|key| fields.has(key) || fields.has_slip(key)) {
            let what = "a step of overflow rings nobody".into();
            fields.refuse(fields.place, what, "give it ring or forward_to");
        }
        fields.finish();
        step
    };
    Some(At { value: list.iter().take(MAX_STEPS).map(step).collect(), place: list.place })
}

/// A text, or `{ file = … }`: absolute, or relative to the file that names it.
/// Whether a text is `{ file = …` or `{"file": …`.
fn is_table(text: &str) -> bool {
    let key = |text: &str| text.trim_start().trim_start_matches('"').to_ascii_lowercase();
    let inside = text.trim().strip_prefix('{').map(key);
    let behind = inside.as_deref().and_then(|inside| inside.strip_prefix("file"));
    behind.is_some_and(|behind| behind.trim_start_matches('"').trim_start().starts_with(['=', ':']))
}

fn prompt(fields: &Fields<'_>, key: &'static str, folder: &Path) -> Option<At<Option<Prompt>>> {
    if !fields.is_table(key) {
        let text = fields.some_text(key)?;
        // It would be spoken.
        if text.value.as_deref().is_some_and(is_table) {
            let what = format!("{key} is a table that is written as a text");
            let remedy = "write a table, not a text that reads like one; a CSV holds none";
            fields.refuse(text.place, what, remedy);
            return None;
        }
        return Some(At { value: text.value.map(Prompt::Text), place: text.place });
    }
    let inner = fields.inner(key, "{ file = \"…\" }")?;
    if !inner.has("file") {
        inner.missing("file", "write { file = \"prompts/main.wav\" }");
    }
    let file = inner.text("file");
    inner.finish();
    let written = file?.value;
    let path = folder.join(&*written);
    Some(At { value: Some(Prompt::File { written, path }), place: inner.place })
}

fn voicemail(fields: &Fields<'_>, folder: &Path) -> Option<At<Voicemail>> {
    if !fields.is_table("voicemail") {
        let flag = fields.flag("voicemail")?;
        let value = if flag.value { Voicemail::PLAIN } else { Voicemail::Off };
        return Some(At { value, place: flag.place });
    }
    let inner = fields.inner("voicemail", "voicemail")?;
    let greeting = prompt(&inner, "greeting", folder).and_then(|at| at.value);
    let max = inner.whole("max_seconds", &MAX_MESSAGE);
    let min = inner.whole("min_seconds", &MIN_MESSAGE);
    let max_seconds = max.map_or(MAX_SECONDS, |at| at.value);
    let min_seconds = min.map_or(MIN_SECONDS, |at| at.value);
    if min_seconds >= max_seconds {
        let what = format!("min_seconds = {min_seconds} is not below max_seconds = {max_seconds}");
        let (place, remedy) = match (min, max) {
            (None, Some(max)) => (max.place, format!("write more than {min_seconds}")),
            (min, _) => (min.map_or(inner.place, |at| at.place), format!("write less than {max_seconds}")),
        };
        fields.refuse(place, format!("{what}: no message would be kept"), remedy);
    }
    inner.finish();
    Some(At { value: Voicemail::On { greeting, max_seconds, min_seconds }, place: inner.place })
}
