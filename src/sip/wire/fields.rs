//! The header fields of a message, in its turn or kept beyond it.

use super::{Entry, Fault, Message};
use crate::sip::header::{List, Name, chars};

/// One header field, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: Name,
    pub raw_name: &'a [u8],
    /// Without white space around it; folding inside is left in.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The full spelling of its name: its RFC's where we know it, else as it came.
    pub fn spelling(&self) -> &'a [u8] {
        if self.name == Name::Other { self.raw_name } else { self.name.token().as_bytes() }
    }
}

/// The header fields of one message, found by name.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'m, 'a> {
    pub(super) raw: &'a [u8],
    pub(super) entries: &'m [Entry],
}

impl<'m, 'a: 'm> Fields<'m, 'a> {
    /// Every field in order.
    pub fn iter(self) -> impl Iterator<Item = Field<'a>> + use<'m, 'a> {
        self.entries.iter().map(move |entry| entry.field(self.raw))
    }

    /// The fields whose names are wanted, in order.
    pub fn named(self, wanted: impl Fn(Name) -> bool) -> impl Iterator<Item = Field<'a>> {
        self.entries.iter().filter(move |entry| wanted(entry.name)).map(move |entry| entry.field(self.raw))
    }

    /// The value of the first field of that name.
    pub fn get(self, name: Name) -> Option<&'a [u8]> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.value(self.raw))
    }

    /// The values of all fields of that name, in order, each as it stands in its line.
    pub fn all(self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'m, 'a> {
        self.entries.iter().filter(move |entry| entry.name == name).map(move |entry| entry.value(self.raw))
    }

    /// The values of the fields of that spelling, in any case, whether the name is known or not.
    pub fn all_named<'n>(self, spelling: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'m, 'n, 'a> {
        let wanted = Name::parse(spelling.as_bytes());
        let hit = move |field: &Field<'a>| {
            field.name == wanted
                && (wanted != Name::Other || field.raw_name.eq_ignore_ascii_case(spelling.as_bytes()))
        };
        self.iter().filter(hit).map(|field| field.value)
    }

    /// The comma-separated values of all fields of that name, each trimmed; commas in quoted strings and in
    /// angle brackets separate nothing.
    pub fn list(self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'m, 'a> {
        self.all(name).flat_map(List::new)
    }

    /// Hops left. `None` where the header is missing (RFC 2543 peers; RFC 3261 §16.6 then sets 70).
    ///
    /// # Errors
    /// `Fault::Bad` where it is no number from 0 to 255 (RFC 3261 §20.22).
    pub fn max_forwards(self) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(Name::MaxForwards) else { return Ok(None) };
        let hops = chars::number(value).and_then(|hops| u8::try_from(hops).ok());
        hops.map(|hops| Some(u32::from(hops))).ok_or(Fault::Bad(Name::MaxForwards))
    }

    /// The value of a header that holds one number in seconds or a count (Expires, Min-SE, Session-Expires,
    /// RSeq), parameters after it left out. `None` where it is missing or no number below 2³².
    pub fn number(self, name: Name) -> Option<u32> {
        let value = self.get(name)?;
        let end = memchr::memchr2(b';', b' ', value).unwrap_or(value.len());
        chars::number(chars::trim(&value[..end])).and_then(|number| u32::try_from(number).ok())
    }
}

/// The head of a message that outlives its turn, with the index that was made of it: nothing is read twice.
/// Two allocations, of its size.
#[derive(Debug, Default)]
pub struct Kept {
    raw: Box<[u8]>,
    entries: Box<[Entry]>,
}

impl Kept {
    /// Keeps the head of a message; its body is not kept.
    pub fn of(message: &Message<'_>) -> Kept {
        let head = message.raw.get(..usize::from(message.body_at)).unwrap_or_default();
        Kept { raw: head.into(), entries: message.fields.as_slice().into() }
    }

    pub fn fields(&self) -> Fields<'_, '_> {
        Fields { raw: &self.raw, entries: &self.entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_head_has_the_fields_of_its_message() {
        let text = b"\r\nINVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@b>;tag=1\r\n\
            To: <sip:c@d>\r\ni: x@y\r\nCSeq: 1 INVITE\r\nX-One: 1\r\nx-one:\r\n 2\r\nMax-Forwards: 7\r\n\r\nbody";
        let message = Message::parse(text).expect("a request");
        let kept = Kept::of(&message);
        assert!(kept.fields().iter().eq(message.fields()));
        assert_eq!(kept.fields().all_named("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(kept.fields().get(Name::CallId), Some(&b"x@y"[..]));
        assert_eq!(kept.fields().max_forwards(), Ok(Some(7)));
        assert_eq!(kept.fields().get(Name::Subject), None);
        assert!(!kept.raw.ends_with(b"body"));
    }
}
