use super::{BadUri, Uri};
use crate::sip::header::{Params, chars};

/// A `name-addr` or `addr-spec` with its header parameters: From, To, Contact, Route, Diversion …
/// (RFC 3261 §20.10, §25.1).
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// As it came: a quoted string keeps its quotes. `None` where there is none; may be empty quotes.
    pub display: Option<&'a [u8]>,
    pub uri: Uri<'a>,
    /// The URI without its angle brackets.
    pub uri_raw: &'a [u8],
    /// What follows the URI, from the first semicolon on.
    pub params: &'a [u8],
    /// The whole value as it came.
    pub raw: &'a [u8],
    /// The first `tag` of the parameters, which are walked through in any case.
    tag: Option<&'a [u8]>,
}

impl<'a> Address<'a> {
    /// The URI as a Request-URI may have it: without its headers (RFC 3261 §19.1.1).
    pub fn target(&self) -> &'a [u8] {
        let behind = self.uri_raw.len().saturating_sub(self.uri.headers.len());
        let before = &self.uri_raw[..behind];
        before.strip_suffix(b"?").unwrap_or(before)
    }

    /// Reads one value (not a list; see `List`).
    ///
    /// # Errors
    /// The part that is not as RFC 3261 §25.1 wants it. Unquoted display names may have UTF-8, which phones
    /// send.
    pub fn parse(value: &'a [u8]) -> Result<Address<'a>, BadUri> {
        match plain(value) {
            Some(address) => Ok(address),
            None => Address::parse_any(value),
        }
    }

    #[inline(never)]
    fn parse_any(value: &'a [u8]) -> Result<Address<'a>, BadUri> {
        let raw = chars::trim(value);
        let (display, uri_raw, params) = split(raw)?;
        // The fault of the URI counts first.
        let uri = Uri::parse(uri_raw)?;
        let tag = tag_of(params).ok_or(BadUri::AddressParams)?;
        Ok(Address { display, uri, uri_raw, params, raw, tag })
    }

    /// The `tag` of a From or To.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag
    }

    /// A header parameter's value (not one of the URI), empty for one without a value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        Params::new(self.params).get(name)
    }

    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }
}

/// An address as nearly all write it: `"display" <sip:user@host:port>;tag=token`, of which only the URI has
/// to be there, and no white space but the one. What the general reader reads, or nothing.
#[inline(always)]
fn plain(raw: &[u8]) -> Option<Address<'_>> {
    let (display, rest) = match raw {
        [b'"', ..] => {
            let (display, rest) = raw.split_at_checked(chars::quoted_run(raw)?)?;
            (Some(display), rest.strip_prefix(b" <")?)
        }
        [b'<', rest @ ..] => (None, rest),
        _ => return None,
    };
    let (uri, rest) = super::plain(rest)?;
    let params = rest.strip_prefix(b">")?;
    let tag = match params {
        [] => None,
        [b';', .., b'!'..=0xff] => tag_of(params)?,
        _ => return None,
    };
    Some(Address { display, uri, uri_raw: uri.raw, params, raw, tag })
}

/// The first `tag` of the parameters. `None` where they are not well formed.
#[inline(always)]
fn tag_of(params: &[u8]) -> Option<Option<&[u8]>> {
    // As nearly all From and To have it.
    if let Some(tag) = params.strip_prefix(b";tag=")
        && !tag.is_empty()
        && chars::word_run(tag) == tag.len()
    {
        return Some(Some(tag));
    }
    first_tag(params)
}

#[inline(never)]
fn first_tag(params: &[u8]) -> Option<Option<&[u8]>> {
    let mut tag = None;
    Params::each_well_formed(params, |param| {
        if tag.is_none() && chars::is(param.name, b"tag") {
            tag = Some(param.value.unwrap_or_default());
        }
        Some(())
    })?;
    Some(tag)
}

/// Display name, URI and parameters of a trimmed value.
type Parts<'a> = (Option<&'a [u8]>, &'a [u8], &'a [u8]);

#[inline]
fn split(raw: &[u8]) -> Result<Parts<'_>, BadUri> {
    let (display, rest) = match raw {
        [b'<', rest @ ..] => (None, rest),
        [b'"', ..] => {
            let end = chars::quoted_run(raw).ok_or(BadUri::Display)?;
            let rest = chars::trim_start(&raw[end..]);
            (Some(&raw[..end]), rest.strip_prefix(b"<").ok_or(BadUri::Display)?)
        }
        _ => match raw.iter().position(|&byte| matches!(byte, b'<' | b';')) {
            Some(at) if raw[at] == b'<' => {
                let display = chars::trim(&raw[..at]);
                if !display.iter().all(|&byte| chars::is_display_byte(byte)) {
                    return Err(BadUri::Display);
                }
                ((!display.is_empty()).then_some(display), &raw[at + 1..])
            }
            at => return bare(raw, at.unwrap_or(raw.len())),
        },
    };
    let close = chars::find::<b'>'>(rest).ok_or(BadUri::Bracket)?;
    Ok((display, &rest[..close], chars::trim(&rest[close + 1..])))
}

