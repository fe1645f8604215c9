//! E.164 numbers, prefixes of them, and how a country writes them (R2). Owns no state, knows no SIP and no
//! configuration; every other room may use it.

mod country;
mod prefix;

pub(crate) use country::read_digits;
pub use country::{Country, national, read};
pub use prefix::Prefix;

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::str::FromStr;

/// The longest number, in digits (ITU-T E.164 §6).
pub const MAX_DIGITS: usize = 15;
/// The shortest number that we take for one, in digits (R2).
pub const MIN_DIGITS: usize = 7;

/// A whole international number: 7 to 15 digits, exactly 11 with country code 1 (R2).
///
/// Eight bytes: the digits as nibbles from the top, their count in the lowest one. So numbers order as their
/// text does, and a prefix is a mask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct E164(NonZeroU64);

impl E164 {
    /// Reads `+` and digits, nothing else; visual separators are the business of [`read`].
    pub fn parse_e164(text: &str) -> Result<E164, BadNumber> {
        let digits = text.strip_prefix('+').ok_or_else(|| BadNumber::new(text, Fault::NoPlus))?;
        E164::from_digits(digits).map_err(|fault| BadNumber::new(text, fault))
    }

    fn from_digits(digits: &str) -> Result<E164, Fault> {
        let bits = pack(digits).ok_or(if digits.bytes().all(|b| b.is_ascii_digit()) {
            Fault::TooLong
        } else {
            Fault::NotDigits
        })?;
        match digits.len() {
            0..MIN_DIGITS => Err(Fault::TooShort),
            len if len != 11 && digits.starts_with('1') => Err(Fault::NotElevenInCountryOne),
            // Their count makes it more than 0.
            _ => NonZeroU64::new(bits).map(E164).ok_or(Fault::TooShort),
        }
    }

    /// The digits without the `+`, on the stack.
    pub fn digits(self) -> Digits {
        let bits = self.to_bits();
        let (high, low) = (digits_of((bits >> 32) as u32), digits_of(bits as u32));
        // The `+` comes in at the front, and their count leaves at the end.
        let digits = (u128::from(high) << 64 | u128::from(low)) >> 8;
        Digits { text: (digits | u128::from(b'+') << 120).to_be_bytes(), len: self.len() }
    }

    /// How many digits it has, 7 to 15.
    #[expect(clippy::len_without_is_empty, reason = "a number is never empty")]
    pub const fn len(self) -> usize {
        (self.to_bits() & 0xF) as usize
    }

    /// Whether the digits begin with these (no `+`). False when `prefix` holds anything but digits.
    pub fn starts_with_digits(self, prefix: &str) -> bool {
        Prefix::from_digits(prefix).is_some_and(|prefix| prefix.covers(self))
    }

    /// The packed form, for tables that store it.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.digits().with_plus())
    }
}

/// The same text as `to_string` gives, for records: one allocation, of its size.
impl From<E164> for Box<str> {
    fn from(number: E164) -> Box<str> {
        number.digits().with_plus().into()
    }
}

/// Shortened, so that a log above DEBUG names no subscriber: `+1201…01`.
impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        write!(f, "+{}…{}", &digits[..4], &digits[digits.len() - 2..])
    }
}

impl FromStr for E164 {
    type Err = BadNumber;

    fn from_str(text: &str) -> Result<E164, BadNumber> {
        E164::parse_e164(text)
    }
}

impl serde::Serialize for E164 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for E164 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<E164, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        E164::parse_e164(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for E164 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "E164".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An E.164 number: + and 7 to 15 digits, exactly 11 with country code 1.",
            "pattern": r"^\+(1[0-9]{10}|[02-9][0-9]{6,14})$",
        })
    }
}

/// The digits of a number, without the `+`. Aligned, for std reads words of a text only where one begins.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
pub struct Digits {
    /// `+`, the digits, and something that is UTF-8 as well.
    text: [u8; MAX_DIGITS + 1],
    len: usize,
}

impl Digits {
    /// The same behind their `+`.
    pub fn with_plus(&self) -> &str {
        str::from_utf8(&self.text).ok().and_then(|text| text.get(..=self.len)).unwrap_or_default()
    }
}

impl Deref for Digits {
    type Target = str;

    fn deref(&self) -> &str {
        self.with_plus().get(1..).unwrap_or_default()
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits", self.len)
    }
}

/// Why a text is no number, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNumber {
    text: Box<str>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoPlus,
    NotDigits,
    TooShort,
    TooLong,
    NotElevenInCountryOne,
}

impl BadNumber {
    /// The longest part of a wrong text that a message repeats, in characters.
    const SHOWN: usize = 40;

    fn new(text: &str, fault: Fault) -> BadNumber {
        BadNumber { text: text.chars().take(Self::SHOWN).collect(), fault }
    }

    /// What would be right, as a half-sentence.
    pub fn remedy(&self) -> String {
        let digits: String = self.text.chars().filter(char::is_ascii_digit).collect();
        // Somebody who dials abroad writes 011 or 00; ten digits are a number of country code 1.
        let whole = digits.strip_prefix("011").or(digits.strip_prefix("00")).unwrap_or(&digits);
        let guess = match whole.len() {
            10 => E164::from_digits(&format!("1{whole}")),
            _ if whole.starts_with('0') => Err(self.fault),
            _ => E164::from_digits(whole),
        };
        match (self.fault, guess) {
            (Fault::NoPlus | Fault::NotDigits, Ok(number)) => format!("write \"{number}\""),
            (Fault::NotElevenInCountryOne, _) => {
                "a number of country code 1 is +1 and ten digits, like \"+12015550101\"".into()
            }
            (Fault::NoPlus | Fault::NotDigits | Fault::TooShort | Fault::TooLong, _) => {
                "write + and 7 to 15 digits, like \"+12015550101\"".into()
            }
        }
    }
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.fault {
            Fault::NoPlus => "it does not begin with +",
            Fault::NotDigits => "only digits may follow the +",
            Fault::TooShort => "it has fewer than 7 digits",
            Fault::TooLong => "it has more than 15 digits",
            Fault::NotElevenInCountryOne => "with country code 1 it must have exactly 11 digits",
        };
        write!(f, "\"{}\" is no E.164 number ({why})", self.text.escape_debug())
    }
}

impl std::error::Error for BadNumber {}

/// At most 15 digits as nibbles from the top, their count in the lowest nibble.
fn pack(digits: &str) -> Option<u64> {
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let mut bits = digits.len() as u64;
    for (place, byte) in digits.bytes().enumerate() {
        if !byte.is_ascii_digit() {
            return None;
        }
        bits |= u64::from(byte - b'0') << shift(place);
    }
    Some(bits)
}

const fn shift(place: usize) -> usize {
    60 - 4 * place
}

const fn nibble(bits: u64, place: usize) -> u8 {
    (bits >> shift(place) & 0xF) as u8
}

/// Eight nibbles as digits, the first on top: each step parts what stands together.
const fn digits_of(nibbles: u32) -> u64 {
    let fours = (nibbles as u64 | (nibbles as u64) << 16) & 0x0000_ffff_0000_ffff;
    let twos = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
    let ones = (twos | twos << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    ones | u64::from_ne_bytes([b'0'; 8])
}

#[cfg(test)]
mod tests;
