//! Whether the far sides still live: session timers (RFC 4028), and OPTIONS to those that have none (R12).

use std::time::Duration;

use super::perform::glare_pause;
use super::reply::Heard;
use super::slot::{Owner, Stage, Wake};
use super::story::What;
use super::{Effects, Exchange, SlotKey, write_contact};
use crate::call::event::{Answer, Event, Gone, LegId};
use crate::call::story::Way;
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::sip::session::Session;
use crate::sip::transaction::Response;
use crate::time::Now;

/// How often a side without session timers is asked whether it lives (R12).
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// How soon OPTIONS that could not be delivered go out again. A phone without any connection left opens one within this
/// time (RFC 5626 §4.5).
const UNDELIVERED: Duration = Duration::from_secs(30);
/// How often they do before that side is lost: for five minutes, as long as between two OPTIONS that are delivered. By
/// then a phone has tried three times to come back (RFC 5626 §4.5: after 30, 60 and 120 s at most), and whoever hears
/// nothing of the other for so long has hung up.
const MAX_UNDELIVERED: u8 = 10;
/// How often the pause before a refresh doubles: from 4 s to beyond half of the longest interval that anyone asks for.
const MAX_DOUBLED: u8 = 14;

impl Exchange {
    /// Starts what watches a side's dialog. A session timer that runs goes on: only a 2xx moves it.
    pub(super) fn watch(&mut self, now: Now, key: SlotKey, leg: LegId) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.call.is_none() {
            return;
        }
        let runs = slot.armed.iter().any(|armed| armed.wake == Wake::Session(leg));
        let Some(side) = slot.side(leg) else { return };
        if side.stage == Stage::Gone || side.dialog.is_none() {
            return;
        }
        match side.session {
            Some(_) if runs => {}
            Some(session) => {
                let at = (side.refreshed + session.due()).max(now.mono);
                self.arm(key, Wake::Session(leg), at);
            }
            None => {
                side.put_off = 0;
                self.arm(key, Wake::KeepAlive(leg), now.mono + KEEP_ALIVE);
            }
        }
    }

    /// A 2xx to an INVITE or UPDATE of either side: the session lasts from here.
    pub(super) fn session_begins(&mut self, now: Now, key: SlotKey, leg: LegId) {
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) {
            side.refreshed = now.mono;
            side.put_off = 0;
        }
        self.disarm(key, Wake::Session(leg));
        self.disarm(key, Wake::KeepAlive(leg));
        self.watch(now, key, leg);
    }

    /// Our refresh is due, or no refresh succeeded in time (RFC 4028 §10).
    pub(super) fn session_due(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(side) = slot.side(leg) else { return };
        let Some(session) = side.session else { return };
        if now.mono >= side.refreshed + session.lasts() {
            slot.story.say(now.mono, Way::Here, leg, What::Turn("Session"));
            return self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
        }
        // An offer is open: what it settles refreshes the session as well.
        if !slot.asked.is_empty() || slot.call.as_deref().is_none_or(|call| !call.is_settled()) {
            return self.put_off(now, key, leg);
        }
        self.refresh(now, key, leg, session, out);
    }

    /// The refresh is tried again after a pause, twice as long each time, unless the session ends before.
    fn put_off(&mut self, now: Now, key: SlotKey, leg: LegId) {
        let draw = self.names.draw();
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) else { return };
        let Some(session) = side.session else { return };
        let pause = glare_pause(leg != LegId::CALLER, draw) * (1 << side.put_off);
        side.put_off = (side.put_off + 1).min(MAX_DOUBLED);
        let end = side.refreshed + session.lasts();
        self.arm(key, Wake::Session(leg), end.min(now.mono + pause));
    }

    /// UPDATE without SDP where the far side takes it, else a re-INVITE with the SDP that it has (RFC 4028 §7.4).
    fn refresh(&mut self, now: Now, key: SlotKey, leg: LegId, session: Session, out: &mut Effects) {
        self.follow_phone(now, key, leg, out);
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Refresh(key, leg)) else {
            return self.put_off(now, key, leg);
        };
        let Some(slot) = self.slots.get_mut(key) else { return };
        let body: Option<Body> = slot.call.as_deref().and_then(|call| call.sdp_shown_to(leg).cloned());
        let abilities = slot.abilities(leg);
        let Some(side) = slot.side(leg) else { return };
        let method = if side.allows_update { Method::Update } else { Method::Invite };
        let Some(dialog) = side.dialog.as_deref_mut() else { return };
        let (peer, scheme) = (dialog.peer(), dialog.scheme());
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, method, branch.as_ref(), &host);
        write_contact(&mut w, scheme, peer.transport, &host);
        w.lines(abilities.allow);
        w.lines(abilities.supported);
        session.write_refresh(&mut w);
        let range = match (method, &body) {
            (Method::Invite, Some(body)) => w.body(body.header_lines(), body.bytes()),
            _ => w.end(),
        };
        if method == Method::Invite {
            side.invite_seq = dialog.local_seq();
        }
        side.refresh = Some((transaction, method));
        let end = side.refreshed + session.lasts();
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], peer, &mut out.out);
        slot.story.say(now.mono, Way::Here, leg, What::Turn("Session"));
        slot.sent(now.mono, leg, method);
        // Should nothing but a 100 come back: the session ends where it would have ended.
        self.arm(key, Wake::Session(leg), end);
    }

    /// Our refresh could not be delivered: its session ends neither by that (RFC 4028 §10) nor later than it would have.
    pub(super) fn refresh_undelivered(&mut self, now: Now, key: SlotKey, leg: LegId) {
        if let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) {
            side.refresh = None;
        }
        self.put_off(now, key, leg);
    }

    /// What a side answered to our refresh.
    pub(super) fn refreshed(&mut self, now: Now, heard: &Heard<'_>, kind: Response, out: &mut Effects) {
        let &Heard { key, leg, from, response } = heard;
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) else { return };
        let method = response.method();
        match (kind, response.status()) {
            (Response::Provisional, _) => {}
            (Response::Success { first: false }, _) => {
                if let Some(ack) = side.ack_of(response.cseq(), side.fork) {
                    out.out.send(ack.again_to(from), &ack.bytes);
                }
            }
            (Response::Success { first: true }, _) => {
                side.refresh = None;
                let Some(dialog) = side.dialog.as_deref_mut() else {
                    // It crossed our BYE (RFC 3261 §13.2.2.4).
                    if method == Method::Invite {
                        self.acknowledge_after_bye(now, key, leg, response, out);
                    }
                    return;
                };
                dialog.refresh_target(response, dialog.peer(), &self.settings);
                side.session = Session::of_response(response);
                if method == Method::Invite {
                    self.acknowledge(now, key, leg, &Answer::None, out);
                }
                self.session_begins(now, key, leg);
            }
            (Response::Failure, 408 | 481) => {
                side.refresh = None;
                self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
            }
            // It lives, though it does not refresh.
            (Response::Failure, code) => {
                side.refresh = None;
                match code {
                    405 | 501 => side.allows_update = false,
                    422 => {
                        let wanted = Session::wanted(response);
                        side.session = side.session.map(|session| session.at_least(wanted.unwrap_or(0)));
                    }
                    _ => {}
                }
                self.put_off(now, key, leg);
            }
        }
    }

    /// The call is over: an INVITE of ours that has only a provisional response waits for ever.
    pub(super) fn give_up_refreshes(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let legs = slot.legs.iter_mut().map(|leg| &mut leg.side);
        for side in std::iter::once(&mut slot.caller.side).chain(legs) {
            if let Some((transaction, Method::Invite)) = side.refresh.take() {
                self.transactions.cancel(now.mono, transaction, None, &mut out.out);
            }
        }
    }

    pub(super) fn keep_alive_due(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        self.follow_phone(now, key, leg, out);
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::KeepAlive(key, leg)) else { return };
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(dialog) = slot.side(leg).and_then(|side| side.dialog.as_deref_mut()) else { return };
        let peer = dialog.peer();
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let range = dialog.request(&mut self.scratch, Method::Options, branch.as_ref(), &host).end();
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Options, bytes, peer, &mut out.out);
        slot.sent(now.mono, leg, Method::Options);
    }

    /// Our OPTIONS could not be delivered: the call goes on until that side has had time to be there again.
    pub(super) fn options_undelivered(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) else { return };
        if side.put_off < MAX_UNDELIVERED {
            side.put_off += 1;
            self.arm(key, Wake::KeepAlive(leg), now.mono + UNDELIVERED);
        } else {
            self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
        }
    }

    pub(super) fn kept_alive(&mut self, now: Now, key: SlotKey, leg: LegId, code: u16, out: &mut Effects) {
        if matches!(code, 408 | 481) {
            self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
        } else {
            self.watch(now, key, leg);
        }
    }
}
