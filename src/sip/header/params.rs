//! Parameters: `;name=value` after a header value or inside a URI.

use super::chars;

/// One parameter, white space around its parts taken off; a quoted value keeps its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The parameters in order. Reads `;a=b;c`, the first semicolon included or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    pub fn new(raw: &'a [u8]) -> Self {
        let raw = chars::trim(raw);
        Params { rest: raw.strip_prefix(b";").unwrap_or(raw) }
    }

    /// The value of the first parameter of that name, in whatever case; empty for one without a value.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.named(name).map(|param| param.value.unwrap_or_default())
    }

    /// The first parameter of that name, in whatever case.
    pub fn named(mut self, name: &str) -> Option<Param<'a>> {
        self.find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Hands over each of the parameters after a header value (RFC 3261 §25.1 `generic-param`): nothing, or each with
    /// its semicolon, a token for a name, and a value where there is an equals sign. `None` as soon as one is not well
    /// formed, or `take` refuses it.
    pub(crate) fn each_well_formed(
        raw: &'a [u8],
        mut take: impl FnMut(Param<'a>) -> Option<()>,
    ) -> Option<()> {
        let mut rest = chars::trim_start(raw);
        while let Some(after) = rest.strip_prefix(b";") {
            let after = chars::trim_start(after);
            let (name, after) = after.split_at(chars::token_run(after));
            if name.is_empty() {
                return None;
            }
            rest = chars::trim_start(after);
            let mut value = None;
            if let Some(after) = rest.strip_prefix(b"=") {
                let after = chars::trim_start(after);
                let (text, after) = after.split_at(value_run(after)?);
                value = Some(text);
                rest = chars::trim_start(after);
            }
            take(Param { name, value })?;
        }
        rest.is_empty().then_some(())
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        while !self.rest.is_empty() {
            let end = param_end(self.rest);
            let (one, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let param = read(one);
            if !param.name.is_empty() {
                return Some(param);
            }
        }
        None
    }
}

fn read(one: &[u8]) -> Param<'_> {
    match memchr::memchr(b'=', one) {
        Some(equals) => {
            Param { name: chars::trim(&one[..equals]), value: Some(chars::trim(&one[equals + 1..])) }
        }
        None => Param { name: chars::trim(one), value: None },
    }
}

fn param_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b';', b'"', &bytes[at..]) {
        at += found;
        if bytes[at] == b';' {
            return at;
        }
        match chars::quoted_run(&bytes[at..]) {
            Some(length) => at += length,
            None => return bytes.len(),
        }
    }
    bytes.len()
}

/// The length of the value at the front: a quoted string, or one word without white space, comma or quote.
#[inline]
fn value_run(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => chars::quoted_run(bytes),
        _ => Some(chars::word_run(bytes)).filter(|&length| length > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::{Param, Params};

    #[test]
    fn parameters_are_read_with_space_folding_and_quotes() {
        let params = Params::new(b";\r\n tag = 98;lr; Text=\"a;b=\\\"c\" ;q=0.3");
        assert_eq!(params.get("TAG"), Some(&b"98"[..]));
        assert_eq!(params.named("lr"), Some(Param { name: b"lr", value: None }));
        assert_eq!(params.get("text"), Some(&b"\"a;b=\\\"c\""[..]));
        assert_eq!(params.get("q"), Some(&b"0.3"[..]));
        assert_eq!(params.get("a"), None);
        assert_eq!(params.count(), 4);
    }

    #[test]
    fn stray_separators_are_not_well_formed() {
        let are_well_formed = |text: &str| Params::each_well_formed(text.as_bytes(), |_| Some(())).is_some();
        for good in ["", " ", ";a", ";a=b;c = \"d;e\" ", ";received=[2001:db8::1]"] {
            assert!(are_well_formed(good), "{good}");
        }
        for bad in [";", ";;a", ";a;", ";a=", ";=b", "a", ";a=\"b", ";a b", ";a=b c", ";a=b,"] {
            assert!(!are_well_formed(bad), "{bad}");
        }
    }
}
