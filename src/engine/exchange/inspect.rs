//! What an operator sees of a shard's calls, and the small things that several rooms of the exchange ask.

use std::borrow::Cow;
use std::collections::BinaryHeap;
use std::io::Write;

use smallvec::SmallVec;

use super::ended::{Ended, Glimpse, Legs};
use super::names::read_tag;
use super::slot::{Armed, Asked, CallerSide, ForkSeen, Side, Slot, Stage};
use super::story::Story;
use super::{Desk, Exchange, Settings, SlotKey};
use crate::call::cdr::Role;
use crate::call::event::LegId;
use crate::call::leg::{Leg, LegState};
use crate::call::story::{CallPlace, CallStory, LiveCall, StoryLeg, StoryTimer};
use crate::call::{Call, Seen};
use crate::sip::build::Writer;
use crate::sip::dialog::Dialog;
use crate::sip::header::{Method, Name};
use crate::sip::peer::{Peer, Transport};
use crate::sip::transaction;
use crate::sip::uri::Scheme;
use crate::sip::wire::Message;
use crate::time::{Now, Wall};

/// Our own address as Via and Contact name it: `host:port`.
pub(super) type Host = SmallVec<[u8; 48]>;

impl Exchange {
    /// The calls in progress.
    pub fn live_calls(&self) -> impl Iterator<Item = LiveCall> + '_ {
        self.slots.iter().filter_map(Slot::listed).map(live)
    }

    /// The first `most` calls in progress behind `after`, in the order in which they began. Looks at every call
    /// and copies so many alone.
    pub fn live_page(&self, after: Option<&CallPlace>, most: usize) -> Vec<LiveCall> {
        fn place(call: &Call) -> (Wall, &str) {
            (call.arrival.at.wall, &call.arrival.id)
        }
        let after = after.map(|after| (after.started, &*after.id));
        // The latest of those that are kept stands on top.
        let mut kept: BinaryHeap<((Wall, &str), u32)> = BinaryHeap::with_capacity(most.min(self.calls) + 1);
        for (at, slot) in (0u32..).zip(&self.slots.places) {
            let Some(call) = slot.as_deref().and_then(Slot::listed) else { continue };
            let place = place(call);
            let comes_too_late = kept.len() >= most && kept.peek().is_some_and(|(last, _)| place > *last);
            if comes_too_late || after.is_some_and(|after| place <= after) {
                continue;
            }
            kept.push((place, at));
            if kept.len() > most {
                kept.pop();
            }
        }
        let call_at = |at: u32| self.slots.places.get(at as usize)?.as_deref()?.listed();
        kept.into_sorted_vec().into_iter().filter_map(|(_, at)| call_at(at)).map(live).collect()
    }

    /// All that is known of a call: one in progress, or one of the last that ended.
    pub fn story(&self, now: Now, call: &str) -> Option<CallStory> {
        let live = self.slots.iter().find_map(|slot| {
            let found = slot.listed().filter(|known| &*known.arrival.id == call)?;
            let seen: Legs = (0..=found.legs.len()).map(|leg| slot.glimpse(LegId(leg as u8))).collect();
            Some(story_of(now, found, &slot.story, &slot.armed, &seen))
        });
        let ended = || self.ended.iter().find(|ended| &*ended.call.arrival.id == call);
        live.or_else(|| ended().map(|ended| story_of(now, &ended.call, &ended.story, &[], &ended.legs)))
    }

    /// The slot of a call in progress, by its id.
    pub fn find(&self, call: &str) -> Option<SlotKey> {
        let is_it = |slot: &&Slot| slot.call.as_deref().is_some_and(|known| &*known.arrival.id == call);
        self.slots.iter().find(is_it).map(|slot| slot.key)
    }
}

fn live(call: &Call) -> LiveCall {
    let origin = &call.plan.origin;
    let goes_by = || call.legs.iter().rev().find_map(Leg::trunk);
    LiveCall {
        id: call.arrival.id.clone(),
        direction: call.direction(),
        state: Cow::Borrowed(call.state_name()),
        generation: call.plan.generation,
        account: call.plan.account.clone(),
        agent: origin.agent().map(|agent| agent.name.clone()),
        trunk: origin.trunk().or_else(goes_by).map(|trunk| trunk.name.clone()),
        did: call.plan.did.map(Into::into),
        dialled: call.arrival.dialled.clone(),
        caller: call.arrival.shown_caller(origin.reads().trusted_identity),
        started: call.arrival.at.wall,
        answered: call.answered_at().map(|at| call.arrival.wall(at)),
    }
}

