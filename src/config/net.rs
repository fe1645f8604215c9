//! The nets that a trunk sends from.

use std::net::{IpAddr, SocketAddr};

use super::fields::{Fields, shown};
use super::forms::NET;
use super::place::At;

/// An address, or all of a net; of one port, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// Its host bits are zero.
    pub addr: IpAddr,
    /// How many leading bits of an address must equal.
    pub bits: u8,
    pub port: Option<u16>,
}

impl Net {
    /// Reads `192.0.2.0/24`, `192.0.2.1`, `192.0.2.1:5060`, `192.0.2.0/24:5060`, `2001:db8::/32`,
    /// `[2001:db8::1]:5060` or `[2001:db8::]/32:5060`. Host bits behind the mask are refused.
    pub fn parse(text: &str) -> Option<Net> {
        let (addr, rest) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, ""),
            None => match text.find('/') {
                Some(slash) => text.split_at(slash),
                None => text.split_at(text.find(':').unwrap_or(text.len())),
            },
        };
        let addr: IpAddr = addr.parse().ok()?;
        let whole: u8 = if addr.is_ipv4() { 32 } else { 128 };
        let (bits, port) = match rest.strip_prefix('/') {
            Some(rest) => match rest.split_once(':') {
                Some((bits, port)) => (number_in(bits)?, Some(number_in(port)?)),
                None => (number_in(rest)?, None),
            },
            None if rest.is_empty() => (whole, None),
            None => (whole, Some(number_in(rest.strip_prefix(':')?)?)),
        };
        let net = Net { addr, bits, port };
        (bits <= whole && port != Some(0) && masked(addr, bits) == addr).then_some(net)
    }

    /// The net of this length around an address.
    pub(super) fn around(addr: IpAddr, bits: u8) -> Option<Net> {
        let whole = if addr.is_ipv4() { 32 } else { 128 };
        (bits <= whole).then(|| Net { addr: masked(addr, bits), bits, port: None })
    }

    /// Whether a message from there is from this net. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn holds(&self, source: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == source.port()) && self.holds_address(source.ip())
    }

    pub fn holds_address(&self, ip: IpAddr) -> bool {
        masked(ip.to_canonical(), self.bits) == self.addr
    }

    /// Longer nets come first; of equally long ones, the one that names the port.
    pub const fn rank(&self) -> u16 {
        self.bits as u16 * 2 + self.port.is_some() as u16
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.addr, self.port) {
            (IpAddr::V6(addr), Some(port)) => write!(f, "[{addr}]/{}:{port}", self.bits),
            (addr, Some(port)) => write!(f, "{addr}/{}:{port}", self.bits),
            (addr, None) => write!(f, "{addr}/{}", self.bits),
        }
    }
}

/// Digits alone: a sign before them is none of a port.
pub(super) fn number_in<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The address with all but its first `bits` bits zero. Of an address with fewer bits than that, nothing goes.
fn masked(addr: IpAddr, bits: u8) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V4((addr.to_bits() & mask).into())
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V6((addr.to_bits() & mask).into())
        }
    }
}

impl serde::Serialize for Net {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Net {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Net".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = NET.schema();
        let what = "An address or a net, with or without a port: 192.0.2.0/24, [2001:db8::1]:5060.";
        schema.insert("description".into(), what.into());
        schema
    }
}

/// A list of nets.
pub(super) fn nets(fields: &Fields<'_>, key: &'static str) -> Option<Vec<At<Net>>> {
    let list = fields.list(key)?;
    let read = |text: &At<Box<str>>| {
        let net = Net::parse(text);
        if net.is_none() {
            let what = format!("\"{}\" in {key} is no net", shown(text));
            let remedy = net_remedy(text);
            fields.refuse(text.place, what, remedy);
        }
        Some(At { value: net?, place: text.place })
    };
    Some(list.iter().filter_map(read).collect())
}

/// A net with host bits set is the usual slip: it is named without them.
fn net_remedy(text: &str) -> String {
    let (addr, bits) = text.split_once('/').unwrap_or((text, ""));
    let zeroed = addr.parse().ok().zip(bits.parse().ok()).and_then(|(addr, bits)| Net::around(addr, bits));
    match zeroed {
        Some(net) => format!("write \"{net}\""),
        None => "write it like \"192.0.2.0/24\", \"192.0.2.1\" or \"192.0.2.1:5060\"".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for (text, written) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1:5060", "192.0.2.1/32:5060"),
            ("192.0.2.0/24:5060", "192.0.2.0/24:5060"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("[2001:db8::1]:5060", "[2001:db8::1]/128:5060"),
            ("[2001:db8::]/32:5060", "[2001:db8::]/32:5060"),
            ("::/0", "::/0"),
        ] {
            let net = Net::parse(text).expect(text);
            assert_eq!(net.to_string(), written);
            assert_eq!(Net::parse(written), Some(net));
        }
        for wrong in [
            "",
            "x",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.1:0",
            "192.0.2.1:70000",
            "[::1",
            "/8",
            "::1/8",
            "1.2.3.4/+8",
        ] {
            assert_eq!(Net::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_net_holds_what_begins_with_its_bits() {
        let holds = |net: &str, source: &str| Net::parse(net).unwrap().holds(source.parse().unwrap());
        assert!(holds("192.0.2.0/24", "192.0.2.9:5060"));
        assert!(!holds("192.0.2.0/24", "192.0.3.9:5060"));
        assert!(!holds("192.0.2.9:5060", "192.0.2.9:5061"));
        assert!(holds("0.0.0.0/0", "198.51.100.7:1"));
        assert!(!holds("0.0.0.0/0", "[2001:db8::1]:1"));
        assert!(holds("192.0.2.0/24", "[::ffff:192.0.2.9]:5060"));
        assert!(!holds("2001:db8::/32", "192.0.2.9:5060"));
    }
}
