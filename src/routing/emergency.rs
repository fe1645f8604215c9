//! Emergency numbers: which they are, through which trunks they go, and who is called back (R13).

use std::fmt;
use std::sync::Arc;

use super::plan::Text;
use super::trunk::{Trunk, without_parameters};
use crate::config;
use crate::number::E164;

/// What is called at a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    Number(E164),
    /// An emergency number as the carriers know it: `911`.
    Emergency(Text),
}

impl Called {
    /// What is made of it as this trunk wants numbers written; an emergency number has one form everywhere.
    pub fn with_text<T>(&self, trunk: &Trunk, make: impl FnOnce(&str) -> T) -> T {
        match self {
            Called::Number(number) => trunk.with_number(*number, make),
            Called::Emergency(number) => make(number),
        }
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Called::Number(number) => number.fmt(f),
            Called::Emergency(number) => f.write_str(number),
        }
    }
}

/// What a call may set aside (R13).
#[derive(Clone, Debug, Default)]
pub enum Urgency {
    #[default]
    Ordinary,
    /// A call to an emergency number: it skips every limit, block and feature. Through these trunks, one after
    /// another.
    Emergency(Arc<[Arc<Trunk>]>),
    /// To somebody who has just made such a call: it skips them too.
    CallBack,
}

impl Urgency {
    /// Whether limits and blocks hold.
    pub const fn is_ordinary(&self) -> bool {
        matches!(self, Urgency::Ordinary)
    }

    pub const fn is_emergency(&self) -> bool {
        matches!(self, Urgency::Emergency(_))
    }
}

/// The services that RFC 5031 §4.2 names: all of them begin so, in whatever case.
const SERVICE: &str = "urn:service:sos";

/// `[emergency]` of one generation.
#[derive(Debug, Default)]
pub struct Emergency {
    numbers: Box<[Text]>,
    /// `trunk`, then every outbound trunk, whatever its prefixes.
    pub(super) ways: Arc<[Arc<Trunk>]>,
}

impl Emergency {
    pub(super) fn new(emergency: &config::Emergency, trunks: &[Arc<Trunk>]) -> Emergency {
        let named = emergency.trunk.as_ref().map(|at| &*at.value);
        let mut ways: Vec<&Arc<Trunk>> = trunks
            .iter()
            .filter(|trunk| !trunk.gateways.is_empty() && (trunk.outbound || named == Some(&*trunk.name)))
            .collect();
        ways.sort_by_key(|trunk| (named != Some(&*trunk.name), trunk.priority));
        Emergency {
            numbers: emergency.numbers.iter().map(|number| Text::from(&**number)).collect(),
            ways: ways.into_iter().cloned().collect(),
        }
    }

    /// The emergency number that somebody dialled: one of `numbers`, visual separators and parameters aside, or
    /// `urn:service:sos` and its kin, for which the first of them stands.
    ///
    /// `dialled` is a user part, its escapes undone, or what stands behind `tel:`, or the URN.
    pub fn called(&self, dialled: &str) -> Option<&Text> {
        if is_service(dialled) {
            return self.numbers.first();
        }
        let is_digit = |byte: &u8| !matches!(byte, b'-' | b'.' | b'(' | b')' | b' ');
        let digits = || without_parameters(dialled).bytes().filter(is_digit);
        self.numbers.iter().find(|number| number.bytes().eq(digits()))
    }
}

/// Whether it is the URN of an emergency service (RFC 5031).
pub fn is_service(uri: &str) -> bool {
    let head = uri.get(..SERVICE.len());
    let rest = uri.get(SERVICE.len()..).unwrap_or_default();
    head.is_some_and(|head| head.eq_ignore_ascii_case(SERVICE))
        && matches!(rest.bytes().next(), None | Some(b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_an_emergency_number_is_known_however_it_is_dialled() {
        let emergency = Emergency::new(&config::Emergency::default(), &[]);
        let called = |dialled| emergency.called(dialled).map(|number| &**number);
        for dialled in
            ["911", "9-1-1", "(911)", "911;phone-context=+1", "urn:service:sos", "URN:Service:SOS.fire"]
        {
            assert_eq!(called(dialled), Some("911"), "{dialled}");
        }
        assert_eq!(called("112"), Some("112"));
        for other in
            ["", "91", "9111", "+911", "urn:service:sosa", "urn:service:counseling", "urn:service:", "19"]
        {
            assert_eq!(called(other), None, "{other}");
        }
    }
}
