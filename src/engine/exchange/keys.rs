//! Keys of one side of a bridged call that the other is to hear, where the two tell them differently: as telephone events
//! (RFC 4733), by INFO, or as tones. Events go on to who has events, INFO to who has none, and tones are audio; the rest
//! is translated here.

use std::time::Duration;

use super::accounts::Infos;
use super::slot::Owner;
use super::{Effects, Exchange, SlotKey};
use crate::call::event::{Event, Gone, LegId};
use crate::media::dtmf_info::{Form, Press};
use crate::media::event::Digit;
use crate::media::plane::Order;
use crate::media::session::SideId;
use crate::sip::body::Body;
use crate::sip::header::{Method, Name};
use crate::sip::wire::Message;
use crate::time::Now;

/// How long a key is pressed of which we only know that it is.
const PRESSED: Duration = Duration::from_millis(160);

/// So many keys may be on their way to a call's sides by INFO at once. What is typed faster than that is answered is lost.
const UNDER_WAY: u8 = 8;

impl Exchange {
    /// A side has pressed a key, as its audio says. What the call is to hear of it: nothing, once two talk.
    pub(super) fn key_heard(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        digit: Digit,
        out: &mut Effects,
    ) -> Option<Event> {
        let Some(other) = self.talks_with(key, leg) else { return Some(Event::Pressed { leg, digit }) };
        if !self.has_events(key, other) {
            self.tell_key(now, key, other, digit, out);
        }
        None
    }

    /// A side says by INFO that it has pressed a key. True: the other hears it as an event, and the INFO is answered.
    pub(super) fn key_by_info(
        &mut self,
        now: Now,
        key: SlotKey,
        leg: LegId,
        body: &Body,
        out: &mut Effects,
    ) -> bool {
        let form = body.content_type().and_then(Form::of);
        let Some(press) = form.and_then(|form| Press::read(form, body.bytes())) else { return false };
        let Some(other) = self.talks_with(key, leg) else {
            self.pending.push_back((key, Event::Pressed { leg, digit: press.digit }));
            return false;
        };
        // Whoever has events has told of it by one already.
        if self.has_events(key, leg) || !self.has_events(key, other) {
            return false;
        }
        self.audio_order(key, Order::Press(SideId(other.0), press.digit, press.duration));
        self.reply(now, key, (leg, Method::Info), 200, None, out);
        true
    }

    /// What a side says of a key that we told it of by INFO. Where it does not take that, it hears a tone.
    pub(super) fn key_answered(
        &mut self,
        now: Now,
        key: SlotKey,
        (leg, digit): (LegId, Digit),
        code: u16,
        out: &mut Effects,
    ) {
        self.key_has_arrived(key);
        match code {
            200..=299 => {}
            // RFC 3261 §12.2.1.2: that dialog is gone.
            408 | 481 => self.happen(now, key, Event::HungUp { leg, why: Gone::Lost }, out),
            _ => self.key_as_tone(key, leg, digit),
        }
    }

    /// The INFO had no answer, or could not be delivered: a side may not know the method.
    pub(super) fn key_unanswered(&mut self, key: SlotKey, leg: LegId) {
        self.key_has_arrived(key);
        self.infos(key, |infos| infos.learn(leg, false));
    }

    /// What a side's Allow says of INFO.
    pub(super) fn learn_of_info(&mut self, key: SlotKey, leg: LegId, message: &Message<'_>) {
        self.infos(key, |infos| infos.learn(leg, message.has_token(Name::Allow, "INFO")));
    }

    fn key_has_arrived(&mut self, key: SlotKey) {
        self.infos(key, |infos| infos.under_way = infos.under_way.saturating_sub(1));
    }

    fn infos(&mut self, key: SlotKey, change: impl FnOnce(&mut Infos)) {
        if let Some(anchor) = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut()) {
            change(&mut anchor.infos);
        }
    }

    fn key_as_tone(&mut self, key: SlotKey, leg: LegId, digit: Digit) {
        self.infos(key, |infos| infos.learn(leg, false));
        self.audio_order(key, Order::Press(SideId(leg.0), digit, PRESSED));
    }

    /// Whom a side talks with.
    fn talks_with(&self, key: SlotKey, leg: LegId) -> Option<LegId> {
        self.slots.get(key)?.call.as_deref().filter(|call| call.is_bridged())?.other(leg)
    }

    fn has_events(&self, key: SlotKey, leg: LegId) -> bool {
        let anchor = self.slots.get(key).and_then(|slot| slot.anchor.as_deref());
        anchor.is_some_and(|anchor| anchor.has_events(leg))
    }

    /// A side without events is told of a key: by INFO where its Allow has that, else by a tone.
    fn tell_key(&mut self, now: Now, key: SlotKey, leg: LegId, digit: Digit, out: &mut Effects) {
        let Some(anchor) = self.slots.get(key).and_then(|slot| slot.anchor.as_deref()) else { return };
        if !anchor.infos.takes(leg) {
            return self.key_as_tone(key, leg, digit);
        }
        if anchor.infos.under_way >= UNDER_WAY {
            return;
        }
        self.follow_phone(now, key, leg, out);
        let side = self.slots.get(key).and_then(|slot| slot.side_ref(leg));
        if side.is_none_or(|side| side.dialog.is_none()) {
            return;
        }
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Keyed(key, leg, digit)) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(dialog) = slot.side(leg).and_then(|side| side.dialog.as_deref_mut()) else { return };
        let peer = dialog.peer();
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let text = Press::new(digit, PRESSED).body(Form::Relay);
        let body = Body::new(Form::Relay.content_type(), text.as_bytes());
        let w = dialog.request(&mut self.scratch, Method::Info, branch.as_ref(), &host);
        let range = w.body(body.header_lines(), body.bytes());
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Info, bytes, peer, &mut out.out);
        slot.sent(now.mono, leg, Method::Info);
        self.infos(key, |infos| infos.under_way += 1);
    }
}
