//! Replaces (R11, RFC 3891): another call takes the place of a dialog of ours.
//!
//! Who may name a dialog is an agent, in a REFER or an INVITE. That dialog's call may be another shard's: the call that
//! the agent's request belongs to sends it an INVITE of our own ([`Peer::inside`]), and is joined there as a leg. So
//! each call stays with its owner, and what the two sides say goes through both.

use std::sync::Arc;

use super::abilities::Abilities;
use super::slot::{Asked, CalledSide, Owner, Stage};
use super::story::What;
use super::within::unfit;
use super::{Effects, Exchange, SlotKey, names};
use crate::call::caller;
use crate::call::event::{Event, Inside, LegId};
use crate::call::refusal::Refusal;
use crate::call::story::Way;
use crate::routing::Origin;
use crate::sip::body::Body;
use crate::sip::build;
use crate::sip::dialog::Dialog;
use crate::sip::header::{Method, Name};
use crate::sip::peer::Peer;
use crate::sip::replaces::Replaces;
use crate::sip::transaction::Key;
use crate::sip::wire::Message;
use crate::time::Now;

use bytes::Bytes;

/// The longest Replaces value that goes on, in bytes: three tokens of phones in use have less than 200.
const LONGEST: usize = 1024;

impl Exchange {
    /// The dialog of ours that an INVITE asks to replace (RFC 3891 §3): an agent's INVITE alone may. `None`: it asks
    /// for nothing of the kind.
    pub(super) fn replaced_by(
        &self,
        invite: &Message<'_>,
        origin: &Origin,
    ) -> Result<Option<Arc<Inside>>, Refusal> {
        let mut values = invite.list(Name::Replaces);
        let Some(value) = values.next() else { return Ok(None) };
        if origin.agent().is_none() {
            return Err(Refusal::NoDialog);
        }
        let alone = values.next().is_none() && invite.head().all_named("Join").next().is_none();
        if !alone {
            return Err(Refusal::Malformed);
        }
        let user = invite.uri().map(|uri| caller::user_of(&uri)).unwrap_or_default();
        self.inside(value, &user).map(Some)
    }

    /// Where a dialog is, by the Replaces value that names it; whether it is there its owner knows.
    pub(super) fn inside(&self, value: &[u8], user: &str) -> Result<Arc<Inside>, Refusal> {
        let replaces = Replaces::parse(value).ok_or(Refusal::Malformed)?;
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= LONGEST);
        let shard = self.settings.router.owner(replaces.call_id);
        let text = text.ok_or(Refusal::Malformed)?;
        Ok(Arc::new(Inside { shard, replaces: text.into(), name: caller::cut(user).into() }))
    }

    /// An INVITE of another call of ours, outside a dialog: it is to take the place of one.
    pub(super) fn joins(&mut self, now: Now, from: Peer, invite: &Message<'_>, key: Key, out: &mut Effects) {
        match self.place_to_join(invite) {
            Ok((slot, replaces)) => self.take_in_guest(now, from, invite, key, (slot, replaces), out),
            Err(code) => self.answer_statelessly(from, invite, code, out, |_| {}),
        }
    }

    /// The side that is replaced, if it may be (RFC 3891 §3).
    fn place_to_join(&self, invite: &Message<'_>) -> Result<(SlotKey, LegId), u16> {
        let value = invite.get(Name::Replaces).filter(|_| invite.method() == Method::Invite);
        let replaces = value.and_then(Replaces::parse).ok_or(481u16)?;
        let (key, leg, _) = names::read_tag(replaces.to_tag).ok_or(481u16)?;
        let slot = self.slots.get(key).ok_or(481u16)?;
        let dialog = slot.side_ref(leg).and_then(|side| match side.stage {
            Stage::Accepted { .. } | Stage::Confirmed => side.dialog.as_deref(),
            // Not answered yet: the caller's early dialog is none that we began, and who rings has no session that
            // another could take over.
            Stage::Early | Stage::Abandoned(_) | Stage::Gone => None,
        });
        let is_it = dialog.is_some_and(|dialog| dialog.matches(replaces.call_id, replaces.from_tag));
        // RFC 3891 §8: whoever knows a dialog of an agent's may be another of ours; a carrier's is nobody's to take.
        let call = slot.call.as_deref().filter(|call| is_it && call.agent_of(leg).is_some()).ok_or(481u16)?;
        match () {
            () if replaces.early_only => Err(486),
            () if unfit(invite, Abilities::towards(true)).is_some() => Err(483),
            () if !call.may_replace(leg) || slot.legs.len() != call.legs.len() => Err(491),
            () => Ok((key, leg)),
        }
    }

    fn take_in_guest(
        &mut self,
        now: Now,
        from: Peer,
        invite: &Message<'_>,
        key: Key,
        (place, replaces): (SlotKey, LegId),
        out: &mut Effects,
    ) {
        let (Some(offer), Ok(call_id)) =
            (Body::of(invite).filter(Body::is_sdp), names::CallIdText::try_from(invite.call_id()))
        else {
            // Who stays would have to offer, to be answered in the guest's ACK: nobody needs it.
            return self.answer_statelessly(from, invite, 488, out, |_| {});
        };
        let Some(slot) = self.slots.get_mut(place) else { return };
        let guest = LegId(u8::try_from(slot.legs.len() + 1).unwrap_or(u8::MAX));
        let tag = names::tag(place, guest, 0);
        let Ok(dialog) = Dialog::of_request(invite, &tag, from, &self.settings) else {
            return self.answer_statelessly(from, invite, 400, out, |_| {});
        };
        let owner = Owner::Asked(place, guest);
        let Ok(id) = self.transactions.accept(now.mono, key, invite, from, owner) else { return };
        slot.legs.push(CalledSide::joining(call_id, from, dialog.pinned(Some(from))));
        slot.asked.push(Asked {
            leg: guest,
            method: Method::Invite,
            transaction: id,
            cseq: invite.cseq(),
            from,
            request: Bytes::copy_from_slice(invite.raw()),
            wants_offer: false,
            passed: None,
        });
        slot.story.say(now.mono, Way::In, guest, What::Request(Method::Invite));
        self.scratch.clear();
        let range = build::answer(&mut self.scratch, invite, from.addr, 100, build::phrase(100), None).end();
        self.transactions.respond(now.mono, id, 100, &self.scratch[range], &mut out.out);
        let name = caller::cut(&caller::user_of(&invite.from().uri)).into();
        let came = Arc::new(Inside { shard: from.shard().unwrap_or_default(), replaces: "".into(), name });
        self.working = Some(place);
        self.happen(now, place, Event::Joins { leg: guest, replaces, from: came, offer }, out);
    }
}