impl Ended {
    pub fn of(slot: &mut Slot, call: Box<Call>) -> Ended {
        let legs = (0..=call.legs.len()).map(|leg| slot.glimpse(LegId(leg as u8))).collect();
        Ended { call, story: slot.story.end(), legs }
    }
}

fn story_of(now: Now, call: &Call, story: &Story, armed: &[Armed], legs: &[Glimpse]) -> CallStory {
    let (ladder, ladder_dropped) = story.ladder();
    let seen = |leg: usize| legs.get(leg).map(|leg| leg.seen.clone()).unwrap_or_default();
    let audio = |leg: usize| match legs.get(leg).and_then(|leg| leg.audio.clone()) {
        Some((codec, rtp)) => (codec, Some(rtp)),
        None => (None, None),
    };
    let (sip_call_id, peer) = seen(0);
    let (codec, rtp) = audio(0);
    let caller = StoryLeg {
        id: 0,
        role: Role::Caller,
        name: "caller".into(),
        state: Cow::Borrowed(legs.first().map_or("ended", |leg| leg.stage)),
        peer,
        sip_call_id,
        codec,
        rtp,
    };
    let legs = call.legs.iter().zip(1u8..).map(|(leg, id)| {
        let (role, name) = call.role(LegId(id), leg);
        let ((sip_call_id, peer), (codec, rtp)) = (seen(usize::from(id)), audio(usize::from(id)));
        let state = match leg.state {
            LegState::Calling => "calling",
            LegState::Ringing => "ringing",
            LegState::Whispered => "hears the whisper",
            LegState::Asked => "is asked to press 1",
            LegState::Bridged => "bridged",
            LegState::Ended(_) => "ended",
        };
        let state = Cow::Borrowed(state);
        StoryLeg { id: u16::from(id), role, name, state, peer, sip_call_id, codec, rtp }
    });
    let mut timers: Vec<StoryTimer> = armed
        .iter()
        .map(|Armed { wake, at, .. }| {
            let (name, leg) = wake.name();
            let due_ms = u64::try_from(at.since(now.mono).as_millis()).unwrap_or(u64::MAX);
            StoryTimer { name: Cow::Borrowed(name), leg: leg.map(|leg| u16::from(leg.0)), due_ms }
        })
        .collect();
    timers.sort_by_key(|timer| timer.due_ms);
    CallStory {
        call: live(call),
        legs: std::iter::once(caller).chain(legs).collect(),
        timers,
        ladder,
        ladder_dropped,
        recording: call.recording(),
        voicemail: call.voicemail(),
    }
}

const fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Early => "early",
        Stage::Abandoned(_) => "given up",
        Stage::Accepted { .. } => "awaits ACK",
        Stage::Confirmed => "confirmed",
        Stage::Gone => "ended",
    }
}

impl Slot {
    /// The call whose record is not written yet: it is in progress, or waits for that.
    fn listed(&self) -> Option<&Call> {
        self.call.as_deref().or_else(|| self.anchor.as_deref()?.accounts.unwritten())
    }

    pub fn side_ref(&self, leg: LegId) -> Option<&Side> {
        match leg {
            LegId::CALLER => Some(&self.caller.side),
            leg => self.legs.get(leg.index() - 1).map(|leg| &leg.side),
        }
    }

    fn glimpse(&self, leg: LegId) -> Glimpse {
        let stage = self.side_ref(leg).map_or("uncalled", |side| stage_name(&side.stage));
        Glimpse { stage, seen: self.seen(leg), audio: None }
    }

