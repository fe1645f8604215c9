//! URIs and addresses as views over their bytes (RFC 3261 §19.1, §20.10; RFC 3966).

mod address;
mod compare;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use address::Address;
pub use compare::eq;

use super::header::{Param, Params, chars};

/// What kind of URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any other: kept as it came. In a Request-URI it is answered with 416 by the layer above.
    Other,
}

impl Scheme {
    /// `sip:` or `sips:`.
    pub const fn is_sip(self) -> bool {
        matches!(self, Scheme::Sip | Scheme::Sips)
    }

    /// What a Request-URI of ours may be.
    pub const fn is_dialable(self) -> bool {
        matches!(self, Scheme::Sip | Scheme::Sips | Scheme::Tel)
    }
}

/// Why bytes are no URI that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    #[error("no scheme")]
    Scheme,
    #[error("bad user part")]
    User,
    #[error("bad host")]
    Host,
    #[error("bad port")]
    Port,
    #[error("bad URI parameters")]
    Params,
    /// RFC 3261 §19.1.1: header fields in a Request-URI.
    #[error("header fields in a Request-URI")]
    Headers,
    #[error("bad telephone number")]
    Number,
    #[error("bad display name")]
    Display,
    #[error("angle bracket is not closed")]
    Bracket,
    #[error("bad parameters after the URI")]
    AddressParams,
    #[error("a URI with a comma, question mark or semicolon must stand in angle brackets")]
    NeedsBrackets,
    #[error("a response has no Request-URI")]
    NotARequest,
}

/// A URI in its parts. Nothing is unescaped; `raw` is all of it as it came.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    pub scheme: Scheme,
    pub raw: &'a [u8],
    /// Of `sip:` and `sips:` what stands before the `@`, without the password; of `tel:` the number with its
    /// `+` and separators.
    pub user: Option<&'a [u8]>,
    pub password: Option<&'a [u8]>,
    /// An IPv6 reference keeps its brackets. Empty for `tel:` and unknown schemes.
    pub host: &'a [u8],
    pub port: Option<u16>,
    /// What follows the host (`tel:`: the number), from the first semicolon on.
    pub params: &'a [u8],
    /// What follows the `?`, without it.
    pub headers: &'a [u8],
}

/// The port of `sip:` over UDP and TCP (RFC 3261 §19.1.2).
pub const SIP_PORT: u16 = 5060;
/// The port of `sips:` and of `sip:` over TLS.
pub const SIPS_PORT: u16 = 5061;

impl<'a> Uri<'a> {
    /// Reads a URI as it stands between angle brackets or in a request line: no white space around it.
    ///
    /// # Errors
    /// The part that is not as RFC 3261 §25.1 or RFC 3966 §3 wants it. Hosts may have underscores and users
    /// may have UTF-8 and `#`, which networks in use send.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, BadUri> {
        match plain(raw) {
            Some((uri, [])) => Ok(uri),
            Some(_) | None => Uri::parse_any(raw),
        }
    }

    #[inline(never)]
    fn parse_any(raw: &'a [u8]) -> Result<Uri<'a>, BadUri> {
        match split_scheme(raw) {
            Some((scheme @ (Scheme::Sip | Scheme::Sips), rest)) => sip(scheme, raw, rest),
            Some((Scheme::Tel, rest)) => tel(raw, rest),
            Some((Scheme::Other, _)) | None => other(raw),
        }
    }

    /// A URI parameter's value, empty for one without a value (`;lr`). Escapes in its name are read
    /// (RFC 3261 §19.1.4), those in its value are left to `unescaped`.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        let [value] = self.params_named([name]);
        value
    }

    /// The values of several parameters, each as `param` gives it, in one walk.
    pub fn params_named<const N: usize>(&self, names: [&str; N]) -> [Option<&'a [u8]>; N] {
        let mut values = [None; N];
        for Param { name, value } in self.params() {
            let name = unescaped(name);
            if let Some(at) = names.iter().position(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes())) {
                values[at].get_or_insert(value.unwrap_or_default());
            }
        }
        values
    }

    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The user with its `%` escapes taken out. Empty where there is none.
    pub fn user_unescaped(&self) -> Cow<'a, [u8]> {
        unescaped(self.user.unwrap_or_default())
    }

    /// The host as an address, when it is written as one.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// Where the URI points when its host is an IP literal; port 5060 (`sips:` and `transport=tls`: 5061)
    /// where it names none.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip = self.host_ip()?;
        let secure = self.scheme == Scheme::Sips
            || self.param("transport").is_some_and(|transport| transport.eq_ignore_ascii_case(b"tls"));
        let default = if secure { SIPS_PORT } else { SIP_PORT };
        Some(SocketAddr::new(ip, self.port.unwrap_or(default)))
    }
}

