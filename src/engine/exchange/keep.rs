//! Whether the far sides still live: session timers (RFC 4028), and OPTIONS to those that have none (R12).

use std::time::Duration;

use super::perform::glare_pause;
use super::slot::{Owner, Stage, Wake};
use super::story::What;
use super::{Effects, Exchange, SlotKey, write_contact};
use crate::call::event::{Answer, Event, Gone, LegId};
use crate::call::story::Way;
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::sip::session::Session;
use crate::sip::transaction::Response;
use crate::sip::wire::Message;
use crate::time::Now;

use super::arrive::{ALLOW, SUPPORTED};

/// How often a side without session timers is asked whether it lives (R12).
const KEEP_ALIVE: Duration = Duration::from_secs(300);

impl Exchange {
    /// Starts over what watches a side's dialog.
    pub(super) fn watch(&mut self, now: Now, key: SlotKey, leg: LegId) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.call.is_none() {
            return;
        }
        let Some(side) = slot.side(leg) else { return };
        if side.stage == Stage::Gone || side.dialog.is_none() {
            return;
        }
        let (wake, after) = match side.session {
            Some(session) => (Wake::Session(leg), session.due()),
            None => (Wake::KeepAlive(leg), KEEP_ALIVE),
        };
        self.arm(key, wake, now.mono + after);
    }

    /// Our refresh is due, or theirs never came (RFC 4028 §10).
    pub(super) fn session_due(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.story.say(now.mono, Way::Here, leg, What::Turn("Session"));
        let session = slot.side(leg).and_then(|side| side.session);
        match session {
            Some(session) if session.we_refresh() => self.refresh(now, key, leg, session, out),
            Some(_) => self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out),
            None => {}
        }
    }

    /// UPDATE without SDP where the far side takes it, else a re-INVITE with the SDP that it has (RFC 4028 §7.4).
    fn refresh(&mut self, now: Now, key: SlotKey, leg: LegId, session: Session, out: &mut Effects) {
        let draw = self.names.draw();
        let Some(slot) = self.slots.get_mut(key) else { return };
        // An offer is open: what it settles refreshes the session as well; look again later.
        if !slot.asked.is_empty() || slot.call.as_deref().is_none_or(|call| !call.is_settled()) {
            return self.arm(key, Wake::Session(leg), now.mono + glare_pause(true, draw));
        }
        let body: Option<Body> = slot.call.as_deref().and_then(|call| call.sdp_shown_to(leg).cloned());
        let Some(side) = slot.side(leg) else { return };
        let method = if side.allows_update { Method::Update } else { Method::Invite };
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Refresh(key, leg)) else { return };
        let Some(dialog) = side.dialog.as_deref_mut() else { return };
        let peer = dialog.peer();
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = dialog.request(&mut self.scratch, method, branch.as_ref(), &host);
        write_contact(&mut w, peer.transport, &host);
        w.lines(ALLOW);
        w.lines(SUPPORTED);
        session.write_refresh(&mut w);
        let range = match (method, &body) {
            (Method::Invite, Some(body)) => w.body(body.header_lines(), body.bytes()),
            _ => w.end(),
        };
        if method == Method::Invite {
            side.invite_seq = dialog.local_seq();
        }
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], peer, &mut out.out);
        slot.pins += 1;
        slot.story.say(now.mono, Way::Out, leg, What::Request(method));
        // Should nothing at all come back: the session ends where it would have ended.
        let rest = Duration::from_secs(u64::from(session.interval())) - session.due();
        self.arm(key, Wake::Session(leg), now.mono + rest);
    }

    /// What a side answered to our refresh.
    pub(super) fn refreshed(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        kind: Response,
        response: &Message<'_>,
        out: &mut Effects,
    ) {
        let draw = self.names.draw();
        let Some(side) = self.slots.get_mut(key).and_then(|slot| slot.side(leg)) else { return };
        let owns_call_id = leg != LegId::CALLER;
        match (kind, response.status()) {
            (Response::Provisional, _) => {}
            (Response::Success { first: false }, _) => {
                if let Some(ack) = side.ack_of(response.cseq(), side.fork) {
                    out.out.send(ack.to, &ack.bytes);
                }
            }
            (Response::Success { first: true }, _) => {
                side.session = Session::of_response(response);
                if let Some(dialog) = side.dialog.as_deref_mut() {
                    dialog.refresh_target(response, dialog.peer(), &self.settings);
                }
                if response.method() == Method::Invite {
                    self.acknowledge(now, key, leg, &Answer::None, out);
                }
                self.disarm(key, Wake::Session(leg));
                self.watch(now, key, leg);
            }
            (Response::Failure, 491 | 500) => {
                self.arm(key, Wake::Session(leg), now.mono + glare_pause(owns_call_id, draw));
            }
            (Response::Failure, 422) => {
                let wanted = Session::wanted(response);
                if let (Some(session), Some(wanted)) = (side.session, wanted) {
                    side.session = Some(session.at_least(wanted));
                }
                self.arm(key, Wake::Session(leg), now.mono + Duration::from_secs(1));
            }
            (Response::Failure, 408 | 481) => {
                self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
            }
            // It lives, though it does not refresh: asked again at half the interval.
            (Response::Failure, _) => self.watch(now, key, leg),
        }
    }

    pub(super) fn keep_alive_due(&mut self, now: Now, key: SlotKey, leg: LegId, out: &mut Effects) {
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::KeepAlive(key, leg)) else { return };
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(dialog) = slot.side(leg).and_then(|side| side.dialog.as_deref_mut()) else { return };
        let peer = dialog.peer();
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let range = dialog.request(&mut self.scratch, Method::Options, branch.as_ref(), &host).end();
        self.transactions.send(
            now.mono,
            transaction,
            Method::Options,
            &self.scratch[range],
            peer,
            &mut out.out,
        );
        slot.pins += 1;
        slot.story.say(now.mono, Way::Out, leg, What::Request(Method::Options));
    }

    pub(super) fn kept_alive(&mut self, now: Now, key: SlotKey, leg: LegId, code: u16, out: &mut Effects) {
        if matches!(code, 408 | 481) {
            self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out);
        } else {
            self.watch(now, key, leg);
        }
    }
}
