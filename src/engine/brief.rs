//! Numbers and addresses as the log shows them above DEBUG: enough to find them again, too little to call.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::sip::shown::Word;

/// A number as the log shows it: its beginning and its end.
pub struct Short<'a>(pub &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: (usize, usize) = (5, 2);
        let begin = self.0.char_indices().nth(SHOWN.0);
        let end = self.0.char_indices().nth_back(SHOWN.1 - 1);
        match (begin, end) {
            (Some((begin, _)), Some((end, _))) if begin < end => {
                let (begin, end) = (&self.0[..begin], &self.0[end..]);
                write!(f, "{}…{}", Word(begin), Word(end))
            }
            (Some(_) | None, _) => f.write_str("…"),
        }
    }
}

/// An address as the log shows it: its net.
pub struct Place(pub SocketAddr);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{a}.{b}.{c}.…")
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "[{a:x}:{b:x}:{c:x}:…]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_neither_a_whole_number_nor_a_whole_address() {
        assert_eq!(Short("+12015550101").to_string(), "+1201…01");
        assert_eq!(Short("anonym").to_string(), "…");
        assert_eq!(Short("1234567").to_string(), "…");
        assert_eq!(Short("1 \"\n5678\u{1b}9").to_string(), "1\\u{20}\\u{22}\\u{a}5…\\u{1b}9");
        assert_eq!(Short("ä234567é").to_string(), "ä2345…7é");
        assert_eq!(Place(SocketAddr::from(([192, 0, 2, 7], 5060))).to_string(), "192.0.2.…");
        assert_eq!(Place("[2001:db8:1:2::3]:5060".parse().unwrap()).to_string(), "[2001:db8:1:…]");
    }
}
