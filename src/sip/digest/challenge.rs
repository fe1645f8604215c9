use super::{Algorithm, params};
use crate::sip::build::push_clean;
use crate::sip::header::{Param, chars};

/// One WWW-Authenticate or Proxy-Authenticate (RFC 7616 §3.3, RFC 8760 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Realm, nonce and opaque without their quotes, their escapes as they came.
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    pub opaque: Option<&'a [u8]>,
    pub algorithm: Algorithm,
    /// The answer was right but for its nonce.
    pub stale: bool,
    /// `auth` is among the qualities of protection. Without any an answer is as RFC 2069 has it.
    pub auth: bool,
}

impl<'a> Challenge<'a> {
    /// Reads one value. `None` for a scheme or an algorithm that we do not speak, for one that has only `auth-int`,
    /// and for what is not well formed.
    pub fn parse(value: &'a [u8]) -> Option<Challenge<'a>> {
        let (mut realm, mut nonce, mut opaque) = (None, None, None);
        let (mut algorithm, mut stale, mut qop) = (Some(Algorithm::Md5), false, None);
        params::each(value, |Param { name, value }| {
            let is = |wanted: &[u8]| chars::is(name, wanted);
            if is(b"realm") {
                realm = value;
            } else if is(b"nonce") {
                nonce = value;
            } else if is(b"opaque") {
                opaque = value;
            } else if is(b"algorithm") {
                algorithm = Algorithm::parse(value?);
            } else if is(b"stale") {
                stale = chars::is(value?, b"true");
            } else if is(b"qop") {
                qop = value;
            }
            Some(())
        })?;
        let has_auth =
            |qop: &[u8]| qop.split(|&byte| byte == b',').any(|one| chars::is(chars::trim(one), b"auth"));
        let auth = qop.is_some_and(has_auth);
        if qop.is_some() && !auth {
            return None;
        }
        Some(Challenge { realm: realm?, nonce: nonce?, opaque, algorithm: algorithm?, stale, auth })
    }

    /// Of several challenges the one to answer: the first in the order of preference, in which a server should write
    /// them, and an attacker on the way might not have (RFC 8760 §2.4).
    pub fn strongest(values: impl Iterator<Item = &'a [u8]>) -> Option<Challenge<'a>> {
        values.filter_map(Challenge::parse).min_by_key(|challenge| challenge.algorithm)
    }

    /// Appends the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Digest realm=\"");
        push_clean(out, self.realm);
        out.extend_from_slice(b"\", nonce=\"");
        push_clean(out, self.nonce);
        if let Some(opaque) = self.opaque {
            out.extend_from_slice(b"\", opaque=\"");
            push_clean(out, opaque);
        }
        out.extend_from_slice(b"\", algorithm=");
        out.extend_from_slice(self.algorithm.token().as_bytes());
        if self.auth {
            out.extend_from_slice(b", qop=\"auth\"");
        }
        if self.stale {
            out.extend_from_slice(b", stale=true");
        }
    }
}
