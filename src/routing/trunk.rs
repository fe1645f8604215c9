//! A carrier's side: who sends calls in on it, where calls go out to, and how numbers are written on it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Text;
use crate::number::{self, Country, E164, Prefix};
use crate::sip::peer::Transport;

/// One `[[trunk]]`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    pub name: Text,
    /// Who sends calls in on it.
    pub from: Vec<Net>,
    /// Where calls go out to: lowest `priority` first, then as listed.
    pub gateways: Vec<Gateway>,
    /// Serves calls to external numbers that name no trunk.
    pub outbound: bool,
    /// Of the numbers that it serves.
    pub prefixes: Vec<Prefix>,
    /// Among outbound trunks; the lowest is taken.
    pub priority: u16,
    pub transport: TrunkTransport,
    pub auth: Option<Auth>,
    pub register: bool,
    /// Between OPTIONS to each gateway; None: off.
    pub options_interval: Option<Duration>,
    /// How long a gateway may take for its first 1xx while another one is left (R14).
    pub try_timeout: Duration,
    /// 0: no limit.
    pub max_calls: u32,
    /// Calls in one second; 0: no limit.
    pub max_cps: u32,
    /// What a call above those limits is answered: 503 or 486.
    pub limit_code: u16,
    pub did_from: DidFrom,
    pub numbers: NumberFormat,
    /// Digits taken off the front of the number dialled on calls in.
    pub strip: u8,
    /// Put before what `strip` left.
    pub prefix: Text,
    pub foreign_caller_id: ForeignCallerId,
    pub pai: Pai,
    pub diversion: bool,
    pub history_info: bool,
    /// Names of further headers that are carried between legs.
    pub carry: Vec<Text>,
    /// INVITEs that we send name the first leg's Call-ID in `X-CID`.
    pub x_cid: bool,
    /// What it says about identity is believed, and it is trusted with withheld numbers (R9).
    pub trusted_identity: bool,
    pub nat: bool,
    /// How national numbers are read and written on it: the node's.
    pub country: Country,
}

impl Trunk {
    /// Reads the number that was dialled on a call in (R2): user parameters and visual separators go first, then
    /// `strip` and `prefix` do their work, then the trunk's number format and the country.
    ///
    /// `dialled` is a user part, its escapes undone, or what stands behind `tel:`. A `+` before the digits goes
    /// when `strip` or `prefix` change them. No allocation when neither is set.
    pub fn read_dialled(&self, dialled: &str) -> Option<E164> {
        let number = without_parameters(dialled);
        if self.strip == 0 && self.prefix.is_empty() {
            return self.read(number);
        }
        let digits = number.bytes().filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')' | b' ' | b'+'));
        let mut changed = self.prefix.to_string();
        changed.extend(digits.skip(usize::from(self.strip)).map(char::from));
        self.read(&changed)
    }

    /// Reads a number that it sends us, a caller's for example: as [`Trunk::read_dialled`] but for `strip` and
    /// `prefix`. None: no number, and it is carried as it came.
    pub fn read_number(&self, text: &str) -> Option<E164> {
        self.read(without_parameters(text))
    }

    fn read(&self, number: &str) -> Option<E164> {
        match self.numbers {
            NumberFormat::Digits => number::read_digits(number, &self.country),
            NumberFormat::E164 | NumberFormat::National => number::read(number, &self.country),
        }
    }

    /// A number as this trunk wants it written: `+12015550101`, `12015550101` or `2015550101`.
    pub fn write_number(&self, number: E164) -> Cow<'static, str> {
        match self.numbers {
            NumberFormat::E164 => number.to_string().into(),
            NumberFormat::Digits => number.digits().to_string().into(),
            NumberFormat::National => number::national(number, &self.country).into(),
        }
    }

    /// The length of the longest net in `from` that holds this address, in bits; a net that names the port
    /// counts for more than any that does not. None: it is not this trunk.
    pub fn matches(&self, source: SocketAddr) -> Option<u16> {
        self.from.iter().filter(|net| net.holds(source)).map(|net| net.rank()).max()
    }
}

/// What stands before the first user parameter (`;npdi`, `;rn=`, `;phone-context=`, `;ext=`).
fn without_parameters(user: &str) -> &str {
    user.split_once(';').map_or(user, |(number, _)| number)
}

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

    /// Whether a message from there is from this net. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn holds(&self, source: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == source.port())
            && masked(source.ip().to_canonical(), self.bits) == self.addr
    }

    /// Longer nets come first; of equally long ones, the one that names the port.
    pub(super) const fn rank(&self) -> u16 {
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

fn number_in<T: std::str::FromStr>(text: &str) -> Option<T> {
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

/// One place that calls go out to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// As it was written.
    pub uri: Text,
    /// Where it is, when the host is an IP literal. A name is not resolved yet.
    pub addr: Option<SocketAddr>,
    /// The URI's `transport`, else the trunk's; UDP where that is `auto`.
    pub transport: Transport,
    pub priority: u16,
    pub weight: u16,
}

/// How requests travel to the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkTransport {
    /// UDP, and TCP for requests above 1,300 bytes.
    Auto,
    Udp,
    Tcp,
    Tls,
}

/// Which part of an INVITE names the dialled number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DidFrom {
    RequestUri,
    To,
    PCalledPartyId,
}

/// How numbers are written on a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFormat {
    /// `+12015550101`
    E164,
    /// `12015550101`; digits that it sends are the whole number too.
    Digits,
    /// As people of the node's country dial.
    National,
}

/// What a forwarded call shows when the caller's number is not ours (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignCallerId {
    /// The caller.
    Pass,
    /// The DID.
    Replace,
    /// The caller, and once more with the DID after 403, 603, 606 or 608 before the first 18x.
    Retry,
}

/// Whom P-Asserted-Identity names (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pai {
    Caller,
    Did,
    None,
}

/// How we answer the carrier's challenges.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    pub username: Text,
    /// None: the environment did not hold it.
    pub password: Option<Text>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}
