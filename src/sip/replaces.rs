//! The dialog that an INVITE is to take the place of (RFC 3891).

use super::header::Params;
use super::header::chars;

/// A Replaces value: a dialog as whoever gets the INVITE knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    pub call_id: &'a [u8],
    /// The tag of whoever gets the INVITE.
    pub to_tag: &'a [u8],
    pub from_tag: &'a [u8],
    /// Only where that dialog is not answered yet (RFC 3891 §6.1).
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// `None` where it has no Call-ID, or not exactly one of each tag.
    pub fn parse(value: &'a [u8]) -> Option<Replaces<'a>> {
        let value = chars::trim(value);
        let (call_id, params) = value.split_at_checked(memchr::memchr(b';', value)?)?;
        let call_id = chars::trim(call_id);
        let one = |name: &str| {
            let mut found =
                Params::new(params).filter(|param| param.name.eq_ignore_ascii_case(name.as_bytes()));
            let value = found.next()?.value.filter(|value| !value.is_empty())?;
            found.next().is_none().then_some(value)
        };
        let (to_tag, from_tag) = (one("to-tag")?, one("from-tag")?);
        let early_only = Params::new(params).get("early-only").is_some();
        let is_word = !call_id.is_empty() && chars::is_graphic(call_id);
        is_word.then_some(Replaces { call_id, to_tag, from_tag, early_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_named_by_its_call_id_and_both_tags() {
        let read = Replaces::parse(b" 12@a ; from-tag=one;to-tag=two;early-only").expect("a Replaces");
        assert_eq!(read, Replaces { call_id: b"12@a", to_tag: b"two", from_tag: b"one", early_only: true });
        assert!(!Replaces::parse(b"12@a;to-tag=two;from-tag=one;x=y").expect("a Replaces").early_only);
        for broken in [
            "",
            "12@a",
            ";to-tag=1;from-tag=2",
            "12@a;to-tag=1",
            "12@a;from-tag=1",
            "12@a;to-tag=1;from-tag=",
            "12@a;to-tag=1;to-tag=2;from-tag=3",
            "1 2@a;to-tag=1;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(broken.as_bytes()), None, "{broken}");
        }
    }
}
