//! A panic was caught: what it was in ends, with its record, and nothing else does (R12).

use super::dialled::Invited;
use super::slot::{Owner, Stage};
use super::switchboard::Switchboard;
use super::{Effects, Exchange, SlotKey};
use crate::call::event::Action;
use crate::call::refusal::Refusal;
use crate::call::{Arrival, Caller, caller};
use crate::number::E164;
use crate::routing::{Origin, Urgency};
use crate::sip::peer::Peer;
use crate::sip::transaction::{self, Meeting};
use crate::sip::wire::Message;
use crate::time::Now;

/// An INVITE of a trunk's or an agent's that is no call yet, and what it holds.
pub(super) struct Arriving {
    pub reached: Reached,
    pub origin: Origin,
    /// It has a place among the calls from there.
    pub entered: bool,
    /// The caller and the DID that it counts as ringing for.
    pub rings: Option<(E164, E164)>,
}

/// How far it has come.
#[derive(Clone, Copy)]
pub(super) enum Reached {
    /// Its sender is known, and there is room.
    Sender,
    /// It has its transaction and its record's slot.
    Transaction(transaction::Id),
    /// What its record says of it was read, and can be read once more.
    Reading(transaction::Id),
}

impl Arriving {
    pub fn at(reached: Reached, origin: &Origin) -> Arriving {
        Arriving { reached, origin: origin.clone(), entered: false, rings: None }
    }
}

impl Exchange {
    /// A panic was caught in [`Exchange::handle`]: the call that was worked on ends from its dialogs, with its
    /// record, and no other does (R12). `message`: what was handled, if it was one, and whose.
    pub fn panicked(&mut self, now: Now, message: Option<(Peer, &[u8])>, out: &mut Effects) {
        self.pending.clear();
        self.actions.clear();
        self.carried.clear();
        self.transactions.abandon_reserved();
        if let Some(key) = self.working.take() {
            self.end_by_fault(now, key, out);
            self.sweep(key);
        }
        if let Some(Arriving { reached, origin, entered, rings }) = self.arriving.take() {
            if entered {
                self.desk.leave(&origin, &Urgency::Ordinary, now.mono);
            }
            if let Some((caller, did)) = rings {
                self.desk.ringing_ended(caller, did);
            }
            if let Some((from, bytes)) = message
                && let Ok(invite) = Message::parse(bytes)
            {
                let came = Invited { from, invite: &invite, origin: &origin };
                self.refuse_by_fault(now, &came, reached, out);
            }
        }
    }

    /// A bug has ended a call's audio: without it the call is none (R12).
    pub(super) fn audio_broke(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        if self.slots.get(key).is_some_and(|slot| slot.call.is_some()) {
            self.working = Some(key);
            self.end_by_fault(now, key, out);
            self.sweep(key);
        }
    }

    fn end_by_fault(&mut self, now: Now, key: SlotKey, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(call) = slot.call.as_mut() {
            let answered = slot.caller.side.stage != Stage::Early;
            let lines = &mut Switchboard {
                desk: &*self.desk,
                keeps_messages: self.audio.as_ref().is_some_and(|(_, booth)| booth.keeps_messages()),
                called: &mut self.called,
                names: &mut self.names,
                now: now.mono,
            };
            call.abort(now, answered, lines);
        }
        self.end_from_dialogs(now, key, out);
        self.perform(now, key, Action::Close, out);
        self.settle_audio(key);
        self.record_heard(key, out);
    }

    /// The INVITE became no call: its 500 and its record, from the message itself, since the ordinary call leaves
    /// nothing here for it.
    fn refuse_by_fault(&mut self, now: Now, came: &Invited<'_>, reached: Reached, out: &mut Effects) {
        let &Invited { from, invite, .. } = came;
        let id = match reached {
            Reached::Transaction(id) | Reached::Reading(id) => id,
            Reached::Sender => match self.take_in(now, from, invite) {
                Some(id) => id,
                None => return self.refuse_statelessly(from, invite, Refusal::Overload, out),
            },
        };
        let arrival = match reached {
            Reached::Reading(_) => self.arrival(now, came),
            // It may be just this that failed.
            Reached::Sender | Reached::Transaction(_) => self.unread(now, invite),
        };
        self.refuse_call(now, came, id, &arrival, Refusal::Fault, out);
    }

    /// A transaction and the record's slot. None: there is no room.
    fn take_in(&mut self, now: Now, from: Peer, invite: &Message<'_>) -> Option<transaction::Id> {
        let Meeting::New(key) = self.transactions.meet(invite) else { return None };
        if !self.desk.reserve_record() {
            return None;
        }
        let accepted = self.transactions.accept(now.mono, key, invite, from, Owner::Nobody);
        if accepted.is_err() {
            self.desk.release_record();
        }
        accepted.ok()
    }

    /// What a record must say of a call of which nothing was read.
    fn unread(&mut self, now: Now, invite: &Message<'_>) -> Arrival {
        Arrival {
            id: self.names.record_id(now.wall),
            dialled: caller::cut(&String::from_utf8_lossy(invite.uri_raw())).into(),
            number: None,
            caller: Caller::default(),
            offer: None,
            enclosed: None,
            breadth: None,
            expires: None,
            joins: None,
            is_anchored: false,
            at: now,
        }
    }
}
