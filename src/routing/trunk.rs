//! A carrier's side: who sends calls in on it, where calls go out to, and how numbers are written on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Text;
use crate::config::{DidFrom, ForeignCallerId, Net, NumberFormat, Pai, SipUri, TrunkTransport};
use crate::number::{self, Country, E164, Prefix};
use crate::sip::peer::{NameId, Peer, Transport};

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
    pub fn write_number(&self, number: E164) -> String {
        self.with_number(number, str::to_owned)
    }

    /// What is made of a number as this trunk wants it written; only national ones are allocated for it.
    pub fn with_number<T>(&self, number: E164, make: impl FnOnce(&str) -> T) -> T {
        match self.numbers {
            NumberFormat::E164 => make(number.digits().with_plus()),
            NumberFormat::Digits => make(&number.digits()),
            NumberFormat::National => make(&number::national(number, &self.country)),
        }
    }

    /// Its gateways in the order in which one call tries them, by their place in `gateways` (R14): those that are
    /// down behind all others, then lowest `priority` first, and among equals by lot, each as likely as its `weight`
    /// says (as RFC 2782 has it). `draw` gives random numbers; it is asked where there is something to choose.
    pub fn in_turn(&self, is_down: impl Fn(usize) -> bool, mut draw: impl FnMut() -> u64) -> InTurn {
        let mut turn: InTurn = (0u8..).take(self.gateways.len()).collect();
        let rank = |at: u8| {
            let at = usize::from(at);
            self.gateways.get(at).map(|gateway| (is_down(at), gateway.priority))
        };
        turn.sort_by_key(|at| rank(*at));
        let weight = |at: &u8| self.gateways.get(usize::from(*at)).map_or(0, |of| u64::from(of.weight));
        for first in 0..turn.len() {
            let rest = &turn[first..];
            let equal = rest.iter().take_while(|at| rank(**at) == rank(rest[0])).count();
            if equal < 2 {
                continue;
            }
            let total: u64 = rest[..equal].iter().map(weight).sum();
            let mut left = draw().checked_rem(total).unwrap_or(0);
            let drawn = rest[..equal].iter().position(|at| match left.checked_sub(weight(at)) {
                Some(less) => {
                    left = less;
                    false
                }
                None => true,
            });
            // The others keep their order.
            turn[first..=first + drawn.unwrap_or(0)].rotate_right(1);
        }
        turn
    }

    /// The length of the longest net in `from` that holds this address, in bits; a net that names the port
    /// counts for more than any that does not. None: it is not this trunk.
    pub fn matches(&self, source: SocketAddr) -> Option<u16> {
        self.from.iter().filter(|net| net.holds(source)).map(|net| net.rank()).max()
    }
}

/// Places of gateways, in an order.
pub type InTurn = SmallVec<[u8; 8]>;

/// By its name, which is unique in a table.
impl std::hash::Hash for Trunk {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// What stands before the first user parameter (`;npdi`, `;rn=`, `;phone-context=`, `;ext=`).
pub(super) fn without_parameters(user: &str) -> &str {
    user.split_once(';').map_or(user, |(number, _)| number)
}

/// One place that calls go out to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where it stands among its trunk's as they are written, from 0.
    pub place: u8,
    /// As it was written.
    pub uri: Text,
    /// Where it is, when the host is an IP literal.
    pub addr: Option<SocketAddr>,
    /// The host, when it is a name.
    pub host: Option<Arc<Host>>,
    /// What its certificate has to bear, when the host is a name.
    pub name: Option<NameId>,
    /// The URI's `transport`, else the trunk's; UDP where that is `auto`.
    pub transport: Transport,
    /// `auto`: what is too long for a datagram goes by TCP.
    pub long_by_tcp: bool,
    pub priority: u16,
    /// Among gateways of one priority: its share of the calls.
    pub weight: u16,
}

impl Gateway {
    /// The same far side, which over TLS has to show a certificate for this gateway's host.
    pub fn named(&self, to: Peer) -> Peer {
        Peer { name: self.name.filter(|_| to.transport == Transport::Tls), ..to }
    }
}

/// A host that has a name, as it is to be looked up (RFC 3263).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// In lower case, without a dot at its end.
    pub name: Text,
    pub port: Option<u16>,
    /// The one that is asked for; none: what the host has and we have.
    pub transport: Option<Transport>,
    /// `sips:`: by TLS or not at all.
    pub secure: bool,
}

impl Host {
    /// Of a URI whose host is a name. `transport`: asked for by other means than the URI.
    pub(super) fn of(uri: &SipUri, transport: Option<Transport>) -> Option<Arc<Host>> {
        let name = uri.host.as_deref()?.into();
        Some(Arc::new(Host {
            name,
            port: uri.port,
            transport: uri.transport.or(transport),
            secure: uri.secure,
        }))
    }
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
