//! A far side's challenge of a request of ours, and our answer to it (RFC 3261 §22.2, RFC 7616 §3.3, RFC 8760).

use crate::routing::Auth;
use crate::sip::build::Writer;
use crate::sip::digest::{self, Challenge};
use crate::sip::header::{Method, Name};
use crate::sip::wire::Message;

/// The longest challenge that is answered, in bytes, and how many of one request's are: the first, and those of a
/// nonce that had grown too old.
const LONGEST_CHALLENGE: usize = 1024;
pub(super) const MAX_CHALLENGES: u8 = 3;

/// A challenge of a 401 or 407.
#[derive(Clone, Debug)]
pub struct Challenged {
    /// 407: answered with Proxy-Authorization.
    pub proxy: bool,
    /// The value of its header.
    text: Box<[u8]>,
    /// How many challenges of this request were answered, this one included.
    count: u8,
}

/// The credentials that an INVITE of ours carried, for its ACK (RFC 3261 §22.1).
#[derive(Debug)]
pub struct Shown {
    pub cseq: u32,
    pub proxy: bool,
    pub text: Box<[u8]>,
}

impl Challenged {
    /// The challenge of a 401 or 407 that this account can answer: once, and again where only the nonce was too old.
    /// `before`: the one that was answered last.
    pub fn of(response: &Message<'_>, auth: &Auth, before: Option<&Challenged>) -> Option<Challenged> {
        let proxy = asks_as_proxy(response)?;
        auth.password.as_ref()?;
        let (challenge, text) = best(response, proxy)?;
        let count = match before {
            None => 1,
            Some(before) if challenge.stale && before.count < MAX_CHALLENGES => before.count + 1,
            Some(_) => return None,
        };
        Some(Challenged { proxy, text: text.into(), count })
    }

    /// The value of the header that answers it. `None`: we have no password.
    pub fn answer(&self, auth: &Auth, method: Method, target: &[u8], cnonce: &[u8]) -> Option<Vec<u8>> {
        answered(&Challenge::parse(&self.text)?, auth, method, target, cnonce)
    }

    /// Writes the header that answers it.
    pub fn write(&self, w: &mut Writer<'_>, auth: &Auth, method: Method, target: &[u8], cnonce: &[u8]) {
        if let Some(text) = self.answer(auth, method, target, cnonce) {
            w.header(names(self.proxy).1, &text);
        }
    }
}

impl Shown {
    pub fn write(&self, w: &mut Writer<'_>) {
        w.header(names(self.proxy).1, &self.text);
    }
}

/// The headers of a challenge and of its answer.
pub(super) fn names(proxy: bool) -> (Name, Name) {
    if proxy {
        (Name::ProxyAuthenticate, Name::ProxyAuthorization)
    } else {
        (Name::WwwAuthenticate, Name::Authorization)
    }
}

/// Whether it is a 407; `None` where it asks for no password.
pub(super) fn asks_as_proxy(response: &Message<'_>) -> Option<bool> {
    match response.status() {
        401 => Some(false),
        407 => Some(true),
        _ => None,
    }
}

/// The strongest of those that we can answer.
pub(super) fn best<'m>(response: &Message<'m>, proxy: bool) -> Option<(Challenge<'m>, &'m [u8])> {
    let known = response.all(names(proxy).0).filter_map(|text| Some((Challenge::parse(text)?, text)));
    let best = known.min_by_key(|(challenge, _)| challenge.algorithm);
    best.filter(|(_, text)| text.len() <= LONGEST_CHALLENGE)
}

pub(super) fn answered(
    challenge: &Challenge<'_>,
    auth: &Auth,
    method: Method,
    target: &[u8],
    cnonce: &[u8],
) -> Option<Vec<u8>> {
    let (username, password) = (auth.username.as_bytes(), auth.password.as_ref()?);
    let ha1 = challenge.algorithm.ha1(username, challenge.realm, password.as_bytes());
    let mut text = Vec::with_capacity(256);
    // Each challenge is answered once.
    digest::answer(&mut text, challenge, username, &ha1, (method.token(), target), (1, cnonce));
    Some(text)
}
