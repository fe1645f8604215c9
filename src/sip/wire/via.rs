use std::net::IpAddr;

use crate::sip::header::{List, Param, Params, chars};
use crate::sip::peer::Transport;
use crate::sip::uri::{self, HostPort};

/// One Via value (RFC 3261 §20.42, RFC 3581).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `None` for one that we do not speak (SCTP, an unknown token).
    pub transport: Option<Transport>,
    /// An IPv6 reference keeps its brackets.
    pub host: &'a [u8],
    pub port: Option<u16>,
    pub branch: Option<&'a [u8]>,
    /// `Some(None)`: asked for and not filled in.
    pub rport: Option<Option<u16>>,
    pub received: Option<IpAddr>,
    pub maddr: Option<&'a [u8]>,
    pub ttl: Option<u8>,
    /// Everything after sent-by, from the first semicolon on.
    pub params: &'a [u8],
    /// The whole value.
    pub raw: &'a [u8],
}

/// What the branch of an RFC 3261 peer begins with (§8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Reads one value. `None` where it is not as RFC 3261 §25.1 wants it; white space may stand around its
    /// separators, and the version is not compared, so that a 505 can be sent.
    pub fn parse(raw: &'a [u8]) -> Option<Via<'a>> {
        let mut via = match Via::plain_sent_by(raw) {
            Some(via) => via,
            None => Via::read_sent_by(raw)?,
        };
        Params::each_well_formed(via.params, |param| via.take(param))?;
        Some(via)
    }

    /// Reads the first of a list.
    pub(super) fn first(list: &'a [u8]) -> Option<Via<'a>> {
        match Via::plain(list) {
            Some(via) => Some(via),
            None => List::new(list).next().and_then(Via::parse),
        }
    }

    /// Reads one as nearly all write it: `SIP/2.0/UDP host:port;branch=token;rport`, the last of which may be
    /// missing. There is no comma in it, and nothing in which one would separate nothing.
    #[inline(always)]
    fn plain(raw: &'a [u8]) -> Option<Via<'a>> {
        let via = Via::plain_sent_by(raw)?;
        let rest = via.params.strip_prefix(b";branch=")?;
        let (branch, rest) = rest.split_at_checked(chars::word_run(rest))?;
        if branch.is_empty() || !(rest.is_empty() || rest == b";rport") {
            return None;
        }
        Some(Via { branch: Some(branch), rport: (!rest.is_empty()).then_some(None), ..via })
    }

    /// What `read_sent_by` reads, or nothing.
    #[inline(always)]
    fn plain_sent_by(raw: &'a [u8]) -> Option<Via<'a>> {
        let (transport, rest) = match raw.strip_prefix(b"SIP/2.0/")? {
            [b'U', b'D', b'P', b' ', rest @ ..] => (Transport::Udp, rest),
            [b'T', b'C', b'P', b' ', rest @ ..] => (Transport::Tcp, rest),
            [b'T', b'L', b'S', b' ', rest @ ..] => (Transport::Tls, rest),
            _ => return None,
        };
        let sent_by = uri::plain_host_port(rest)?;
        matches!(sent_by.rest, [] | [b';', ..]).then(|| Via::new(Some(transport), sent_by, raw))
    }

    /// Reads what says where an answer goes, and of the parameters those that can be read: enough to answer a
    /// request whose Via is the fault.
    pub(super) fn parse_loosely(raw: &'a [u8]) -> Option<Via<'a>> {
        let mut via = Via::read_sent_by(raw)?;
        for param in Params::new(via.params) {
            via.take(param);
        }
        Some(via)
    }

    fn read_sent_by(raw: &'a [u8]) -> Option<Via<'a>> {
        let rest = match raw.strip_prefix(b"SIP/2.0/") {
            Some(rest) => rest,
            None => after_slash(after_slash(raw)?)?,
        };
        let (transport, rest) = rest.split_at(chars::token_run(rest));
        if transport.is_empty() || !rest.first().copied().is_some_and(chars::is_lws) {
            return None;
        }
        Some(Via::new(read_transport(transport), sent_by(chars::trim_start(rest))?, raw))
    }

    #[inline(always)]
    fn new(transport: Option<Transport>, sent_by: HostPort<'a>, raw: &'a [u8]) -> Via<'a> {
        let HostPort { host, port, rest: params } = sent_by;
        Via {
            transport,
            host,
            port,
            branch: None,
            rport: None,
            received: None,
            maddr: None,
            ttl: None,
            params,
            raw,
        }
    }

    /// The branch's part after the magic cookie. `None` for a peer of RFC 2543, and for a cookie alone.
    pub fn branch_3261(&self) -> Option<&'a [u8]> {
        self.branch?.strip_prefix(MAGIC_COOKIE).filter(|id| !id.is_empty())
    }

    fn take(&mut self, Param { name, value }: Param<'a>) -> Option<()> {
        let is = |wanted: &str| chars::is(name, wanted.as_bytes());
        if is("branch") {
            self.branch = Some(value?);
        } else if is("rport") {
            self.rport = Some(match value {
                Some(digits) => Some(number(digits)?),
                None => None,
            });
        } else if is("received") {
            self.received = Some(uri::host_ip(value?)?);
        } else if is("maddr") {
            self.maddr = Some(value?);
        } else if is("ttl") {
            self.ttl = Some(number(value?)?);
        }
        Some(())
    }
}

/// Takes `token LWS "/" LWS` off the front.
fn after_slash(bytes: &[u8]) -> Option<&[u8]> {
    let run = chars::token_run(bytes);
    let rest = chars::trim_start(&bytes[run..]).strip_prefix(b"/")?;
    (run > 0).then(|| chars::trim_start(rest))
}

/// Takes `host [ COLON port ]` off the front, where white space may stand around the colon; what is left
/// begins with a semicolon or is empty.
fn sent_by(bytes: &[u8]) -> Option<HostPort<'_>> {
    match uri::host_port(bytes) {
        Ok(tight) if matches!(tight.rest, [] | [b';', ..]) => return Some(tight),
        Ok(_) | Err(_) => {}
    }
    let end = bytes.iter().position(|&byte| byte == b';').unwrap_or(bytes.len());
    let (sent_by, rest) = bytes.split_at(end);
    let host_end = match sent_by.first()? {
        b'[' => sent_by.iter().position(|&byte| byte == b']')? + 1,
        _ => sent_by.iter().position(|&byte| byte == b':').unwrap_or(end),
    };
    let port = match chars::trim(&sent_by[host_end..]) {
        [] => None,
        [b':', digits @ ..] => Some(number(chars::trim_start(digits))?),
        _ => return None,
    };
    let HostPort { host, rest: none, .. } = uri::host_port(chars::trim(&sent_by[..host_end])).ok()?;
    none.is_empty().then_some(HostPort { host, port, rest })
}

fn read_transport(token: &[u8]) -> Option<Transport> {
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
        .into_iter()
        .find(|transport| chars::is(token, transport.via_token().as_bytes()))
}

fn number<N: TryFrom<u64>>(digits: &[u8]) -> Option<N> {
    chars::number(digits).and_then(|number| N::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn the_plain_reader_reads_nothing_otherwise_than_the_general_one(
            text in "SIP/2\\.0/(UDP|TCP|TLS|WS|udp) {1,2}([a-z0-9.-]{1,9}|\\[::1\\])( ?:[0-9]{1,6})?\
                (;branch=[a-zA-Z0-9<>=,-]{0,9})?(;(rport|x|branch)(=[0-9<>\"]{0,4})?){0,2},?",
            mutation in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        ) {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = mutation {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let general = |bytes| {
                let mut via = Via::read_sent_by(bytes)?;
                Params::each_well_formed(via.params, |param| via.take(param))?;
                Some(via)
            };
            if let Some(plain) = Via::plain(&bytes) {
                let first = List::new(&bytes).next().and_then(general);
                prop_assert_eq!(format!("{:?}", first), format!("{:?}", Some(plain)));
            }
            prop_assert_eq!(format!("{:?}", Via::parse(&bytes)), format!("{:?}", general(&bytes)));
        }
    }

    #[test]
    fn what_nearly_all_write_is_plain() {
        for text in [
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776;rport",
            "SIP/2.0/TLS pc33.example.com;branch=z9hG4bK-1-1",
        ] {
            assert!(Via::plain(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn every_part_is_read() {
        let via = Via::parse(
            b"SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776;rport=9;received=192.0.2.1;ttl=16;maddr=224.2.0.1;x",
        )
        .expect("a Via");
        assert_eq!(via.transport, Some(Transport::Udp));
        assert_eq!((via.host, via.port), (&b"pc33.example.com"[..], Some(5066)));
        assert_eq!(via.branch_3261(), Some(&b"776"[..]));
        assert_eq!(via.rport, Some(Some(9)));
        assert_eq!(via.received, Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!((via.ttl, via.maddr), (Some(16), Some(&b"224.2.0.1"[..])));
    }

    #[test]
    fn white_space_may_stand_around_every_separator() {
        let via =
            Via::parse(b"SIP  / 2.0\r\n /  TCP     [2001:db8::9] : 5080 ;\r\n  branch  =   z9hG4bK9 ;rport")
                .expect("a Via");
        assert_eq!(via.transport, Some(Transport::Tcp));
        assert_eq!((via.host, via.port), (&b"[2001:db8::9]"[..], Some(5080)));
        assert_eq!(via.branch, Some(&b"z9hG4bK9"[..]));
        assert_eq!(via.rport, Some(None));
        let old = Via::parse(b"SIP/2.0/SCTP h;branch=390skdjuw").expect("a Via");
        assert_eq!((old.transport, old.branch_3261()), (None, None));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 UDP host",
            "SIP/2.0/UDP host;;branch=x",
            "SIP/2.0/UDP host;branch",
            "SIP/2.0/UDP host:70000",
            "SIP/2.0/UDP host;rport=x",
            "SIP/2.0/UDP host;received=nowhere",
            "SIP/2.0/UDP ho st",
            "SIP/2.0/UDP [::1;branch=a",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
