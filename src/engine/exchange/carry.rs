//! What the messages of one side carry on to the other's (design "between legs"): the INVITE's headers to each leg,
//! and from then on those of what passes between the two sides that are joined, or are about to be.
//!
//! What we say ourselves carries nothing: the 180 and the refusals that stand for several legs, CANCEL, ACK and what
//! keeps a dialog alive.

use super::{Exchange, SlotKey};
use crate::call::event::LegId;
use crate::routing::Trunk;
use crate::sip::build::{Writer, push_clean};
use crate::sip::header::{Fate, Name};
use crate::sip::wire::{Field, Message};

/// The headers that go along with the next message to one side. Empty, and without room of its own, where the message
/// that brought it about had none.
#[derive(Default)]
pub(super) struct Carried {
    to: Option<(SlotKey, LegId)>,
    lines: Vec<u8>,
}

impl Carried {
    /// Writes them where the message goes to that side. They go along once.
    pub fn write(&mut self, w: &mut Writer<'_>, key: SlotKey, leg: LegId) {
        if self.to == Some((key, leg)) {
            w.lines(&self.lines);
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.to = None;
        self.lines.clear();
    }
}

impl Exchange {
    /// Notes what of a message is to go along to the side `to`; cleared when all that follows from it has been said.
    pub(super) fn carry(&mut self, key: SlotKey, to: LegId, message: &Message<'_>) {
        self.carried.clear();
        let Some(call) = self.slots.get(key).and_then(|slot| slot.call.as_deref()) else { return };
        let trunk = match to {
            LegId::CALLER => Some(&call.plan.trunk),
            leg => call.leg(leg).and_then(|leg| leg.trunk()),
        };
        let lines = &mut self.carried.lines;
        let ours = if message.is_request() { Name::Reason } else { Name::RetryAfter };
        let written_by_us = |field: &Field<'_>| field.name == ours || is_named(field, "Info-Package");
        let goes_along = |field: &Field<'_>| goes_along(field, trunk.map(|trunk| &**trunk));
        for field in message.fields().filter(|field| goes_along(field) && !written_by_us(field)) {
            lines.extend_from_slice(field.spelling());
            lines.extend_from_slice(b": ");
            push_clean(lines, field.value);
            lines.extend_from_slice(b"\r\n");
        }
        self.carried.to = Some((key, to)).filter(|_| !self.carried.lines.is_empty());
    }

    /// The side that hears what this one says; none while nobody is joined with the caller.
    pub(super) fn other_side(&self, key: SlotKey, leg: LegId) -> Option<LegId> {
        match leg {
            LegId::CALLER => self.slots.get(key)?.call.as_deref()?.winner(),
            _ => Some(LegId::CALLER),
        }
    }
}

/// Whether a header goes along to a side behind this trunk.
pub(super) fn goes_along(field: &Field<'_>, trunk: Option<&Trunk>) -> bool {
    match field.name.fate(field.raw_name) {
        Fate::GoesAlong => true,
        Fate::GoesIfNamed => trunk.is_some_and(|trunk| trunk.carry.iter().any(|name| is_named(field, name))),
        Fate::Rewritten | Fate::GoesWithTheBody | Fate::EndsHere => false,
    }
}

fn is_named(field: &Field<'_>, name: &str) -> bool {
    let known = Name::parse(name.as_bytes());
    field.name == known && (known != Name::Other || field.raw_name.eq_ignore_ascii_case(name.as_bytes()))
}
