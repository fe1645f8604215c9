use super::{Algorithm, Challenge, Exchange, Hex, params, same};
use crate::sip::build::push_clean;
use crate::sip::header::{Param, chars};

/// One Authorization or Proxy-Authorization (RFC 7616 §3.4).
///
/// All values without their quotes; in those that are hashed escapes stay as they came.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    pub username: &'a [u8],
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    pub uri: &'a [u8],
    pub algorithm: Algorithm,
    response: &'a [u8],
    /// `None` for a client of RFC 2069, which names no quality of protection.
    auth: Option<Auth<'a>>,
}

/// What `qop=auth` brings along.
#[derive(Clone, Copy, Debug)]
struct Auth<'a> {
    count: u32,
    count_text: &'a [u8],
    cnonce: &'a [u8],
}

/// What right credentials say of their nonce's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How often the nonce was used, this time included; `None` for a client that does not count.
    pub count: Option<u32>,
}

impl<'a> Credentials<'a> {
    /// Reads one value. `None` for a scheme, an algorithm or a quality of protection that we never ask for, and
    /// for what is not well formed or not whole.
    pub fn parse(value: &'a [u8]) -> Option<Credentials<'a>> {
        let [mut username, mut realm, mut nonce, mut uri, mut response] = [None; 5];
        let [mut qop, mut count, mut cnonce] = [None; 3];
        let mut algorithm = Some(Algorithm::Md5);
        params::each(value, |Param { name, value }| {
            let is = |wanted: &[u8]| chars::is(name, wanted);
            let place = if is(b"username") {
                &mut username
            } else if is(b"realm") {
                &mut realm
            } else if is(b"nonce") {
                &mut nonce
            } else if is(b"uri") {
                &mut uri
            } else if is(b"response") {
                &mut response
            } else if is(b"qop") {
                &mut qop
            } else if is(b"nc") {
                &mut count
            } else if is(b"cnonce") {
                &mut cnonce
            } else {
                if is(b"algorithm") {
                    algorithm = Algorithm::parse(value?);
                }
                return Some(());
            };
            // Which of two would count is nobody's guess.
            if place.is_some() {
                return None;
            }
            *place = value;
            Some(())
        })?;
        let auth = match qop {
            Some(qop) if chars::is(qop, b"auth") => {
                let count_text = count?;
                Some(Auth { count: read_count(count_text)?, count_text, cnonce: cnonce? })
            }
            Some(_) => return None,
            None => None,
        };
        Some(Credentials {
            username: username?,
            realm: realm?,
            nonce: nonce?,
            uri: uri?,
            algorithm: algorithm?,
            response: response?,
            auth,
        })
    }

    /// The client's own nonce; `None` without `qop`.
    pub fn cnonce(&self) -> Option<&'a [u8]> {
        self.auth.as_ref().map(|auth| auth.cnonce)
    }

    /// Whether they prove that their sender knows the password. `ha1` is its hash of their algorithm, in
    /// hexadecimal. What their nonce is worth, and whether `uri` is what was asked for, is for the caller to see.
    pub fn prove(&self, method: &str, ha1: &[u8]) -> Option<Proof> {
        let auth = self.auth.map(|auth| (auth.count_text, auth.cnonce));
        let exchange = Exchange { method, uri: self.uri, nonce: self.nonce, auth };
        let right = exchange.response(self.algorithm, ha1);
        let given = self.response.to_ascii_lowercase();
        same(right.as_bytes(), &given).then(|| Proof { count: self.auth.map(|auth| auth.count) })
    }
}

/// Eight hexadecimal digits (RFC 7616 §3.4); fewer are read too.
fn read_count(text: &[u8]) -> Option<u32> {
    if !(1..=8).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0, |sum, &byte| Some(sum << 4 | char::from(byte).to_digit(16)?))
}

/// Appends the value that answers a challenge (RFC 7616 §3.4). `ha1` in hexadecimal, of the challenge's algorithm;
/// `count`: how often its nonce is used with this; `cnonce`: letters and digits of the client's own.
pub fn answer(
    out: &mut Vec<u8>,
    challenge: &Challenge<'_>,
    username: &[u8],
    ha1: &Hex,
    (method, uri): (&str, &[u8]),
    (count, cnonce): (u32, &[u8]),
) {
    let count = format!("{count:08x}");
    let auth = challenge.auth.then_some((count.as_bytes(), cnonce));
    let exchange = Exchange { method, uri, nonce: challenge.nonce, auth };
    let response = exchange.response(challenge.algorithm, ha1.as_bytes());
    let mut quoted = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        push_clean(out, value);
        out.push(b'"');
    };
    quoted("Digest username", username);
    quoted(", realm", challenge.realm);
    quoted(", nonce", challenge.nonce);
    quoted(", uri", uri);
    quoted(", response", response.as_bytes());
    if let Some(opaque) = challenge.opaque {
        quoted(", opaque", opaque);
    }
    if auth.is_some() {
        quoted(", cnonce", cnonce);
        out.extend_from_slice(b", qop=auth, nc=");
        out.extend_from_slice(count.as_bytes());
    }
    out.extend_from_slice(b", algorithm=");
    out.extend_from_slice(challenge.algorithm.token().as_bytes());
}