/// A host as an IP address: dotted quad, or IPv6 with or without brackets.
///
/// The grammar of RFC 3261 lets three colons stand before an embedded IPv4 address; RFC 5118 §4.10 asks to
/// read them as two.
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    let inner = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'))?;
    if let Ok(v6) = inner.parse::<Ipv6Addr>() {
        return Some(v6.into());
    }
    let v6: Ipv6Addr = inner.contains(":::").then(|| inner.replacen(":::", "::", 1).parse().ok())??;
    Some(v6.into())
}

/// Takes `%` escapes out; allocates only where there is one.
pub fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, more @ ..] = rest {
        match escaped_byte(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    Cow::Owned(out)
}

fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Takes a URI as nearly all write it off the front: `sip:`, a user without password and escapes or none, a
/// host that is no IPv6 reference, parameters. What the general reader reads, when what follows cannot belong
/// to a URI.
#[inline(always)]
fn plain(bytes: &[u8]) -> Option<(Uri<'_>, &[u8])> {
    let rest = bytes.strip_prefix(b"sip:")?;
    let run = chars::plain_user_run(rest);
    let (user, rest) = match rest.split_at_checked(run)? {
        ([], _) => return None,
        (user, [b'@', rest @ ..]) => (Some(user), rest),
        _ => (None, rest),
    };
    let HostPort { host, port, rest } = plain_host_port(rest)?;
    let (params, rest) = match rest {
        [b';', ..] => rest.split_at_checked(chars::uri_params_run(rest))?,
        _ => rest.split_at_checked(0)?,
    };
    let raw = bytes.get(..bytes.len() - rest.len())?;
    let headers = &raw[raw.len()..];
    Some((Uri { scheme: Scheme::Sip, raw, user, password: None, host, port, params, headers }, rest))
}

/// What `host_port` takes off the front, IPv6 references excepted.
#[inline(always)]
pub(crate) fn plain_host_port(bytes: &[u8]) -> Option<HostPort<'_>> {
    let (host, rest) = bytes.split_at_checked(chars::host_run(bytes))?;
    if host.is_empty() {
        return None;
    }
    let [b':', digits @ ..] = rest else { return Some(HostPort { host, port: None, rest }) };
    let (port, rest) = plain_port(digits)?;
    Some(HostPort { host, port: Some(port), rest })
}

/// Takes a port of one to five digits off the front.
#[inline(always)]
fn plain_port(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (mut port, mut rest) = (0u32, bytes);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        port = port.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'));
        rest = after;
    }
    let port = u16::try_from(port).ok()?;
    matches!(bytes.len() - rest.len(), 1..=5).then_some((port, rest))
}

