//! A far side's challenge of a request of ours, and our answer to it (RFC 3261 §22.2, RFC 7616 §3.3).

use crate::routing::Auth;
use crate::sip::build::Writer;
use crate::sip::digest::{self, Challenge};
use crate::sip::header::{Method, Name};
use crate::sip::wire::Message;

/// The longest challenge that is answered, in bytes, and how many of one request's are.
const LONGEST_CHALLENGE: usize = 1024;
const MAX_CHALLENGES: u8 = 3;

/// A challenge of a 401 or 407.
#[derive(Clone, Debug)]
pub struct Challenged {
    /// 407: answered with Proxy-Authorization.
    proxy: bool,
    /// The value of its header.
    text: Box<[u8]>,
    /// How many challenges of this request were answered, this one included.
    count: u8,
}

impl Challenged {
    /// The challenge of a 401 or 407 that this account can answer: once, and again where only the nonce was too old.
    /// `before`: the one that was answered last.
    pub fn of(response: &Message<'_>, auth: &Auth, before: Option<&Challenged>) -> Option<Challenged> {
        let proxy = response.status() == 407;
        let name = match response.status() {
            401 => Name::WwwAuthenticate,
            407 => Name::ProxyAuthenticate,
            _ => return None,
        };
        auth.password.as_ref()?;
        let known = response.all(name).filter_map(|text| Some((Challenge::parse(text)?, text)));
        let (challenge, text) = known.min_by_key(|(challenge, _)| challenge.algorithm)?;
        let count = match before {
            None => 1,
            Some(before) if challenge.stale && before.count < MAX_CHALLENGES => before.count + 1,
            Some(_) => return None,
        };
        (text.len() <= LONGEST_CHALLENGE).then(|| Challenged { proxy, text: text.into(), count })
    }

    /// Writes the header that answers it.
    pub fn answer(&self, w: &mut Writer<'_>, auth: &Auth, method: Method, target: &[u8], cnonce: &[u8]) {
        let (Some(challenge), Some(password)) = (Challenge::parse(&self.text), &auth.password) else {
            return;
        };
        let username = auth.username.as_bytes();
        let ha1 = challenge.algorithm.ha1(username, challenge.realm, password.as_bytes());
        let mut text = Vec::with_capacity(256);
        // Each challenge is answered once.
        digest::answer(&mut text, &challenge, username, &ha1, (method.token(), target), (1, cnonce));
        w.header(if self.proxy { Name::ProxyAuthorization } else { Name::Authorization }, &text);
    }
}