/// A URI without angle brackets, whose parameters are those of the header.
fn bare(raw: &[u8], end: usize) -> Result<Parts<'_>, BadUri> {
    let uri_raw = chars::trim(&raw[..end]);
    if memchr::memchr2(b',', b'?', uri_raw).is_some() {
        return Err(BadUri::NeedsBrackets);
    }
    Ok((None, uri_raw, &raw[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super as uri;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_tag_is_the_parameter_of_that_name(
            params in "(\\s?;\\s?(tag|TAG|a|b\\.c)(\\s?=\\s?([a-z0-9=.]{1,9}|\"[a-z;=, ]{0,9}\"))?){0,4}",
        ) {
            for before in ["<sip:a@b>", "\"a;tag=b\" <sip:a@b;tag=c>", "sip:a@b", "tel:+12015550101"] {
                let text = format!("{before}{params}");
                if let Ok(address) = Address::parse(text.as_bytes()) {
                    prop_assert_eq!(address.tag(), address.param("tag"), "{}", text);
                }
            }
        }
    }

    /// Addresses, and what is one but for a byte or two.
    fn nearly_an_address() -> impl Strategy<Value = Vec<u8>> {
        let written = "(\"([A-Z ]|\\\\.){0,4}\" ?)?<?sip:([a-z0-9+%:;?]{0,9}@)?[a-z0-9.-]{1,12}(:[0-9]{1,6})?(;[a-z=]{1,9})?\
            (\\?a=b)?>?( ?;(tag|TAG|x)(=([a-z0-9=<>.]{1,9}|\"[a-z, ]{0,4}\"))?){0,2} ?";
        let telling = proptest::sample::select(b" \t\r\n\0\"\\<>;:=@,?%[]\x7f\x80\xff09az".to_vec());
        let mutations = proptest::collection::vec((any::<proptest::sample::Index>(), telling), 0..3);
        (written, mutations).prop_map(|(text, mutations)| {
            let mut bytes = text.into_bytes();
            for (at, byte) in mutations {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn the_plain_reader_reads_nothing_otherwise_than_the_general_one(bytes in nearly_an_address()) {
            if let Some(plain) = plain(&bytes) {
                prop_assert_eq!(format!("{:?}", Address::parse_any(&bytes)), format!("{:?}", Ok::<_, BadUri>(plain)));
            }
            let uri = bytes.strip_prefix(b"<").unwrap_or(&bytes);
            if let Some((plain, [])) = uri::plain(uri) {
                prop_assert_eq!(format!("{:?}", Uri::parse_any(uri)), format!("{:?}", Ok::<_, BadUri>(plain)));
            }
        }
    }

    #[test]
    fn what_nearly_all_write_is_plain() {
        for text in [
            "<sip:192.0.2.1>",
            "<sip:bob@example.com:5060>;tag=98asjd8",
            "\"Bob \\\"B\\\" Ray\" <sip:+12015550101@192.0.2.1:65535;user=phone>;tag=a=b",
            "<sip:bob@example.com>;expires=60;q=\"1\"",
        ] {
            assert!(plain(text.as_bytes()).is_some(), "{text}");
        }
    }

    fn address(text: &str) -> Address<'_> {
        Address::parse(text.as_bytes()).unwrap_or_else(|bad| panic!("{text}: {bad}"))
    }

    #[test]
    fn all_the_ways_to_write_one() {
        let quoted = address("\"J Rosenberg \\\\\\\"\"   <sip:jdrosen@example.com>\r\n ;\r\n tag = 98asjd8");
        assert_eq!(quoted.display, Some(&b"\"J Rosenberg \\\\\\\"\""[..]));
        assert_eq!(quoted.uri_raw, b"sip:jdrosen@example.com");
        assert_eq!(quoted.tag(), Some(&b"98asjd8"[..]));

        let close = address("caller<sip:caller@example.com>;tag=323");
        assert_eq!(close.display, Some(&b"caller"[..]));
        let tokens = address("Agent  Smith <sip:smith@example.com;user=phone>");
        assert_eq!(tokens.display, Some(&b"Agent  Smith"[..]));
        assert_eq!(tokens.uri.param("user"), Some(&b"phone"[..]));
        assert_eq!(tokens.param("user"), None);

        let bare = address("sip:a@b.example ;   tag    = 1918181833n");
        assert_eq!(bare.display, None);
        assert_eq!(bare.tag(), Some(&b"1918181833n"[..]));
        assert_eq!(bare.uri.param("tag"), None);
        assert_eq!(address("tel:+12015550101;tag=9").tag(), Some(&b"9"[..]));
    }

    #[test]
    fn what_cannot_be_read_for_sure_is_refused() {
        for (text, why) in [
            ("\"Mr. J. User <sip:j.user@example.com>", BadUri::Display),
            ("Bell, Alexander <sip:a.g.bell@example.com>;tag=43", BadUri::Display),
            ("\"Watson, Thomas\" < sip:t.watson@example.org >", BadUri::Scheme),
            ("sip:user@example.com?Route=%3Csip:sip.example.com%3E", BadUri::NeedsBrackets),
            ("<sip:a@b", BadUri::Bracket),
            ("<sip:a@b>;;tag=1", BadUri::AddressParams),
            ("<sip:a@b> tag=1", BadUri::AddressParams),
            ("\"x\" sip:a@b", BadUri::Display),
            ("", BadUri::Scheme),
        ] {
            assert_eq!(Address::parse(text.as_bytes()).err(), Some(why), "{text}");
        }
    }

    #[test]
    fn a_target_has_no_headers() {
        for (address, target) in [
            ("<sip:c@h?x=y>", "sip:c@h"),
            ("<sip:c@h;lr?x=y&z>;q=1", "sip:c@h;lr"),
            ("<sip:c@h?>", "sip:c@h"),
            ("<sip:c?d@h>", "sip:c?d@h"),
            ("<sip:c?d@h?e=f>", "sip:c?d@h"),
            ("sip:c@h;q=1", "sip:c@h"),
        ] {
            let target_of = Address::parse(address.as_bytes()).map(|address| address.target().to_vec());
            assert_eq!(target_of.ok().as_deref(), Some(target.as_bytes()), "{address}");
        }
    }
}
