//! `[[pool]]`, `[[caller_id]]`, `[emergency]` and `[dial]`: what numbers may show, and what may be dialled.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::choices::WhenExhausted;
use super::fields::{Fields, shown};
use super::forms::{EMERGENCY, LINE, LINES, List, NAME, OrEmpty, PREFIXES, Whole, form};
use super::node::value_or;
use super::place::{At, Place};
use crate::number::{Country, E164, Prefix};

/// What `[dial] deny` is when it is left out: premium rate, and Caribbean numbers that are dialled like domestic
/// ones and cost like foreign ones.
const DENIED: &[&str] = &["+1900", "+1976", "+1809", "+1829", "+1849", "+1876"];
/// The only numbers of `[emergency]` when it is left out.
const HELP: &[&str] = &["911", "933", "112"];
const HELP_NUMBERS: List = List::of(EMERGENCY).not_empty();
/// A day, a week and ten years: what is longer is a slip.
const HOLD: Whole = Whole::of("seconds", 0, 86_400);
const WINDOW: Whole = Whole::of("minutes", 0, 10_080);
const DAYS: Whole = Whole::of("days", 0, 3_650);

/// `[[pool]]`: numbers that are leased to visitors of a website.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    #[schemars(transform = form(&NAME))]
    pub name: At<Box<str>>,
    /// Public: it can lease and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub key: Option<Box<str>>,
    #[schemars(default, transform = form(&LINES))]
    pub origins: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&OrEmpty))]
    pub default_number: Option<E164>,
    /// A lease lives so long after the visitor's last sign of life.
    #[schemars(extend("default" = 120), transform = form(&HOLD))]
    pub hold_seconds: u32,
    /// Then the number is not reused if another is free, and calls still count for the visit.
    #[schemars(extend("default" = 30), transform = form(&WINDOW))]
    pub window_minutes: u32,
    #[schemars(extend("default" = 30), transform = form(&DAYS))]
    pub sticky_days: u32,
    #[schemars(extend("default" = "oldest"))]
    pub when_exhausted: WhenExhausted,
    /// A number new in the pool is not leased so long.
    #[schemars(extend("default" = 14), transform = form(&DAYS))]
    pub quarantine_days: u32,
    #[serde(skip)]
    pub place: Place,
}

/// `[[caller_id]]`: an external number that may be shown once it is verified.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CallerId {
    pub number: At<E164>,
    /// When it was verified (RFC 3339). Left out: it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub verified: Option<Box<str>>,
}

/// `[emergency]`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Emergency {
    #[schemars(extend("default" = HELP), transform = form(&HELP_NUMBERS))]
    pub numbers: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = form(&LINE))]
    pub trunk: Option<At<Box<str>>>,
}

/// `[dial]`: which external numbers may be called. The longest match decides, `deny` among equals.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Dial {
    /// Left out: the node's country code.
    #[serde(serialize_with = "texts")]
    #[schemars(with = "Vec<String>", default, transform = form(&PREFIXES))]
    pub allow: Vec<Prefix>,
    #[serde(serialize_with = "texts")]
    #[schemars(with = "Vec<String>", extend("default" = DENIED), transform = form(&PREFIXES))]
    pub deny: Vec<Prefix>,
}

impl Pool {
    /// What it says, but for where it says it.
    pub(super) fn says(&self) -> Pool {
        Pool { place: Place::default(), ..self.clone() }
    }
}

impl Dial {
    /// `[dial]` left out.
    pub fn of(country: Country) -> Dial {
        Dial {
            allow: Prefix::from_digits(country.calling_code()).into_iter().collect(),
            deny: DENIED.iter().filter_map(|text| Prefix::parse(text)).collect(),
        }
    }

    /// Whether it allows and denies the same, in whatever order that is written and however often.
    pub(super) fn says_the_same(&self, other: &Dial) -> bool {
        let set = |list: &[Prefix]| list.iter().copied().collect::<BTreeSet<Prefix>>();
        set(&self.allow) == set(&other.allow) && set(&self.deny) == set(&other.deny)
    }

