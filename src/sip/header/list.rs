//! Several values in one line (RFC 3261 §7.3.1).

use super::chars;

/// The comma-separated values of one field, each trimmed. Commas in quoted strings and between `<` and `>`
/// separate nothing; empty values are passed over.
#[derive(Clone, Debug)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> List<'a> {
    pub const fn new(value: &'a [u8]) -> Self {
        List { rest: value }
    }

    /// Whether it has this token, in whatever case.
    pub fn has_token(mut self, token: &[u8]) -> bool {
        match memchr::memchr2(b'"', b'<', self.rest) {
            Some(_) => self.any(|value| value.eq_ignore_ascii_case(token)),
            // Every comma separates.
            None => self.rest.split(|&byte| byte == b',').any(|value| chars::is(chars::trim(value), token)),
        }
    }

    /// What stands after the values that were taken so far.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let list = chars::trim_start(self.rest);
            let (element, rest) = list.split_at(element_end(list));
            self.rest = rest.get(1..).unwrap_or_default();
            let element = chars::trim_end(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

fn element_end(bytes: &[u8]) -> usize {
    // Lists of tokens have short elements: methods, option tags.
    let mut at = chars::token_run(bytes);
    if matches!(bytes.get(at), None | Some(b',')) {
        return at;
    }
    while let Some(found) = memchr::memchr3(b',', b'"', b'<', &bytes[at..]) {
        at += found;
        let skipped = match bytes[at] {
            b',' => return at,
            b'"' => chars::quoted_run(&bytes[at..]),
            _ => memchr::memchr(b'>', &bytes[at..]).map(|close| close + 1),
        };
        match skipped {
            Some(length) => at += length,
            // Never closed: the rest is one value, whose own reader will refuse it.
            None => return bytes.len(),
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{List, chars};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_list_without_quotes_and_brackets_is_split_at_its_commas(text in "[A-Za-z0-9;=:@/. \t\r\n,]{0,60}") {
            let plain = text.as_bytes().split(|&byte| byte == b',').map(chars::trim);
            prop_assert!(List::new(text.as_bytes()).eq(plain.filter(|value| !value.is_empty())), "{}", text);
        }

        #[test]
        fn a_token_is_found_where_it_is_one_of_the_values(text in "([AaBb\"<>\\\\]{0,2}[ ,]{0,2}){0,8}") {
            let list = List::new(text.as_bytes());
            let found = list.clone().any(|value| value.eq_ignore_ascii_case(b"ab"));
            prop_assert_eq!(list.has_token(b"AB"), found, "{}", text);
        }
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        let value = b" \"Watson, Th\\\"omas\" <sip:a,b@c;x=1,2> ;q=0.1 ,, <sip:d@e>,\r\n plain";
        let values: Vec<_> = List::new(value).map(String::from_utf8_lossy).collect();
        assert_eq!(values, ["\"Watson, Th\\\"omas\" <sip:a,b@c;x=1,2> ;q=0.1", "<sip:d@e>", "plain"]);
        assert_eq!(List::new(b" , ,").count(), 0);
        assert_eq!(List::new(b"\"open, a").collect::<Vec<_>>(), [b"\"open, a"]);
    }
}
