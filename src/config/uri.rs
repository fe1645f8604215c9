//! The SIP URIs of gateways and fixed contacts: few forms, checked once.

use std::net::{IpAddr, SocketAddr};

use crate::sip::header::chars;
use crate::sip::peer::Transport;
use crate::sip::uri::Uri;

/// The longest URI that an operator writes, in bytes.
pub(super) const MAX_URI: usize = 512;

/// A `sip:` or `sips:` URI that an operator wrote (RFC 3261 §19.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri {
    pub text: Box<str>,
    pub user: Option<Box<str>>,
    /// Where it is, when the host is an IP literal; port 5060 (5061 with `sips` or TLS) when none is written.
    pub addr: Option<SocketAddr>,
    /// The host, when it is a name: in lower case, and without a dot at its end.
    pub host: Option<Box<str>>,
    /// The port as it is written.
    pub port: Option<u16>,
    /// The `transport` parameter; TLS for `sips`.
    pub transport: Option<Transport>,
    pub secure: bool,
}

impl SipUri {
    /// Whether both lead to the same place in the same way.
    pub fn leads_where(&self, other: &SipUri) -> bool {
        (self.addr, &self.host, self.port.filter(|_| self.addr.is_none()), self.transport, self.secure)
            == (
                other.addr,
                &other.host,
                other.port.filter(|_| other.addr.is_none()),
                other.transport,
                other.secure,
            )
    }

    /// Reads it, or says what would be right.
    pub fn parse(text: &str) -> Result<SipUri, &'static str> {
        const FORM: &str = "write it like \"sip:alice@192.0.2.1:5060\"";
        if text.len() > MAX_URI || !text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b))
        {
            return Err("write it in printable ASCII, without spaces, quotes and <>");
        }
        let (scheme, rest) = text.split_once(':').ok_or(FORM)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "sip" => false,
            "sips" => true,
            _ => return Err(FORM),
        };
        // What we write is read by parsers like our own.
        if !chars::escapes_are_whole(text.as_bytes()) {
            return Err("write % as %25, or as part of an escape like %20");
        }
        if rest.contains('?') {
            return Err("leave the headers (from ? on) out");
        }
        let (user, rest) = match rest.split_once('@') {
            Some(("", _)) => return Err(FORM),
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let named = params.split(';').find_map(|param| {
            let (name, value) = param.split_once('=')?;
            name.eq_ignore_ascii_case("transport").then_some(value)
        });
        let transport = match named.map(str::to_ascii_lowercase).as_deref() {
            None if secure => Some(Transport::Tls),
            None => None,
            Some("udp") if !secure => Some(Transport::Udp),
            Some("tcp") if !secure => Some(Transport::Tcp),
            Some("tls" | "tcp") => Some(Transport::Tls),
            Some(_) => return Err("write transport=udp, tcp or tls"),
        };
        let (host, port) = host_and_port(hostport).ok_or(FORM)?;
        if Uri::parse(text.as_bytes()).is_err() {
            return Err(FORM);
        }
        let default = if transport == Some(Transport::Tls) { 5061 } else { 5060 };
        let addr = host.map(|ip| SocketAddr::new(ip, port.unwrap_or(default)));
        let name = hostport.split(':').next().filter(|_| addr.is_none());
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
        Ok(SipUri {
            text: text.into(),
            user: user.map(Into::into),
            addr,
            host: name,
            port,
            transport,
            secure,
        })
    }
}

/// The IP literal (None: a name) and the port.
fn host_and_port(text: &str) -> Option<(Option<IpAddr>, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let host: std::net::Ipv6Addr = host.parse().ok()?;
            (Some(IpAddr::V6(host)), rest)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            let is_name = host.len() <= 253 && host.trim_end_matches('.').split('.').all(label);
            let last_is_number =
                host.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
            match host.parse::<std::net::Ipv4Addr>() {
                Ok(ip) => (Some(IpAddr::V4(ip)), port),
                Err(_) if is_name && !last_is_number => (None, port),
                Err(_) => return None,
            }
        }
    };
    match port.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(1..) => Some((host, port.parse().ok())),
            Ok(0u16) | Err(_) => None,
        },
        None if port.is_empty() => Some((host, None)),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_with_their_defaults() {
        let addr = |text: &str| SipUri::parse(text).unwrap().addr.map(|addr| addr.to_string());
        assert_eq!(addr("sip:127.0.0.1:5080").as_deref(), Some("127.0.0.1:5080"));
        assert_eq!(addr("sip:alice@127.0.0.1").as_deref(), Some("127.0.0.1:5060"));
        assert_eq!(addr("sip:[2001:db8::1];transport=tcp").as_deref(), Some("[2001:db8::1]:5060"));
        assert_eq!(addr("sips:192.0.2.1").as_deref(), Some("192.0.2.1:5061"));
        assert_eq!(addr("sip:sbc.example.com:5070"), None);
        assert_eq!(SipUri::parse("sip:192.0.2.1;transport=TCP").unwrap().transport, Some(Transport::Tcp));
        assert_eq!(SipUri::parse("sip:alice@192.0.2.1").unwrap().user.as_deref(), Some("alice"));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for wrong in [
            "",
            "alice",
            "127.0.0.1:5060",
            "tel:+12015550101",
            "sip:",
            "sip:@127.0.0.1",
            "sip:127.0.0.1:0",
            "sip:127.0.0.1:99999",
            "sip:127.0.0.1:",
            "sip:300.1.1.1",
            "sip:a b@127.0.0.1",
            "sip:127.0.0.1?x=y",
            "sip:127.0.0.1;transport=pigeon",
            "sips:127.0.0.1;transport=udp",
            "sip:[::1",
            "sip:-x.example.com",
            "sip:50%off@127.0.0.1",
            "sip:127.0.0.1;foo=%zz",
            "sip:a@b@127.0.0.1",
        ] {
            assert!(SipUri::parse(wrong).is_err(), "{wrong}");
        }
    }
}
