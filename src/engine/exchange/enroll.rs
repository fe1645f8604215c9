//! Our registration at carriers (`register = true`; RFC 3261 §10.2, RFC 5626 §4.5): one shard of the node registers a
//! trunk, refreshes that in time, and ends it when the trunk or the node goes. What the carrier then sends names the
//! trunk by the token in our Contact (R1c).

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Account, Question};
use super::challenged::Challenged;
use super::errand::{AskKey, Enroll, Errand, Stage};
use super::switchboard::exits_of;
use super::{CallEvent, Effects, Exchange, Notice};
use crate::call::outcome::tries_the_next_gateway;
use crate::engine::trunks::{Failure, Registration};
use crate::routing::{Auth, Trunk};
use crate::sip::dialog::Ways;
use crate::sip::digest;
use crate::sip::header::{Method, Name, chars};
use crate::sip::peer::Peer;
use crate::sip::uri::{Address, Uri};
use crate::sip::wire::Message;
use crate::time::{Instant, Now, Wall};

/// How long we ask to be registered, in seconds, until a carrier wants it longer.
const EXPIRES: u32 = 600;
/// The longest that a carrier may want (423), or grant, in seconds.
const MOST_EXPIRES: u32 = 86_400;
/// The part of what was granted after which it is refreshed, in thousandths: from this on, up to `LATEST`.
const SOONEST: u64 = 800;
const LATEST: u64 = 900;
/// No carrier has us refresh more often.
const LEAST_APART: Duration = Duration::from_secs(5);
/// The first REGISTER after a start or a reload goes out within this.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// How long is waited after a failure: this, doubled with each, up to the longest; half of it to all of it by lot (RFC
/// 5626 §4.5).
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(1_800);
/// Where nothing else wakes it, not even the end of its request (Timer F, 64·T1): a fault of ours while it was written.
const FALLBACK: Duration = Duration::from_secs(40);

impl Exchange {
    /// Another table: trunks that register and that no other shard looks after are registered from now on, others no
    /// more.
    pub(super) fn settle_enrolments(&mut self, now: Now, out: &mut Effects) {
        let (router, shard) = (self.settings.router, self.settings.shard);
        let registers = |trunk: &&Arc<Trunk>| trunk.register && trunk.auth.is_some();
        self.lines = self.table.trunks().iter().filter(registers).map(|trunk| self.line_of(trunk)).collect();
        let mine = |trunk: &&Arc<Trunk>| router.shard_for(trunk.name.as_bytes(), b"register") == shard;
        let mut wanted: Vec<Arc<Trunk>> =
            self.table.trunks().iter().filter(registers).filter(mine).cloned().collect();
        let (mut over, mut again) = (Vec::new(), Vec::new());
        for (key, ask) in self.asks.iter_mut() {
            let Errand::Enroll(enroll) = &mut ask.errand else { continue };
            if enroll.stage == Stage::Leaving {
                continue;
            }
            match wanted.iter().position(|trunk| enroll.is_of(trunk)) {
                Some(at) => {
                    let trunk = wanted.swap_remove(at);
                    if *trunk != *enroll.trunk {
                        again.push(key);
                    }
                    enroll.trunk = trunk;
                }
                None => over.push(key),
            }
        }
        for key in over {
            self.leave_carrier(now, key, out);
        }
        for key in again {
            self.stop_waiting(key);
            self.enroll_soon(now.mono, key);
        }
        for trunk in wanted {
            let (call_id, token) = (self.names.call_id(), self.token_of(&trunk));
            self.desk.trunks().registration(&trunk.name, Registration::Trying, None, now.wall);
            let key = self.asks.open(Errand::Enroll(Box::new(Enroll::new(trunk, EXPIRES, call_id, token))));
            self.enroll_soon(now.mono, key);
        }
    }

    /// An answer to what is under way is not waited for any more.
    fn stop_waiting(&mut self, key: AskKey) {
        if let Some((open, _)) = self.asks.get_mut(key).and_then(|ask| ask.open.take()) {
            self.transactions.abandon(open);
        }
    }

    fn enroll_soon(&mut self, now: Instant, key: AskKey) {
        let pause = self.part_of(FIRST_WITHIN, 0);
        self.asks.arm(key, now + pause);
    }

    fn token_of(&self, trunk: &Trunk) -> [u8; 32] {
        self.settings.lines.token(trunk.name.as_bytes())
    }

    fn line_of(&self, trunk: &Arc<Trunk>) -> ([u8; 32], Arc<Trunk>) {
        (self.token_of(trunk), Arc::clone(trunk))
    }

    /// R1c: the trunk whose token the Request-URI carries. A wrong one says nothing.
    pub(super) fn trunk_by_line(&self, request: &Message<'_>) -> Option<&Arc<Trunk>> {
        if self.lines.is_empty() {
            return None;
        }
        let line = request.uri().ok()?.param("line")?;
        self.lines.iter().find(|(token, _)| digest::same(token, line)).map(|(_, trunk)| trunk)
    }