/// Which of the schemes with a grammar of ours it is, and what follows the colon.
fn split_scheme(raw: &[u8]) -> Option<(Scheme, &[u8])> {
    let after = |scheme: &[u8]| {
        let (start, rest) = raw.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    [(Scheme::Sip, &b"sip:"[..]), (Scheme::Sips, b"sips:"), (Scheme::Tel, b"tel:")]
        .into_iter()
        .find_map(|(scheme, spelling)| Some((scheme, after(spelling)?)))
}

fn sip<'a>(scheme: Scheme, raw: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, BadUri> {
    let (run, colon, escaped) = chars::user_run(rest);
    let (user, password, rest) = match rest.get(run) {
        Some(b'@') => {
            let userinfo = &rest[..run];
            let user = &userinfo[..colon.unwrap_or(run)];
            if user.is_empty() || (escaped && !chars::escapes_are_whole(userinfo)) {
                return Err(BadUri::User);
            }
            (Some(user), colon.map(|colon| &userinfo[colon + 1..]), &rest[run + 1..])
        }
        Some(_) => return Err(BadUri::User),
        None => (None, None, rest),
    };
    let HostPort { host, port, rest } = host_port(rest)?;
    let (params, rest) = rest.split_at(chars::uri_params_run(rest));
    let headers = match rest {
        [] => rest,
        [b'?', headers @ ..] if chars::is_uri_rest(headers) => headers,
        _ => return Err(BadUri::Params),
    };
    if !matches!(params, [] | [b';', ..]) {
        return Err(BadUri::Params);
    }
    Ok(Uri { scheme, raw, user, password, host, port, params, headers })
}

/// The host and port at the front of some bytes, and what follows.
pub(crate) struct HostPort<'a> {
    pub host: &'a [u8],
    pub port: Option<u16>,
    pub rest: &'a [u8],
}

/// Takes `host [":" port]` off the front.
pub(crate) fn host_port(bytes: &[u8]) -> Result<HostPort<'_>, BadUri> {
    let (host, rest) = bytes.split_at(host_end(bytes).ok_or(BadUri::Host)?);
    let Some(rest) = rest.strip_prefix(b":") else { return Ok(HostPort { host, port: None, rest }) };
    let (mut port, mut at) = (0u32, 0);
    while let Some(digit) = rest.get(at).filter(|byte| byte.is_ascii_digit()) {
        // No port is above 99,999: once it is too large it stays so.
        port = (port * 10 + u32::from(digit - b'0')).min(100_000);
        at += 1;
    }
    match u16::try_from(port) {
        Ok(port) if at > 0 => Ok(HostPort { host, port: Some(port), rest: &rest[at..] }),
        Ok(_) | Err(_) => Err(BadUri::Port),
    }
}

fn host_end(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'[') {
        return reference_end(bytes);
    }
    let run = chars::host_run(bytes);
    (run > 0).then_some(run)
}

/// An IPv6 reference, its brackets included.
#[cold]
fn reference_end(bytes: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', bytes)?;
    host_ip(&bytes[..=close]).map(|_| close + 1)
}

fn tel<'a>(raw: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, BadUri> {
    let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
    let (number, params) = rest.split_at(end);
    let digits = number.strip_prefix(b"+").unwrap_or(number);
    // RFC 3966 §3: a local number may have the hexadecimal letters, `*` and `#` of keypads.
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#');
    let is_separator = |byte: &u8| matches!(byte, b'-' | b'.' | b'(' | b')');
    let whole = digits.iter().all(|byte| is_digit(byte) || is_separator(byte)) && digits.iter().any(is_digit);
    if !whole {
        return Err(BadUri::Number);
    }
    if !chars::is_uri_rest(params) {
        return Err(BadUri::Params);
    }
    let none = &raw[raw.len()..];
    Ok(Uri {
        scheme: Scheme::Tel,
        raw,
        user: Some(number),
        password: None,
        host: none,
        port: None,
        params,
        headers: none,
    })
}

