//! What the messages of one side carry on to the other's (design "between legs"): the INVITE's headers to each leg,
//! and from then on those of what passes between the two sides that are joined, or are about to be.
//!
//! What we say ourselves carries nothing: the 180 and the refusals that stand for several legs, CANCEL, ACK and what
//! keeps a dialog alive.

use super::story::What;
use super::{Exchange, SlotKey};
use crate::call::event::LegId;
use crate::call::story::Way;
use crate::routing::Trunk;
use crate::sip::build::{Writer, push_clean};
use crate::sip::header::{Fate, Method, Name};
use crate::sip::wire::{Field, Message};

/// The most bytes of headers that go along within a call. With the rest of the message they must fit into a datagram:
/// a BYE that is too long for one would leave the other side in a call that is over.
const MAX_CARRIED: usize = 8 * 1024;

/// The headers that go along with a message to one side. Empty, and without room of its own, where the message that
/// brought it about had none.
#[derive(Default)]
pub(super) struct Carried {
    with: Option<(SlotKey, LegId, Kind)>,
    lines: Vec<u8>,
}

/// What goes on as what it came as: nothing of a BYE goes along with the 487 that it brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request(Method),
    Response(Method),
}

impl Carried {
    /// Writes them where they go along with that message to that side; once.
    pub fn write(&mut self, w: &mut Writer<'_>, key: SlotKey, leg: LegId, kind: Kind) {
        if self.with == Some((key, leg, kind)) {
            w.lines(&self.lines);
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.with = None;
        self.lines.clear();
    }
}

impl Exchange {
    /// Notes what of a message is to go along to the side `to`; cleared when all that follows from it has been said.
    pub(super) fn carry(&mut self, key: SlotKey, to: LegId, message: &Message<'_>) {
        self.carried.clear();
        let Some(call) = self.slots.get(key).and_then(|slot| slot.call.as_deref()) else { return };
        let trunk = match to {
            LegId::CALLER => call.plan.origin.trunk(),
            leg => call.leg(leg).and_then(|leg| leg.trunk()),
        };
        let hides = to != LegId::CALLER && call.arrival.caller.withheld;
        let (ours, kind) = match message.is_request() {
            true => (Name::Reason, Kind::Request(message.method())),
            false => (Name::RetryAfter, Kind::Response(message.method())),
        };
        let written_by_us = |field: &Field<'_>| field.name == ours || is_named(field, "Info-Package");
        let goes_along = |field: &Field<'_>| goes_along(field, trunk.map(|trunk| &**trunk), hides);
        let lines = &mut self.carried.lines;
        let mut too_long = false;
        for field in message
            .head()
            .named(Name::may_go_along)
            .filter(|field| goes_along(field) && !written_by_us(field))
        {
            let before = lines.len();
            lines.extend_from_slice(field.spelling());
            lines.extend_from_slice(b": ");
            push_clean(lines, field.value);
            lines.extend_from_slice(b"\r\n");
            if lines.len() > MAX_CARRIED {
                lines.truncate(before);
                too_long = true;
            }
        }
        self.carried.with = Some((key, to, kind)).filter(|_| !self.carried.lines.is_empty());
        if too_long && let Some(slot) = self.slots.get_mut(key) {
            slot.story.say(self.now, Way::Here, to, What::Turn("headers left out: too long to go along"));
        }
    }

    /// The side that hears what this one says; none while nobody is joined with the caller.
    pub(super) fn other_side(&self, key: SlotKey, leg: LegId) -> Option<LegId> {
        let call = self.slots.get(key)?.call.as_deref()?;
        match leg {
            LegId::CALLER => call.other(leg),
            // What a leg says before anybody is joined is the caller's to hear.
            _ if !call.is_bridged() => Some(LegId::CALLER),
            leg => call.other(leg),
        }
    }
}

/// Whether a header goes along to a side behind this trunk. `hides`: it is the caller's, whose number is withheld.
pub(super) fn goes_along(field: &Field<'_>, trunk: Option<&Trunk>, hides: bool) -> bool {
    match field.name.fate(field.raw_name) {
        // To those alone who get the number too (R9).
        Fate::GoesAlong if hides && field.name.tells_of_its_sender() => {
            trunk.is_some_and(|trunk| trunk.trusted_identity)
        }
        Fate::GoesAlong => true,
        Fate::GoesIfNamed => trunk.is_some_and(|trunk| trunk.carry.iter().any(|name| is_named(field, name))),
        Fate::Rewritten | Fate::GoesWithTheBody | Fate::EndsHere => false,
    }
}

fn is_named(field: &Field<'_>, name: &str) -> bool {
    let known = Name::parse(name.as_bytes());
    field.name == known && (known != Name::Other || field.raw_name.eq_ignore_ascii_case(name.as_bytes()))
}
