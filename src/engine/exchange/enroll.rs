//! Our registration at carriers (`register = true`; RFC 3261 §10.2, RFC 5626 §4.5): one shard of the node registers a
//! trunk, refreshes that in time, and ends it when the trunk or the node goes. What the carrier then sends names the
//! trunk by the token in our Contact (R1c).

use std::sync::Arc;
use std::time::Duration;

use super::ask::{Account, Question};
use super::challenged::Answers;
use super::errand::{AskKey, Enroll, Errand, GoesOn, Grant, Stage};
use super::switchboard::exits_of;
use super::{CallEvent, Effects, Exchange, Notice};
use crate::call::outcome::tries_the_next_gateway;
use crate::engine::trunks::{Failure, Listed, Registration};
use crate::routing::{Auth, Trunk};
use crate::sip::dialog::Ways;
use crate::sip::digest;
use crate::sip::header::{Method, Name, chars};
use crate::sip::peer::Peer;
use crate::sip::uri::{Address, SIP_PORT, Uri};
use crate::sip::wire::Message;
use crate::time::{Instant, Now, Wall};

/// How long we ask to be registered, in seconds, until a carrier wants it longer.
const EXPIRES: u32 = 600;
/// The longest that a carrier may want (423), or grant, in seconds.
const MOST_EXPIRES: u32 = 86_400;
/// The part of what was granted after which it is refreshed, in thousandths: from this on, up to `LATEST`.
const SOONEST: u64 = 800;
const LATEST: u64 = 900;
/// What is granted for less than this is refreshed at its half: a request that is lost has time to be repeated.
const SHORT: Duration = Duration::from_secs(60);
/// No carrier has us refresh more often: the shortest time that can be granted.
const LEAST_APART: Duration = Duration::from_secs(1);
/// How often in a row a carrier may want it longer.
const MOST_RAISES: u8 = 2;
/// The first REGISTER after a start or a reload goes out within this.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// How long is waited after a failure: this, doubled with each, up to the longest; half of it to all of it by lot (RFC
/// 5626 §4.5).
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(1_800);
/// While it waits it is looked at so often, half of that to all of it by lot: whether a gateway of its trunk has come back
/// (R14). Nothing is sent for it.
const LOOK: Duration = Duration::from_secs(10);
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
        let mut known: Vec<(bool, AskKey)> = Vec::new();
        for (key, ask) in self.asks.iter_mut() {
            match &ask.errand {
                Errand::Enroll(enroll) if enroll.stage != Stage::Leaving => {
                    known.push((enroll.stands_at(now.mono).is_none(), key));
                }
                Errand::Enroll(_) | Errand::Gateway(_) | Errand::Round(_) | Errand::Phone(_) => {}
            }
        }
        // Whom the carrier has goes on before who is still trying to be had.
        known.sort_by_key(|(tries, _)| *tries);
        for (_, key) in known {
            let Some(ask) = self.asks.get_mut(key) else { continue };
            let is_open = ask.open.is_some();
            let Errand::Enroll(enroll) = &mut ask.errand else { continue };
            let own = wanted.iter().position(|trunk| enroll.is_of(trunk));
            match own.map_or(GoesOn::Elsewhere, |at| enroll.goes_on_as(&wanted[at], is_open, now.mono)) {
                GoesOn::AsItIs => drop(own.map(|at| wanted.swap_remove(at))),
                GoesOn::Anew => {
                    drop(own.map(|at| wanted.swap_remove(at)));
                    self.stop_waiting(key);
                    self.enroll_soon(now.mono, key);
                }
                GoesOn::Elsewhere => self.enroll_elsewhere(now, key, out),
            }
        }
        for trunk in wanted {
            let Some(auth) = trunk.auth.clone() else { continue };
            let (call_id, token) = (self.names.call_id(), self.token_of(&trunk));
            self.desk.trunks().registration(&trunk.name, Registration::Trying, None, now.wall);
            let enroll = Enroll::new(trunk, &auth, EXPIRES, call_id, token);
            let key = self.asks.open(Errand::Enroll(Box::new(enroll)));
            self.enroll_soon(now.mono, key);
        }
    }

    /// Its registrar is none of its trunk's any more. Where the trunk is registered elsewhere from now on, this one ends
    /// behind that.
    fn enroll_elsewhere(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        let table = Arc::clone(&self.table);
        let Some(enroll) = self.enroll_of(key) else { return };
        let goes_on = table.trunks().iter().any(|trunk| trunk.register && enroll.is_of(trunk));
        match (enroll.stage, enroll.stands_at(now.mono)) {
            (Stage::Replaced, Some(_)) if goes_on => {}
            (_, Some(_)) if goes_on => {
                enroll.stage = Stage::Replaced;
                self.stop_waiting(key);
                self.asks.arm(key, now.mono + FALLBACK);
            }
            (_, _) => self.leave_carrier(now, key, out),
        }
    }

    /// The trunk is registered: what it was registered at before may end.
    fn leave_replaced(&mut self, now: Now, name: &str, out: &mut Effects) {
        let mut over = Vec::new();
        for (key, ask) in self.asks.iter_mut() {
            if let Errand::Enroll(enroll) = &ask.errand
                && enroll.stage == Stage::Replaced
                && *enroll.trunk.name == *name
            {
                over.push(key);
            }
        }
        for key in over {
            self.leave_carrier(now, key, out);
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
        if let Some(enroll) = self.enroll_of(key) {
            enroll.rests_until = Instant::ZERO;
        }
        self.asks.arm(key, now + pause);
    }

    /// Whether it still waits after a failure. Not where a gateway of its trunk has come up since: it is registered there
    /// soon, and what failed before says nothing any more. Another shard may be the one that asks those, so what it found
    /// is looked at.
    fn rests_on(&mut self, now: Now, key: AskKey) -> bool {
        let Some(enroll) = self.enroll_of(key) else { return false };
        let (trunk, until) = (Arc::clone(&enroll.trunk.name), enroll.rests_until);
        if enroll.stage != Stage::Trying || until <= now.mono {
            return false;
        }
        if self.desk.trunks().of(&trunk).is_some_and(|known| known.has_come_back()) {
            if let Some(enroll) = self.enroll_of(key) {
                enroll.failures = 0;
            }
            return false;
        }
        let look = self.part_of(LOOK, 500);
        self.asks.arm(key, until.min(now.mono + look));
        true
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
        if self.rests_on(now, key) {
            return;
        }
        if let Some((open, _)) = self.asks.get_mut(key).and_then(|ask| ask.open.take()) {
            self.transactions.abandon(open);
            return self.enroll_failed(now, key, Failure::NoAnswer, None, out);
        }
        let Some(enroll) = self.enroll_of(key) else { return };
        if enroll.stage == Stage::Replaced {
            return self.leave_carrier(now, key, out);
        }
        let (trunk, before) = (Arc::clone(&enroll.trunk), enroll.stands_at(now.mono));
        let exits = exits_of(&*self.desk, &mut self.names, &trunk, now.mono);
        let Some(enroll) = self.enroll_of(key) else { return };
        // Of gateways of one priority it stays with the one that has it.
        let rank = |at: u8| trunk.gateways.get(usize::from(at)).map(|gateway| gateway.priority);
        let first = exits.current().map(|exit| rank(exit.gateway));
        let stays = before.filter(|exit| first == Some(rank(exit.gateway))).and_then(|exit| exit.addr);
        enroll.told.retain(|(_, until)| *until > now.mono);
        enroll.exits = exits.beginning_at(stays);
        match enroll.first_free(now.mono, enroll.exits.clone()) {
            Some(exits) => enroll.exits = exits,
            // They have been left alone for less long than the last of them said.
            None => {
                let until = enroll.all_alone_until().unwrap_or(now.mono + LONGEST_PAUSE);
                enroll.rests_until = until;
                return self.asks.arm(key, until);
            }
        }
        enroll.login.begins();
        enroll.raises = 0;
        self.enroll(now, key, out);
    }

    /// Sends the REGISTER, or one with no time at all.
    fn enroll(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        self.asks.arm(key, now.mono + FALLBACK);
        let Some(enroll) = self.enroll_of(key) else { return };
        let Some(exit) = enroll.exits.current().copied() else { return };
        let (trunk, token, call_id) = (Arc::clone(&enroll.trunk), enroll.token, enroll.call_id);
        enroll.cseq = enroll.cseq.wrapping_add(1);
        enroll.rests_until = Instant::ZERO;
        let cseq = enroll.cseq;
        let expires = if enroll.stage == Stage::Leaving { 0 } else { enroll.expires };
        let (patience, waits) = (trunk.try_timeout, enroll.exits.next().is_some());
        let to = exit.addr.and_then(|addr| self.settings.peer_at(addr, exit.transport));
        let gateway = trunk.gateways.get(usize::from(exit.gateway));
        let (Some(to), Some(gateway), Some(auth)) = (to, gateway, &trunk.auth) else {
            let why = if exit.addr.is_none() { Failure::NotFound } else { Failure::NoListener };
            return self.enroll_failed(now, key, why, None, out);
        };
        let to = gateway.named(to);
        let user = user_part(auth);
        let uri = gateway.uri.as_bytes();
        let account = Account { user: &user, token: &token, call_id: &call_id, cseq };
        let question = Question { method: Method::Register, uri, to, account: Some(account) };
        let cnonce = self.names.stateless_tag(&cseq.to_be_bytes());
        let enroll = self.enroll_of(key);
        let given =
            enroll.map_or_else(Answers::new, |enroll| enroll.login.answers(Method::Register, uri, cnonce));
        let sent = self.ask(
            now,
            key,
            &question,
            |w| {
                w.number(Name::Expires, u64::from(expires));
                given.iter().for_each(|given| given.write(w));
            },
            out,
        );
        if !sent {
            return self.enroll_failed(now, key, Failure::Unreachable, None, out);
        }
        if let Some(enroll) = self.enroll_of(key) {
            enroll.left = now.mono;
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
            401 | 407 => enroll.login.is_asked(response),
            423 => {
                let wanted = response.number(Name::MinExpires).unwrap_or(0);
                let longer = (enroll.expires + 1..=MOST_EXPIRES).contains(&wanted);
                let may = longer && enroll.stage != Stage::Leaving && enroll.raises < MOST_RAISES;
                if may {
                    enroll.expires = wanted;
                    enroll.raises += 1;
                }
                may
            }
            _ => false,
        };
        match (code, enroll.stage) {
            (200..=299, Stage::Leaving) => self.give_up_asking(key),
            (200..=299, Stage::Trying | Stage::Registered | Stage::Replaced) => {
                self.enrolled(now, key, response, out);
            }
            _ if again => self.enroll(now, key, out),
            _ => {
                let after = response.number(Name::RetryAfter).map(|after| Duration::from_secs(after.into()));
                self.enroll_failed(now, key, Failure::Refused(code), after, out);
            }
        }
    }

    fn enrolled(&mut self, now: Now, key: AskKey, response: &Message<'_>, out: &mut Effects) {
        let Some(enroll) = self.enroll_of(key) else { return };
        let (exit, token, asked) = (enroll.exits.current().copied(), enroll.token, enroll.expires);
        let user = enroll.trunk.auth.as_ref().map(user_part).unwrap_or_default();
        let to = exit.and_then(|exit| self.settings.peer_at(exit.addr?, exit.transport));
        let host = to.map(|to| self.settings.host_of(&*self.desk, to)).unwrap_or_default();
        let ours = [b"sip:", &*user, b"@", &host].concat();
        let granted = granted(response, &ours, &token, asked).filter(|(granted, _)| *granted > 0);
        let Some((granted, listed)) = granted else {
            return self.enroll_failed(now, key, Failure::Unlisted, None, out);
        };
        let Some(enroll) = self.enroll_of(key) else { return };
        let granted = granted.min(MOST_EXPIRES);
        let lasts = Duration::from_secs(granted.into());
        let was = std::mem::replace(&mut enroll.stage, Stage::Registered);
        enroll.granted = exit.map(|exit| Grant { exit, until: now.mono + lasts });
        enroll.failures = 0;
        let trunk = Arc::clone(&enroll.trunk.name);
        let until = Wall(now.wall.0 + u64::from(granted) * 1_000);
        self.desk.trunks().registration(&trunk, Registration::Registered(until), None, now.wall);
        if was == Stage::Trying {
            out.notices.push(Notice::Said(CallEvent::Enrolled { trunk: Arc::clone(&trunk), listed }));
        }
        let latest = lasts * u32::try_from(LATEST).unwrap_or(1) / 1_000;
        let pause = match lasts < SHORT {
            true => (lasts / 2).max(LEAST_APART),
            false => self.part_of(latest, SOONEST * 1_000 / LATEST),
        };
        self.asks.arm(key, now.mono + pause);
        self.leave_replaced(now, &trunk, out);
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
            Failure::NoAnswer
            | Failure::Unreachable
            | Failure::Insecure(_)
            | Failure::NotFound
            | Failure::NoListener => true,
            // The last two are of calls alone.
            Failure::Unlisted | Failure::CallUnanswered | Failure::CallRefused(_) => false,
            Failure::Refused(code) => tries_the_next_gateway(code),
        };
        let Some(enroll) = self.enroll_of(key) else { return };
        enroll.login.begins();
        if let (Some(after), Some(exit)) = (after, enroll.exits.current().copied()) {
            enroll.told.retain(|(of, _)| (of.gateway, of.addr) != (exit.gateway, exit.addr));
            enroll.told.push((exit, now.mono + after.min(LONGEST_PAUSE)));
        }
        let next = enroll.exits.next().filter(|_| fails_over);
        if let Some(next) = next.and_then(|next| enroll.first_free(now.mono, next)) {
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
        let look = now.mono + self.part_of(LOOK, 500);
        let Some(enroll) = self.enroll_of(key) else { return };
        let alone = enroll.all_alone_until();
        let until = (now.mono + pause).max(alone.unwrap_or(now.mono));
        enroll.rests_until = until;
        // Where every gateway has said how long, they have that time, whoever comes back.
        self.asks.arm(key, until.min(look.max(alone.unwrap_or(now.mono))));
    }

    /// The way that a registration was made by is gone: it is made anew at once, but not again and again.
    pub(super) fn enrolments_lose(&mut self, now: Now, to: Peer) {
        let mut lost = Vec::new();
        for (key, ask) in self.asks.iter_mut() {
            if let Errand::Enroll(enroll) = &ask.errand
                && ask.open.is_none()
                && enroll.stage != Stage::Trying
                && let Some(exit) = enroll.stands_at(now.mono)
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

    /// With no time at all, at the gateway that has it (RFC 3261 §10.2.2), were its last refresh refused or not. Where none
    /// has, nothing is left to say.
    fn leave_carrier(&mut self, now: Now, key: AskKey, out: &mut Effects) {
        self.stop_waiting(key);
        let Some(enroll) = self.enroll_of(key) else { return };
        let Some(exit) = enroll.stands_at(now.mono) else { return self.give_up_asking(key) };
        enroll.stage = Stage::Leaving;
        enroll.login.begins();
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

/// How long the carrier has us, in seconds: the `expires` of our Contact, else the Expires, else what was `asked`
/// (RFC 3261 §10.2.4); and how it lists us. `None`: it does not.
///
/// A 200 lists every binding of the account, so there may be others beside ours (§10.3 step 8). Ours is the one with our
/// token, or where the carrier has taken that off, with our address. Where a carrier, or a box on the way, writes the
/// address that it sees instead, an only Contact with our user and nobody's token is ours. One that lists nothing has us
/// for as long as its Expires says; without that, nothing says that it has.
fn granted(response: &Message<'_>, ours: &[u8], token: &[u8], asked: u32) -> Option<(u32, Listed)> {
    let ours = Uri::parse(ours).ok()?;
    let expires = response.number(Name::Expires);
    let mut listed = response.list(Name::Contact).peekable();
    if listed.peek().is_none() {
        return Some((expires?, Listed::Nowhere));
    }
    let at = |uri: &Uri<'_>| uri.port.unwrap_or(SIP_PORT);
    let is_there = |uri: &Uri<'_>| uri.host.eq_ignore_ascii_case(ours.host) && at(uri) == at(&ours);
    let how = |uri: &Uri<'_>| match uri.param("line") {
        Some(line) => (line == token).then_some(Listed::ByToken),
        None if uri.user != ours.user => None,
        None => Some(if is_there(uri) { Listed::ByAddress } else { Listed::Elsewhere }),
    };
    let contacts: Vec<Option<Address<'_>>> = listed.map(|value| Address::parse(value).ok()).collect();
    let alone = contacts.len() == 1;
    let known = contacts.into_iter().flatten().filter_map(|address| Some((how(&address.uri)?, address)));
    let (how, contact) =
        known.filter(|(how, _)| *how != Listed::Elsewhere || alone).min_by_key(|(how, _)| *how)?;
    let own = contact.param("expires").and_then(chars::number);
    let own = own.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    Some((own.or(expires).unwrap_or(asked), how))
}
