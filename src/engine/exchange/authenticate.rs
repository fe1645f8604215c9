//! Who an agent is: digest authentication of requests outside a dialog (R1b; RFC 3261 §22, RFC 8760).

use std::sync::Arc;

use super::binding::{Asked, Standing, Way};
use super::dialled::asked_for;
use super::{CallEvent, Effects, Exchange, Notice};
use crate::call::refusal::Refusal;
use crate::routing::{Agent, Table};
use crate::sip::digest::{Algorithm, Challenge, Credentials};
use crate::sip::header::{Method, Name};
use crate::sip::peer::Peer;
use crate::sip::uri::{self, Uri};
use crate::sip::wire::Message;
use crate::time::Now;

/// So many credentials of a request are looked at.
const MOST_CREDENTIALS: usize = 8;

/// Stands for the password of a name that nobody has, which is to take as long as a wrong password.
const NOBODYS_HA1: &[u8] = b"00000000000000000000000000000000";

impl Exchange {
    /// The agent that sent a request, by its credentials. `None`: it has been answered, or is to hear nothing.
    pub(super) fn authenticate(
        &mut self,
        now: Now,
        from: Peer,
        request: &Message<'_>,
        out: &mut Effects,
    ) -> Option<Arc<Agent>> {
        let Some(given) = credentials(request, self.realm().as_bytes()) else {
            self.challenge(now, from, request, false, out);
            return None;
        };
        let source = from.addr.ip();
        // Before anything is counted: a nonce that came back says that its user hears what we send to this source, so
        // nobody who only writes its address makes it look like one that guesses.
        let made = self.settings.nonces.check(given.nonce, now.mono, self.realm().as_bytes(), source);
        let Some(made) = made else {
            self.challenge(now, from, request, true, out);
            return None;
        };
        let directory = self.desk.directory();
        let standing = match directory.may_try(from, &given, now.mono) {
            // Nobody at its address shuts out who calls for help (R13).
            Standing::Deaf
                if asked(&self.table, request) == Asked::Help
                    && directory.may_challenge(from, Asked::Help, now.mono) =>
            {
                Standing::Suspect
            }
            standing @ (Standing::Good | Standing::Suspect | Standing::Deaf) => standing,
        };
        if standing == Standing::Deaf {
            self.guessed(from, &given, Refusal::TooManyTries, out);
            return None;
        }
        let name = std::str::from_utf8(given.username).unwrap_or_default();
        let agent = self.table.agent(name).cloned();
        let ha1 = agent.as_ref().and_then(|agent| agent.secrets.ha1(given.algorithm));
        let proof = given.prove(request.method_token(), ha1.map_or(NOBODYS_HA1, str::as_bytes));
        // What stands for nobody's password proves nothing.
        let proof = proof.filter(|_| ha1.is_some());
        let (Some(agent), Some(proof)) = (agent, proof) else {
            self.desk.directory().was_wrong(from, &given, now.mono);
            self.guessed(from, &given, Refusal::WrongPassword, out);
            if standing == Standing::Good {
                self.challenge(now, from, request, false, out);
            }
            return None;
        };
        if !asks_for(&given, request) {
            self.refuse_statelessly(from, request, Refusal::OtherUri, out);
            return None;
        }
        if !self.desk.directory().spend(&agent.name, given.nonce, made, proof.count) {
            self.challenge(now, from, request, true, out);
            return None;
        }
        Some(agent)
    }

    /// Counts a guess, and says who guessed.
    fn guessed(&mut self, from: Peer, given: &Credentials<'_>, why: Refusal, out: &mut Effects) {
        self.rejected.count(why.label());
        let agent = loggable(given.username);
        out.notices.push(Notice::Said(CallEvent::WrongPassword { agent, from: from.addr }));
    }

    fn realm(&self) -> &str {
        &self.settings.realm
    }

    /// R1b: whether a request outside a dialog is an agent's, to be challenged. It brings credentials for us, or names an
    /// agent in its From, or comes the way of a registered phone that is no trunk's.
    pub(super) fn is_an_agents(&self, from: Peer, request: &Message<'_>) -> bool {
        let named = || {
            let user = request.from().uri.user_unescaped();
            std::str::from_utf8(&user).is_ok_and(|user| self.table.agent(user).is_some())
        };
        credentials(request, self.realm().as_bytes()).is_some()
            || named()
            || (self.desk.directory().is_phone(Way::of(from)) && self.table.trunk_of(from.addr).is_none())
    }

    /// Asks for a password: 401 to REGISTER, 407 otherwise (R1b), with every hash by which all agents can answer, the
    /// strongest first (RFC 8760 §2.3). Which agent it is, and whether there is one, makes no difference.
    fn challenge(&mut self, now: Now, from: Peer, request: &Message<'_>, stale: bool, out: &mut Effects) {
        let source = from.addr.ip();
        let asked = asked(&self.table, request);
        if !self.desk.directory().may_challenge(from, asked, now.mono) {
            self.rejected.count(Refusal::TooManyTries.label());
            return;
        }
        let (why, name) = match asked {
            Asked::Registration => (Refusal::Unauthorized, Name::WwwAuthenticate),
            Asked::Call | Asked::Help => (Refusal::ProxyUnauthorized, Name::ProxyAuthenticate),
        };
        let drawn = (self.names.draw() >> 16) as u32;
        let nonce = self.settings.nonces.draw(now.mono, drawn, self.realm().as_bytes(), source);
        let realm = Arc::clone(&self.settings.realm);
        let table = Arc::clone(&self.table);
        self.answer_statelessly(from, request, why.code(), out, |w| {
            let mut text = Vec::with_capacity(192);
            for algorithm in Algorithm::ALL.into_iter().filter(|one| table.algorithms().contains(one)) {
                text.clear();
                let realm = realm.as_bytes();
                let challenge =
                    Challenge { realm, nonce: &nonce, opaque: None, algorithm, stale, auth: true };
                challenge.write(&mut text);
                w.header(name, &text);
            }
        });
    }
}

/// What a password is asked for.
fn asked(table: &Table, request: &Message<'_>) -> Asked {
    match request.method() {
        Method::Register => Asked::Registration,
        Method::Invite if table.emergency(&asked_for(request)).is_some() => Asked::Help,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Refer
        | Method::Notify
        | Method::Subscribe
        | Method::Publish
        | Method::Message
        | Method::Other => Asked::Call,
    }
}

/// Those of a request that are for our realm.
fn credentials<'m>(request: &Message<'m>, realm: &[u8]) -> Option<Credentials<'m>> {
    let all = request.all(Name::Authorization).chain(request.all(Name::ProxyAuthorization));
    all.take(MOST_CREDENTIALS).filter_map(Credentials::parse).find(|given| given.realm == realm)
}

/// A name as a stranger wrote it, without what could be taken for more of the log line.
fn loggable(username: &[u8]) -> Box<str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'@');
    let letters = username.iter().take(64).map(|byte| if plain(byte) { char::from(*byte) } else { '?' });
    letters.collect::<String>().into()
}

/// Whether what was signed is what is asked for (RFC 7616 §3.4.6). Without this a signature for one number would do for
/// another.
fn asks_for(given: &Credentials<'_>, request: &Message<'_>) -> bool {
    given.uri == request.uri_raw()
        || match (Uri::parse(given.uri), request.uri()) {
            (Ok(signed), Ok(asked)) => uri::eq(&signed, &asked),
            (Ok(_) | Err(_), _) => false,
        }
}