    fn enroll_of(&mut self, key: AskKey) -> Option<&mut Enroll> {
        match self.asks.get_mut(key).map(|ask| &mut ask.errand) {
            Some(Errand::Enroll(enroll)) => Some(enroll),
            Some(_) | None => None,
        }
    }

    /// It is time to register or to refresh; or a gateway has had its time while another is left.
    pub(super) fn enroll_due(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        if let Some((open, _)) = self.asks.get_mut(key).and_then(|ask| ask.open.take()) {
            self.transactions.abandon(open);
            return self.enroll_failed(now, key, Failure::NoAnswer, None, out);
        }
        let Some(enroll) = self.enroll_of(key) else { return };
        let (trunk, before) = (Arc::clone(&enroll.trunk), enroll.registered_at());
        let exits = exits_of(&*self.desk, &mut self.names, &trunk, now.mono);
        let Some(enroll) = self.enroll_of(key) else { return };
        // Of gateways of one priority it stays with the one that has it.
        let rank = |at: u8| trunk.gateways.get(usize::from(at)).map(|gateway| gateway.priority);
        let first = exits.current().map(|exit| rank(exit.gateway));
        let stays = before.filter(|exit| first == Some(rank(exit.gateway))).and_then(|exit| exit.addr);
        enroll.exits = exits.beginning_at(stays);
        enroll.challenge = None;
        self.enroll(now, key, out);
    }

    /// Sends the REGISTER, or one with no time at all.
    fn enroll(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        self.asks.arm(key, now.mono + FALLBACK);
        let Some(enroll) = self.enroll_of(key) else { return };
        let Some(exit) = enroll.exits.current().copied() else { return };
        let (trunk, token, call_id) = (Arc::clone(&enroll.trunk), enroll.token, enroll.call_id);
        enroll.cseq = enroll.cseq.wrapping_add(1);
        let (cseq, challenge) = (enroll.cseq, enroll.challenge.take());
        let expires = if enroll.stage == Stage::Leaving { 0 } else { enroll.expires };
        let (patience, waits) = (trunk.try_timeout, enroll.exits.next().is_some());
        let to = exit.addr.and_then(|addr| self.settings.peer_at(addr, exit.transport));
        let gateway = trunk.gateways.get(usize::from(exit.gateway));
        let (Some(to), Some(gateway), Some(auth)) = (to, gateway, &trunk.auth) else {
            return self.enroll_failed(now, key, Failure::Unreachable, None, out);
        };
        let to = gateway.named(to);
        let user = user_part(auth);
        let uri = gateway.uri.as_bytes();
        let account = Account { user: &user, token: &token, call_id: &call_id, cseq };
        let question = Question { method: Method::Register, uri, to, account: Some(account) };
        let cnonce = self.names.stateless_tag(&cseq.to_be_bytes());
        let sent = self.ask(
            now,
            key,
            &question,
            |w| {
                w.number(Name::Expires, u64::from(expires));
                if let Some(challenge) = &challenge {
                    challenge.write(w, auth, Method::Register, uri, &cnonce);
                }
            },
            out,
        );
        if !sent {
            return self.enroll_failed(now, key, Failure::Unreachable, None, out);
        }
        if let Some(enroll) = self.enroll_of(key) {
            enroll.left = now.mono;
            enroll.challenge = challenge;
        }
        if waits {
            self.asks.arm(key, now.mono + patience);
        }
    }

    // A state table.
    pub(super) fn enroll_answered(
        &mut self,
        now: Now,
        key: AskKey,
        response: &Message<'_>,
        out: &mut Effects,
    ) {
        let code = response.status();
        let Some(enroll) = self.enroll_of(key) else { return };
        let again = match code {
            401 | 407 => {
                let before = enroll.challenge.as_ref();
                let auth = enroll.trunk.auth.as_ref();
                let next = auth.and_then(|auth| Challenged::of(response, auth, before));
                let can = next.is_some();
                enroll.challenge = next.or(enroll.challenge.take());
                can
            }
            423 => {
                let wanted = response.number(Name::MinExpires).unwrap_or(0);
                let longer = wanted > enroll.expires && wanted <= MOST_EXPIRES;
                enroll.expires = enroll.expires.max(if longer { wanted } else { 0 });
                longer
            }
            _ => false,
        };
        match (code, enroll.stage) {
            (200..=299, Stage::Leaving) => self.give_up_asking(key),
            (200..=299, Stage::Trying | Stage::Registered(_)) => self.enrolled(now, key, response, out),
            _ if again => self.enroll(now, key, out),
            _ => {
                let after = response.number(Name::RetryAfter).map(|after| Duration::from_secs(after.into()));
                self.enroll_failed(now, key, Failure::Refused(code), after, out);
            }
        }
    }

