//! A far side's challenge of a request of ours, and our answer to it (RFC 3261 §22, RFC 7616 §3.3, RFC 8760).

use smallvec::SmallVec;

use crate::routing::Auth;
use crate::sip::build::Writer;
use crate::sip::digest::{self, Challenge, Credentials};
use crate::sip::header::{Method, Name};
use crate::sip::wire::Message;

/// The longest challenge that is answered, in bytes.
const LONGEST_CHALLENGE: usize = 1024;
/// How often one request answers the same realm: the first time, and where its nonce had grown too old.
const MOST_ANSWERS: u8 = 3;
/// How many realms one request answers: a proxy's and the far end's behind it.
const MOST_REALMS: usize = 2;

/// How we answer one trunk's challenges in one dialog, or in one registration.
#[derive(Debug)]
pub struct Login {
    auth: Auth,
    /// The last challenge of each realm.
    known: SmallVec<[Challenged; 1]>,
    /// What our last INVITE showed, and its ACK is to show again.
    pub shown: Option<Shown>,
}

/// A challenge of a 401 or 407.
#[derive(Debug)]
struct Challenged {
    /// 407: answered with Proxy-Authorization.
    proxy: bool,
    /// The value of its header.
    text: Box<[u8]>,
    /// How often its nonce was used (RFC 7616 §3.4).
    uses: u32,
    /// How often the request that is under way has answered this realm.
    answered: u8,
}

/// Credentials as they stand in a request.
#[derive(Debug)]
pub struct Given {
    proxy: bool,
    text: Box<[u8]>,
}

/// All those of one request.
pub type Answers = SmallVec<[Given; 1]>;

/// The credentials that an INVITE of ours carried, for its ACK (RFC 3261 §22.1).
#[derive(Debug)]
pub struct Shown {
    pub cseq: u32,
    pub given: Answers,
}

impl Login {
    pub fn of(auth: &Auth) -> Login {
        Login { auth: auth.clone(), known: SmallVec::new(), shown: None }
    }

    /// Another request, which has answered nothing. Nonces are counted on.
    pub fn begins(&mut self) {
        self.known.iter_mut().for_each(|known| known.answered = 0);
    }

    /// A request that has left: what it has answered so far stands in it.
    pub fn resumes(&mut self, request: &Message<'_>) {
        for known in &mut self.known {
            let mut given = request.all(names(known.proxy).1).filter_map(Credentials::parse);
            let given = given.find(|given| known.realm() == Some(given.realm));
            known.answered = given.map_or(0, |given| answers_of(&given));
        }
    }

    /// A 401 or 407: whether it asks for what was not answered yet, or only the nonce was too old (RFC 7616 §3.3).
    pub fn is_asked(&mut self, response: &Message<'_>) -> bool {
        let Some(proxy) = asks_as_proxy(response).filter(|_| self.auth.password.is_some()) else {
            return false;
        };
        let mut goes_on = false;
        for (challenge, text) in strongest(response, proxy) {
            let is_same = |known: &Challenged| known.proxy == proxy && known.realm() == Some(challenge.realm);
            if let Some(known) = self.known.iter_mut().find(|known| is_same(known)) {
                if known.answered == 0 || challenge.stale && known.answered < MOST_ANSWERS {
                    known.answered += 1;
                    goes_on = true;
                }
                known.takes(&challenge, text);
                continue;
            }
            // One that this request has not answered gives way.
            if self.known.len() >= MOST_REALMS
                && let Some(at) = self.known.iter().position(|known| known.answered == 0)
            {
                self.known.remove(at);
            }
            if self.known.len() < MOST_REALMS {
                self.known.push(Challenged { proxy, text: text.into(), uses: 0, answered: 1 });
                goes_on = true;
            }
        }
        goes_on
    }

    /// The credentials for every realm that has asked. `cnonce`: its first letter says how often the request has
    /// answered that realm.
    pub fn answers(&mut self, method: Method, target: &[u8], mut cnonce: [u8; 12]) -> Answers {
        let Login { auth, known, .. } = self;
        let asking = known.iter_mut().filter(|known| known.answered > 0);
        let answers = asking.filter_map(|known| {
            known.uses = known.uses.saturating_add(1);
            cnonce[0] = b'0' + known.answered;
            let challenge = Challenge::parse(&known.text)?;
            let text = answered(&challenge, auth, method, target, (known.uses, &cnonce))?;
            Some(Given { proxy: known.proxy, text: text.into() })
        });
        answers.collect()
    }
}

impl Challenged {
    fn realm(&self) -> Option<&[u8]> {
        Challenge::parse(&self.text).map(|challenge| challenge.realm)
    }

    /// A later challenge of the same realm.
    fn takes(&mut self, challenge: &Challenge<'_>, text: &[u8]) {
        let nonce = Challenge::parse(&self.text).map(|before| before.nonce);
        if nonce != Some(challenge.nonce) {
            self.uses = 0;
        }
        self.text = text.into();
    }
}

impl Given {
    pub fn write(&self, w: &mut Writer<'_>) {
        w.header(names(self.proxy).1, &self.text);
    }
}

/// The headers of a challenge and of its answer.
fn names(proxy: bool) -> (Name, Name) {
    if proxy {
        (Name::ProxyAuthenticate, Name::ProxyAuthorization)
    } else {
        (Name::WwwAuthenticate, Name::Authorization)
    }
}

/// Whether it is a 407; `None` where it asks for no password.
fn asks_as_proxy(response: &Message<'_>) -> Option<bool> {
    match response.status() {
        401 => Some(false),
        407 => Some(true),
        _ => None,
    }
}

/// Of each realm the strongest challenge that we can answer.
fn strongest<'m>(response: &Message<'m>, proxy: bool) -> SmallVec<[(Challenge<'m>, &'m [u8]); MOST_REALMS]> {
    let mut best: SmallVec<[(Challenge<'m>, &'m [u8]); MOST_REALMS]> = SmallVec::new();
    for text in response.all(names(proxy).0).filter(|text| text.len() <= LONGEST_CHALLENGE) {
        let Some(challenge) = Challenge::parse(text) else { continue };
        match best.iter().position(|(other, _)| other.realm == challenge.realm) {
            Some(at) if challenge.algorithm < best[at].0.algorithm => best[at] = (challenge, text),
            None if best.len() < MOST_REALMS => best.push((challenge, text)),
            Some(_) | None => {}
        }
    }
    best
}

/// How often a request with these credentials of ours has answered their realm. Without `qop` they do not say: no
/// more then.
fn answers_of(given: &Credentials<'_>) -> u8 {
    let first = given.cnonce().and_then(|cnonce| cnonce.first()?.checked_sub(b'0'));
    first.filter(|count| (1..MOST_ANSWERS).contains(count)).unwrap_or(MOST_ANSWERS)
}

fn answered(
    challenge: &Challenge<'_>,
    auth: &Auth,
    method: Method,
    target: &[u8],
    used: (u32, &[u8]),
) -> Option<Vec<u8>> {
    let (username, password) = (auth.username.as_bytes(), auth.password.as_ref()?);
    let ha1 = challenge.algorithm.ha1(username, challenge.realm, password.as_bytes());
    let mut text = Vec::with_capacity(256);
    digest::answer(&mut text, challenge, username, &ha1, (method.token(), target), used);
    Some(text)
}
