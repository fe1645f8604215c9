use super::{Scheme, Uri, unescaped};
use crate::sip::header::{Param, Params};

/// Whether two URIs are the same (RFC 3261 §19.1.4; `tel:` by RFC 3966 §4). Unknown schemes are compared byte
/// by byte.
pub fn eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    if left.scheme != right.scheme {
        return false;
    }
    if left.raw == right.raw {
        return true;
    }
    match left.scheme {
        Scheme::Sip | Scheme::Sips => sip_eq(left, right),
        Scheme::Tel => tel_eq(left, right),
        Scheme::Other => false,
    }
}

fn sip_eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    let same_part = |a: Option<&[u8]>, b: Option<&[u8]>| a.map(unescaped) == b.map(unescaped);
    same_part(left.user, right.user)
        && same_part(left.password, right.password)
        && same_host(left, right)
        && left.port == right.port
        && params_agree(left, right)
        && params_agree(right, left)
        && headers_agree(left.headers, right.headers)
}

fn same_host(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    left.host.eq_ignore_ascii_case(right.host)
        || left.host_ip().is_some_and(|address| right.host_ip() == Some(address))
}

/// Parameters in both must match; `user`, `ttl`, `method`, `maddr` and `transport` in one alone tell the two
/// apart, any other in one alone is ignored.
fn params_agree(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    const DISTINGUISHING: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
    left.params().all(|param| match find(right.params(), param.name) {
        Some(other) => same_value(param.value, other.value),
        None => !DISTINGUISHING.iter().any(|name| name.eq_ignore_ascii_case(param.name)),
    })
}

fn find<'a>(mut params: Params<'a>, name: &[u8]) -> Option<Param<'a>> {
    params.find(|param| param.name.eq_ignore_ascii_case(name))
}

fn same_value(left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
    unescaped(left.unwrap_or_default()).eq_ignore_ascii_case(&unescaped(right.unwrap_or_default()))
}

/// Header components are never ignored: each has its equal on the other side, as often.
fn headers_agree(left: &[u8], right: &[u8]) -> bool {
    let sorted = |headers: &[u8]| {
        let mut all: Vec<(Vec<u8>, Vec<u8>)> = headers
            .split(|&byte| byte == b'&')
            .filter(|one| !one.is_empty())
            .map(|one| {
                let at = memchr::memchr(b'=', one).unwrap_or(one.len());
                let value = one.get(at + 1..).unwrap_or_default();
                (unescaped(&one[..at]).to_ascii_lowercase(), unescaped(value).into_owned())
            })
            .collect();
        all.sort();
        all
    };
    left == right || sorted(left) == sorted(right)
}

fn tel_eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    let digits = |uri: &Uri<'_>| -> Vec<u8> {
        let number = uri.user.unwrap_or_default().iter();
        number.filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')')).map(u8::to_ascii_lowercase).collect()
    };
    let covers = |left: &Uri<'_>, right: &Uri<'_>| {
        left.params().all(|param| {
            find(right.params(), param.name).is_some_and(|other| same_value(param.value, other.value))
        })
    };
    digits(left) == digits(right) && covers(left, right) && covers(right, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        let read = |text| Uri::parse(str::as_bytes(text)).unwrap_or_else(|bad| panic!("{text}: {bad}"));
        let (left, right) = (read(left), read(right));
        assert_eq!(eq(&left, &right), eq(&right, &left), "not symmetric");
        eq(&left, &right)
    }

    #[test]
    fn the_examples_of_rfc_3261_19_1_4() {
        for (left, right) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(same(left, right), "{left} = {right}");
        }
        for (left, right) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ] {
            assert!(!same(left, right), "{left} ≠ {right}");
        }
    }

    #[test]
    fn ipv6_and_tel() {
        assert!(same("sip:a@[2001:db8::1]", "sip:a@[2001:0DB8:0:0::1]"));
        assert!(same("tel:+1-201-555-0101", "tel:+12015550101"));
        assert!(!same("tel:+12015550101", "tel:+12015550101;ext=1"));
        assert!(!same("tel:12015550101", "tel:+12015550101"));
        assert!(same("urn:service:sos", "urn:service:sos"));
    }
}