    fn enrolled(&mut self, now: Now, key: AskKey, response: &Message<'_>, out: &mut Effects) {
        let Some(enroll) = self.enroll_of(key) else { return };
        let granted = granted(response, &enroll.token).unwrap_or(enroll.expires).min(MOST_EXPIRES);
        if granted == 0 {
            return self.enroll_failed(now, key, Failure::Refused(response.status()), None, out);
        }
        let was = std::mem::replace(&mut enroll.stage, Stage::Registered(enroll.exits.current().copied()));
        enroll.failures = 0;
        enroll.challenge = None;
        let trunk = Arc::clone(&enroll.trunk.name);
        let lasts = Duration::from_secs(granted.into());
        let until = Wall(now.wall.0 + u64::from(granted) * 1_000);
        self.desk.trunks().registration(&trunk, Registration::Registered(until), None, now.wall);
        if was == Stage::Trying {
            out.notices.push(Notice::Said(CallEvent::Enrolled { trunk }));
        }
        let latest = lasts * u32::try_from(LATEST).unwrap_or(1) / 1_000;
        let pause = self.part_of(latest, SOONEST * 1_000 / LATEST).max(LEAST_APART);
        self.asks.arm(key, now.mono + pause);
    }

    /// On to the next gateway where another may do better; else a pause, the longer the more often it failed.
    pub(super) fn enroll_failed(
        &mut self,
        now: Now,
        key: AskKey,
        why: Failure,
        after: Option<Duration>,
        out: &mut Effects,
    ) {
        let fails_over = match why {
            Failure::NoAnswer | Failure::Unreachable | Failure::NotFound | Failure::NoListener => true,
            Failure::Refused(code) => tries_the_next_gateway(code),
        };
        let Some(enroll) = self.enroll_of(key) else { return };
        enroll.challenge = None;
        if let Some(next) = enroll.exits.next().filter(|_| fails_over) {
            enroll.exits = next;
            return self.enroll(now, key, out);
        }
        if enroll.stage == Stage::Leaving {
            return self.give_up_asking(key);
        }
        let doubled = PAUSE * (1 << enroll.failures.min(6));
        enroll.failures = enroll.failures.saturating_add(1);
        let first = enroll.failures == 1;
        enroll.stage = Stage::Trying;
        let trunk = Arc::clone(&enroll.trunk.name);
        self.desk.trunks().registration(&trunk, Registration::Trying, Some(why), now.wall);
        if first {
            out.notices.push(Notice::Said(CallEvent::NotEnrolled { trunk, why }));
        }
        let pause = self.part_of(doubled.min(LONGEST_PAUSE), 500);
        self.asks.arm(key, now.mono + pause.max(after.unwrap_or_default().min(LONGEST_PAUSE)));
    }

    /// The way that a registration was made by is gone: it is made anew at once, but not again and again.
    pub(super) fn enrolments_lose(&mut self, now: Now, to: Peer) {
        let mut lost = Vec::new();
        for (key, ask) in self.asks.iter_mut() {
            if let Errand::Enroll(enroll) = &ask.errand
                && ask.open.is_none()
                && let Some(exit) = enroll.registered_at()
                && (exit.addr, exit.transport) == (Some(to.addr), to.transport)
            {
                lost.push((key, enroll.left + PAUSE));
            }
        }
        for (key, earliest) in lost {
            self.asks.arm(key, earliest.max(now.mono));
        }
    }

    /// Ends every registration of this shard, as the node goes.
    pub fn leave_carriers(&mut self, now: Now, out: &mut Effects) {
        let enrolments = self.asks.iter_mut();
        let keys: Vec<AskKey> = enrolments
            .filter(|(_, ask)| matches!(ask.errand, Errand::Enroll(_)))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.leave_carrier(now, key, out);
        }
    }

    /// How many registrations are being ended.
    pub fn leaving(&mut self) -> usize {
        let is_leaving =
            |errand: &Errand| matches!(errand, Errand::Enroll(one) if one.stage == Stage::Leaving);
        self.asks.iter_mut().filter(|(_, ask)| is_leaving(&ask.errand)).count()
    }

    /// With no time at all, at the gateway that has it (RFC 3261 §10.2.2). Where none has, nothing is left to say.
    fn leave_carrier(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        self.stop_waiting(key);
        let Some(enroll) = self.enroll_of(key) else { return };
        let Some(exit) = enroll.registered_at() else { return self.give_up_asking(key) };
        enroll.stage = Stage::Leaving;
        enroll.challenge = None;
        enroll.exits = crate::call::leg::Exits::new([exit]);
        // Its old timer fires for nothing.
        self.asks.disarm(key);
        self.enroll(now, key, out);
    }
}

/// The account's name as the user part of a URI.
fn user_part(auth: &Auth) -> Vec<u8> {
    let mut user = Vec::with_capacity(auth.username.len());
    for byte in auth.username.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()+$".contains(&byte) {
            user.push(byte);
        } else {
            user.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    user
}

/// How long the carrier has us: the `expires` of our Contact, else the Expires (RFC 3261 §10.2.4). It may list other
/// Contacts of the account.
fn granted(response: &Message<'_>, token: &[u8]) -> Option<u32> {
    let is_ours = |uri: &Uri<'_>| uri.param("line") == Some(token);
    let contacts = response.list(Name::Contact).filter_map(|value| Address::parse(value).ok());
    let mut ours = contacts.filter(|address| is_ours(&address.uri));
    let own = ours.find_map(|address| address.param("expires").and_then(chars::number));
    own.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)).or_else(|| response.number(Name::Expires))
}