    /// Whether a number may be called.
    pub fn allows(&self, number: E164) -> bool {
        match (longest(&self.allow, number), longest(&self.deny, number)) {
            (Some(allow), Some(deny)) => allow.len() > deny.len(),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Of `deny`, for what a number that may not be called would else be allowed.
    pub fn denies(&self, number: E164) -> Option<Prefix> {
        let allow = longest(&self.allow, number)?;
        longest(&self.deny, number).filter(|deny| deny.len() >= allow.len())
    }
}

/// The most digits that cover a number.
fn longest(list: &[Prefix], number: E164) -> Option<Prefix> {
    list.iter().filter(|prefix| prefix.covers(number)).max_by_key(|prefix| prefix.len()).copied()
}

impl Default for Emergency {
    fn default() -> Emergency {
        Emergency { numbers: HELP.iter().copied().map(Into::into).collect(), trunk: None }
    }
}

pub(super) fn read_pool(fields: &Fields<'_>) -> Option<Pool> {
    if !fields.has("name") {
        fields.missing("name", "write name = \"website\"");
    }
    let name = fields.name("name");
    let origins = fields.list("origins").map(|list| list.value).unwrap_or_default();
    let whole = |key, form, default| value_or(fields.whole(key, form), default);
    let pool = Pool {
        key: fields.some_text("key").and_then(|at| at.value),
        origins: origins.into_iter().map(|at| at.value).collect(),
        default_number: fields.number("default_number").and_then(|at| at.value),
        hold_seconds: whole("hold_seconds", &HOLD, 120),
        window_minutes: whole("window_minutes", &WINDOW, 30),
        sticky_days: whole("sticky_days", &DAYS, 30),
        when_exhausted: value_or(fields.choice("when_exhausted"), WhenExhausted::Oldest),
        quarantine_days: whole("quarantine_days", &DAYS, 14),
        place: fields.place,
        name: fields.or_finish(name)?,
    };
    fields.finish();
    Some(pool)
}

pub(super) fn read_caller_id(fields: &Fields<'_>) -> Option<CallerId> {
    if !fields.has("number") {
        fields.missing("number", "write number = \"+12015550142\"");
    }
    let number = fields.number("number");
    if let Some(At { value: None, place }) = number {
        fields.refuse(place, "number is empty".into(), "write number = \"+12015550142\"");
    }
    let verified = fields.some_text("verified");
    let verified = verified.and_then(|at| {
        let text = at.value?;
        if text.parse::<jiff::Timestamp>().is_err() {
            let what = format!("verified = \"{}\" is no time", shown(&text));
            fields.refuse(at.place, what, "write it in UTC like \"2026-11-01T10:00:00Z\"");
            return None;
        }
        Some(text)
    });
    fields.finish();
    let number = number?;
    Some(CallerId { number: At { value: number.value?, place: number.place }, verified })
}

/// What one file says of `[emergency]`.
#[derive(Default)]
pub(super) struct EmergencyKeys {
    numbers: Option<Vec<Box<str>>>,
    trunk: Option<At<Box<str>>>,
}

/// What one file says of `[dial]`.
#[derive(Default)]
pub(super) struct DialKeys {
    allow: Option<Vec<Prefix>>,
    deny: Option<Vec<Prefix>>,
}

impl EmergencyKeys {
    pub fn read(fields: &Fields<'_>) -> EmergencyKeys {
        let numbers = fields.list("numbers").map(|list| list.value);
        for number in numbers.iter().flatten() {
            if !(EMERGENCY.least..=EMERGENCY.most).contains(&number.len())
                || !number.bytes().all(|byte| byte.is_ascii_digit())
            {
                let what = format!("\"{}\" is no emergency number", shown(number));
                fields.refuse(number.place, what, "write 2 to 6 digits, like \"911\"");
            }
        }
        if fields.is_empty_list("numbers") {
            let place = fields.written().into_iter().find(|(key, _)| *key == "numbers");
            let place = place.map_or(fields.place, |(_, place)| place);
            let what = "numbers is empty: nobody could call for help".into();
            fields.refuse(place, what, "write numbers = [\"911\"], or leave it out");
        }
        let trunk = fields.some_text("trunk");
        fields.finish();
        EmergencyKeys {
            numbers: numbers.map(|list| list.into_iter().map(|at| at.value).collect()),
            trunk: trunk.and_then(|at| Some(At { value: at.value?, place: at.place })),
        }
    }

    pub fn over(self, base: EmergencyKeys) -> EmergencyKeys {
        EmergencyKeys { numbers: self.numbers.or(base.numbers), trunk: self.trunk.or(base.trunk) }
    }

    pub fn into_emergency(self) -> Emergency {
        let default = Emergency::default();
        Emergency { numbers: self.numbers.unwrap_or(default.numbers), trunk: self.trunk }
    }
}

impl DialKeys {
    pub fn read(fields: &Fields<'_>) -> DialKeys {
        let prefixes = |key| fields.prefixes(key).map(|list| list.value.iter().map(|at| at.value).collect());
        let keys = DialKeys { allow: prefixes("allow"), deny: prefixes("deny") };
        fields.finish();
        keys
    }

    pub fn over(self, base: DialKeys) -> DialKeys {
        DialKeys { allow: self.allow.or(base.allow), deny: self.deny.or(base.deny) }
    }

    pub fn into_dial(self, country: Country) -> Dial {
        let default = Dial::of(country);
        Dial { allow: self.allow.unwrap_or(default.allow), deny: self.deny.unwrap_or(default.deny) }
    }
}

fn texts<S: serde::Serializer>(prefixes: &[Prefix], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(prefixes.iter().map(ToString::to_string))
}