fn other(raw: &[u8]) -> Result<Uri<'_>, BadUri> {
    let colon = memchr::memchr(b':', raw).ok_or(BadUri::Scheme)?;
    let (scheme, rest) = (&raw[..colon], &raw[colon + 1..]);
    let named = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    // An opaque part may have an `@` (`mailto:`, `urn:`, `im:`).
    let legal = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
    if !named || rest.is_empty() || !rest.iter().all(legal) {
        return Err(BadUri::Scheme);
    }
    let none = &raw[raw.len()..];
    Ok(Uri {
        scheme: Scheme::Other,
        raw,
        user: None,
        password: None,
        host: none,
        port: None,
        params: none,
        headers: none,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|bad| panic!("{text}: {bad}"))
    }

    #[test]
    fn a_sip_uri_is_taken_apart() {
        let all = uri("sip:alice:secret@Atlanta.com:5070;transport=tcp;lr?subject=x&priority=urgent");
        assert_eq!(all.scheme, Scheme::Sip);
        assert_eq!(all.user, Some(&b"alice"[..]));
        assert_eq!(all.password, Some(&b"secret"[..]));
        assert_eq!(all.host, b"Atlanta.com");
        assert_eq!(all.port, Some(5070));
        assert_eq!(all.param("Transport"), Some(&b"tcp"[..]));
        assert_eq!(all.param("lr"), Some(&b""[..]));
        assert_eq!(all.headers, b"subject=x&priority=urgent");
        assert_eq!(uri("SIPS:1212@gateway.com").scheme, Scheme::Sips);
        assert_eq!(uri("sip:host").user, None);
    }

    #[test]
    fn the_user_may_have_what_looks_like_the_rest() {
        let tricky = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!(tricky.user, Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(&*tricky.user_unescaped(), b"user;par=u@example.net");
        assert_eq!(&*uri("sip:%00%61@h").user_unescaped(), b"\0a");
    }

    #[test]
    fn ip_literals_give_a_socket_address() {
        let at = |text| uri(text).socket_addr().map(|addr| addr.to_string());
        assert_eq!(at("sip:192.0.2.1").as_deref(), Some("192.0.2.1:5060"));
        assert_eq!(at("sips:192.0.2.1").as_deref(), Some("192.0.2.1:5061"));
        assert_eq!(at("sip:x@[2001:db8::10]:5070;lr").as_deref(), Some("[2001:db8::10]:5070"));
        assert_eq!(at("sip:x@[2001:db8::10:5070]").as_deref(), Some("[2001:db8::10:5070]:5060"));
        assert_eq!(at("sip:example.com"), None);
        assert_eq!(uri("sip:[2001:db8::10]").host, b"[2001:db8::10]");
    }

    #[test]
    fn tel_keeps_its_plus_and_separators() {
        let tel = uri("tel:+1-201-555-0123;ext=12;phone-context=example.com");
        assert_eq!(tel.scheme, Scheme::Tel);
        assert_eq!(tel.user, Some(&b"+1-201-555-0123"[..]));
        assert_eq!(tel.param("ext"), Some(&b"12"[..]));
        assert_eq!(tel.socket_addr(), None);
    }

    #[test]
    fn unknown_schemes_are_kept_and_nonsense_is_refused() {
        assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme, Scheme::Other);
        assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other);
        for (text, why) in [
            ("", BadUri::Scheme),
            ("<sip:a@b>", BadUri::Scheme),
            ("alice", BadUri::Scheme),
            ("sip:", BadUri::Host),
            ("sip:@host", BadUri::User),
            ("sip:a%zz@host", BadUri::User),
            ("sip:a b@host", BadUri::User),
            ("sip:a@", BadUri::Host),
            ("sip:a@b@c", BadUri::Params),
            ("sip:a@host:99999", BadUri::Port),
            ("sip:a@host:", BadUri::Port),
            ("sip:2001:db8::10", BadUri::Port),
            ("sip:[2001:db8::10", BadUri::Host),
            ("sip:[zz]", BadUri::Host),
            ("sip:a@host; lr", BadUri::Params),
            ("tel:alice", BadUri::Number),
            ("tel:+", BadUri::Number),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()).err(), Some(why), "{text}");
        }
    }
}