    /// What a record says of a leg's dialog.
    pub fn seen(&self, leg: LegId) -> Seen {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Into::into);
        match leg {
            LegId::CALLER => (text(&self.caller.call_id), Some(self.caller.peer.addr)),
            leg => match self.legs.get(leg.index() - 1) {
                Some(side) if side.was_called() => (text(&side.call_id), Some(side.peer.addr)),
                Some(_) | None => (None, None),
            },
        }
    }

    /// Whether the last INVITE to a side left the offer to it.
    pub fn asked_for_offer(&self, leg: LegId) -> bool {
        self.side_ref(leg).is_some_and(|side| side.asked_for_offer)
    }

    /// Where a side is reached.
    pub fn peer_of(&self, leg: LegId) -> Option<Peer> {
        match leg {
            LegId::CALLER => Some(self.caller.peer),
            leg => self.legs.get(leg.index() - 1).map(|side| side.peer),
        }
    }

    /// Our INVITE to a leg with this Call-ID, where no final response has come: one that we gave up may be answered before
    /// that is heard of.
    pub fn awaits_final(&self, leg: LegId, call_id: &[u8]) -> Option<transaction::Id> {
        let side = leg.index().checked_sub(1).and_then(|at| self.legs.get(at))?;
        let may_answer = match side.side.stage {
            Stage::Early => true,
            Stage::Abandoned(_) => side.stray_acks.is_empty(),
            Stage::Accepted { .. } | Stage::Confirmed | Stage::Gone => false,
        };
        side.transaction.filter(|_| may_answer && side.call_id == *call_id)
    }

    /// The early dialog of a leg that a request names.
    pub fn early_fork(&mut self, leg: LegId, call_id: &[u8], remote_tag: &[u8]) -> Option<&mut Dialog> {
        let side = self.called(leg).filter(|side| side.side.stage == Stage::Early)?;
        let early = side.forks.iter_mut().filter_map(|fork: &mut ForkSeen| fork.early.as_deref_mut());
        early.into_iter().find(|dialog| dialog.matches(call_id, remote_tag))
    }

    /// Whether the offer of a side's INVITE has had its answer in the early dialog that a request names.
    pub fn has_answer(&self, leg: LegId, request: &Message<'_>) -> bool {
        match leg.index().checked_sub(1) {
            None => {
                let tag = request.to().tag().and_then(read_tag).map_or(0, |(_, _, number)| number);
                self.caller.answered.checked_shr(tag.into()).is_some_and(|bits| bits & 1 == 1)
            }
            Some(at) => {
                let tag = request.from().tag().unwrap_or_default();
                let forks = self.legs.get(at).map_or(&[][..], |side| &side.forks);
                forks.iter().any(|fork| fork.answered && fork.tag[..] == *tag)
            }
        }
    }

    /// The method of the request that we passed on to a side.
    pub fn passed_method(&self, to: LegId) -> Option<Method> {
        self.asked.iter().find(|asked| asked.leg != to && asked.passed.is_some()).map(|asked| asked.method)
    }
}

impl Asked {
    /// Whether this ACK is what it waits for.
    pub fn awaits_ack(&self, leg: LegId, cseq: u32) -> bool {
        self.leg == leg && self.cseq == cseq && self.method == Method::Invite && self.request.is_empty()
    }
}

impl CallerSide {
    /// Whether a PRACK's RAck names the reliable response that is open.
    pub fn matches_rack(&self, prack: &Message<'_>) -> bool {
        let open = self
            .rare
            .as_deref()
            .and_then(|rare| rare.reliable.as_ref())
            .map(|open| (open.rseq, self.side.invite_seq));
        open.is_some() && prack.get(Name::RAck).and_then(super::caller::read_rack) == open
    }
}

impl Settings {
    /// How Via and Contact name us towards a peer.
    pub(super) fn host_of(&self, desk: &dyn Desk, peer: Peer) -> Host {
        let mut host = Host::new();
        if peer.shard().is_some() {
            host.extend_from_slice(b"inside.invalid");
            return host;
        }
        let Some(listener) = self.listeners.get(usize::from(peer.listener.0)) else { return host };
        match &listener.advertise {
            Some(advertise) => host.extend_from_slice(advertise.as_bytes()),
            None => {
                // Writing to memory cannot fail.
                let _ = write!(host, "{}", desk.local_address(peer.listener, peer.addr.ip()));
            }
        }
        host
    }
}

/// Our Contact. A `sips:` one names no transport (RFC 5630 §3.1.3).
pub(super) fn write_contact(w: &mut Writer<'_>, scheme: Scheme, transport: Transport, host: &[u8]) {
    match (scheme, transport) {
        (Scheme::Sips, _) => w.header_parts(Name::Contact, &[b"<sips:", host, b">"]),
        (_, Transport::Udp) => w.header_parts(Name::Contact, &[b"<sip:", host, b">"]),
        (_, Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => w.header_parts(
            Name::Contact,
            &[b"<sip:", host, b";transport=", transport.uri_token().as_bytes(), b">"],
        ),
    };
}
