//! `Wall` as RFC 3339 text in UTC with milliseconds: `2026-11-01T10:00:00.000Z`.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::time::Wall;

/// How long every such text is.
pub const LEN: usize = 24;

/// 9999-12-31T23:59:59.999Z: RFC 3339 has no fifth digit of a year.
const LAST_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

/// Stands for the text in a JSON Schema.
pub struct Text;

impl schemars::JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        })
    }
}

/// A UTC day, counted from 1970-01-01, as (year, month, day) of the Gregorian calendar.
///
/// Years run from March here, so that the leap day is the last of its year and every month's start is
/// a linear function of its number.
pub const fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_month)
}

/// Writes the text of a moment. No allocation.
pub fn write(wall: Wall) -> [u8; LEN] {
    let ms = wall.0.min(LAST_MS);
    let (year, month, day) = civil(ms / DAY_MS);
    let second = ms % DAY_MS / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (at, value) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, hour),
        (14, minute),
        (17, second),
        (20, ms % 1_000 / 10),
    ] {
        text[at..at + 2].copy_from_slice(&PAIRS[value as usize]);
    }
    text[22] += (ms % 10) as u8;
    text
}

/// The digits of 0 to 99: each costs a division to find.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [*b"00"; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// The text as a `String`, for logs and messages.
pub fn to_string(wall: Wall) -> String {
    String::from_utf8_lossy(&write(wall)).into_owned()
}

/// Reads any RFC 3339 moment from 1970 on; what is finer than a millisecond is cut off.
pub fn read(text: &str) -> Option<Wall> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_millisecond()).ok().map(Wall)
}

pub fn serialize<S: Serializer>(wall: &Wall, to: S) -> Result<S::Ok, S::Error> {
    let text = write(*wall);
    to.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Wall, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    read(&text).ok_or_else(|| D::Error::custom("a time is RFC 3339, such as 2026-11-01T10:00:00.000Z"))
}

/// The same for a moment that may be absent.
pub mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Wall;

    pub fn serialize<S: Serializer>(wall: &Option<Wall>, to: S) -> Result<S::Ok, S::Error> {
        match wall {
            Some(wall) => super::serialize(wall, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Wall>, D::Error> {
        struct Present(Wall);
        impl<'de> Deserialize<'de> for Present {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                super::deserialize(from).map(Present)
            }
        }
        Ok(Option::<Present>::deserialize(from)?.map(|present| present.0))
    }
}
