//! What a message does to a call of ours, looked at before it is taken (R8: events of the same instant).

use super::slot::{Owner, Stage};
use super::{Exchange, SlotKey, names};
use crate::call::event::LegId;
use crate::engine::precedence::{Does, Rank, Standing};
use crate::sip::header::Method;
use crate::sip::transaction::Meeting;
use crate::sip::wire::Message;

impl Exchange {
    /// What the message is to the calls of this shard. Changes nothing.
    pub fn standing<'m>(&self, bytes: &'m [u8]) -> Option<Standing<'m>> {
        let message = Message::parse(bytes).ok()?;
        Some(Standing { call_id: message.call_id(), does: self.does(&message) })
    }

    fn does(&self, message: &Message<'_>) -> Option<Does> {
        let tagged = |tag: Option<&[u8]>| tag.and_then(names::read_tag).map(|(key, leg, _)| (key, leg));
        let (key, rank) = match (message.is_request(), message.method()) {
            // The From tag of a response is ours.
            (false, Method::Invite) if message.status() >= 200 => {
                let (key, _) = tagged(message.from().tag())?;
                (key, Rank::LegAnswers)
            }
            (true, Method::Bye) => match tagged(message.to().tag())? {
                (key, LegId::CALLER) => (key, Rank::CallerLeaves),
                (key, _) => (key, Rank::LegLeaves),
            },
            (true, Method::Cancel) => (self.cancelled(message)?, Rank::CallerLeaves),
            (_, _) => return None,
        };
        let rings = self.slots.get(key)?.caller.side.stage == Stage::Early;
        let call = u64::from(key.index) << 32 | u64::from(key.nonce);
        (rings || rank != Rank::LegAnswers).then_some(Does { call, rank, rings })
    }

    /// The call whose INVITE this CANCEL is for.
    fn cancelled(&self, cancel: &Message<'_>) -> Option<SlotKey> {
        let Meeting::Cancel { invite, .. } = self.transactions.meet(cancel) else { return None };
        // One within a dialog ends no ringing.
        let Owner::Caller(key) = self.transactions.owner(invite?)? else { return None };
        Some(key)
    }
}
