//! A call whose audio comes through us (R4): each side has ports of ours, and is shown our own description in place of
//! the other's. The call itself knows nothing of it: what it hands from one side to the other is exchanged on its way in
//! and out, and the threads that carry audio are told what holds now.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::accounts::{Accounts, Infos};
use super::{Effects, Exchange, SlotKey};
use crate::call::event::{Action, Answer, Event, Fork, LegEvent, LegId, Spoken};
use crate::call::refusal::Refusal;
use crate::call::{Arrival, Call};
use crate::media::plane::{Heard, Key, Order};
use crate::media::prompt::{Prompt, Standard};
use crate::media::reel::{Format, Sheet};
use crate::media::rtp::Stream;
use crate::media::session::{Agreed, Listen, Say, SideId, Told};
use crate::media::tape::Rate;
use crate::media::terms::{Here, Nat, Scope, Terms};
use crate::routing::{self, Plan, Trunk, Urgency};
use crate::sip::body::Body;
use crate::sip::header::Method;
use crate::sip::peer::Peer;
use crate::sip::sdp::audio::{Audio, Codec, PLAIN_OFFER};
use crate::time::Now;

/// So many pairs a call for help may come to need: its own, and one for each trunk that is tried. They are kept from all
/// others, or where there are few at all a part of them is.
const FOR_HELP: usize = 9;
const PART_FOR_HELP: usize = 4;

/// Of a stream's timestamps in Hz, until a format is agreed on.
const CLOCK: u32 = 8_000;

/// Of a sheet until its recording begins.
const MONO: Format = Format { channels: 1, rate: Rate::Narrow };

/// Where the audio of calls is: its ports, and the threads that carry it.
pub trait Booth {
    /// Opens a pair of ports for a side of a call, to which that stream is sent and whose signalling is `towards` there;
    /// what its description names. None: all are in use.
    fn open(
        &mut self,
        call: Key,
        side: SideId,
        stream: Stream,
        towards: Option<IpAddr>,
    ) -> Option<SocketAddr>;
    /// Begins to write down a call: what is told of it, the sides on the left and on the right; a message has the left
    /// one alone.
    fn record(&mut self, call: Key, sheet: Sheet, left: SideId, right: Option<SideId>);
    /// Whether a message that is left would be written down: the disk has room.
    fn keeps_messages(&self) -> bool;
    /// Has something done for a call.
    fn order(&mut self, call: Key, order: Order);
    /// A side that was closed has left its ports.
    fn closed(&mut self, call: Key, side: SideId, port: u16);
    /// What it has to tell itself: of calls whose audio it could not carry on.
    fn told(&mut self) -> Option<(Key, Heard)>;
    /// How many pairs are open, and how many are not.
    fn used(&self) -> usize;
    fn left(&self) -> usize;
}

/// What a node says of its audio.
#[derive(Clone, Copy, Debug)]
pub struct Anchoring {
    /// Audio passes us by where nothing of ours needs it.
    pub when_needed: bool,
}

/// The audio of one call.
#[derive(Debug)]
pub struct Anchor {
    sides: SmallVec<[Side; 2]>,
    scope: Scope,
    whisper: Option<Arc<Prompt>>,
    notice: Option<Arc<Prompt>>,
    greeting: Option<Arc<Prompt>>,
    /// Who is on the right of what is written down.
    right: Option<LegId>,
    /// It is watched whether anybody is heard (R12).
    is_watched: bool,
    /// Whom the caller hears before its 200 (R4).
    early: Option<LegId>,
    /// What was agreed on has changed somewhere.
    is_news: bool,
    /// How the sides went that are closed.
    pub(super) accounts: Accounts,
    /// Who takes INFO, and keys that are told so and have not been acknowledged.
    pub(super) infos: Infos,
}

#[derive(Debug)]
struct Side {
    leg: LegId,
    terms: Terms,
    /// What its INVITE offers.
    offer: Option<Body>,
    /// What the threads know.
    told: Option<Agreed>,
    hears: Option<LegId>,
    /// Its audio is listened to for keys, where it has no telephone events.
    awaits_keys: bool,
    /// What we say to it has this number; odd while it lasts.
    said: u32,
}

impl Anchor {
    fn side(&mut self, leg: LegId) -> Option<&mut Side> {
        self.sides.iter_mut().find(|side| side.leg == leg)
    }

    /// A leg asks, from there, for what may change its audio.
    pub fn asks_from(&mut self, leg: LegId, host: IpAddr) {
        if let Some(side) = self.side(leg) {
            side.terms.signals_from(host);
        }
    }

    /// What a leg's INVITE offers in place of the caller's own.
    pub fn offer(&self, leg: LegId) -> Option<&Body> {
        self.sides.iter().find(|side| side.leg == leg)?.offer.as_ref()
    }
}

/// Pairs of ports that ordinary calls may take.
fn free(booth: &dyn Booth) -> usize {
    let kept = FOR_HELP.min((booth.used() + booth.left()) / PART_FOR_HELP);
    booth.left().saturating_sub(kept)
}

impl Exchange {
    /// Has the audio of a call that is about to begin come through us, where it is to. Without an offer of the caller's
    /// the legs get one of ours, and so does the caller in its 200.
    pub(super) fn anchor(
        &mut self,
        key: SlotKey,
        from: Peer,
        plan: &Plan,
        arrival: &mut Arrival,
    ) -> Result<Option<Box<Anchor>>, Refusal> {
        let Some((anchoring, booth)) = &self.audio else { return Ok(None) };
        // A call for help never waits for ports, nor loses anything that it says: its audio passes us by where few are
        // left, or where it says more than where its audio is (R13).
        let is_ordinary = plan.urgency.is_ordinary();
        if !is_ordinary
            && (booth.left() < FOR_HELP
                || arrival.enclosed.is_some()
                || arrival.offer.as_ref().is_some_and(|offer| !is_plain(offer)))
        {
            return Ok(None);
        }
        let speaks = plan.record || plan.whisper.is_some() || plan.call_connect.is_some();
        let scope = if speaks { Scope::Speech } else { Scope::Anything };
        if anchoring.when_needed && !speaks && plan.voicemail.is_none() {
            return Ok(None);
        }
        let voice = |prompt: &Option<routing::Prompt>| self.table.voice(prompt.as_ref()?);
        let mut anchor = Anchor {
            sides: SmallVec::new(),
            scope,
            whisper: voice(&plan.whisper),
            notice: voice(&plan.record_notice),
            greeting: plan.voicemail.as_ref().and_then(|voicemail| voice(&voicemail.greeting)),
            right: None,
            is_watched: false,
            early: None,
            is_news: false,
            accounts: Accounts::default(),
            infos: Infos::default(),
        };
        // Its own side, and that of somebody who is rung: with one alone it would come to nothing.
        let rings = plan.steps.iter().any(|step| !step.targets.is_empty());
        if is_ordinary && free(&**booth) < 1 + usize::from(rings) {
            return Err(Refusal::NoPort);
        }
        let nat = nat(plan.origin.trunk(), from);
        let Some(mut caller) = self.open_side(key, (LegId::CALLER, from), scope, nat, &plan.urgency) else {
            return if is_ordinary { Err(Refusal::NoPort) } else { Ok(None) };
        };
        match &mut arrival.offer {
            Some(offer) if caller.terms.offered(offer).is_err() => {
                self.audio_order(key, Order::Close(SideId(0)));
                return if is_ordinary { Err(Refusal::NoAudio) } else { Ok(None) };
            }
            Some(_) => {}
            offer @ None => *offer = Some(Body::new("application/sdp", PLAIN_OFFER)),
        }
        anchor.sides.push(caller);
        Ok(Some(Box::new(anchor)))
    }

    /// What an event brings of a side's audio. None: it was for us alone.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever bears no description passes as it is")]
    pub(super) fn hear_audio(
        &mut self,
        now: Now,
        key: SlotKey,
        event: Event,
        out: &mut Effects,
    ) -> Option<Event> {
        let is_anchored =
            self.slots.get(key).is_some_and(|slot| slot.anchor.is_some() && slot.call.is_some());
        if !is_anchored {
            return Some(event);
        }
        if let Event::Joins { leg, .. } = &event
            && !self.join_side(key, *leg)
        {
            self.reply(now, key, (*leg, Method::Invite), 503, None, out);
            return None;
        }
        if let Event::Asked { leg, method: Method::Info, body: Some(body), .. } = &event
            && self.key_by_info(now, key, *leg, body, out)
        {
            return None;
        }
        let anchor = self.slots.get_mut(key)?.anchor.as_deref_mut()?;
        anchor.is_news = true;
        match event {
            Event::Leg(leg, LegEvent::Progress { code, fork, body }) => {
                let body = body.filter(|body| !body.is_sdp() || anchor.answered(leg, body));
                Some(Event::Leg(leg, LegEvent::Progress { code, fork, body }))
            }
            Event::Leg(leg, LegEvent::Answered { fork, body }) => {
                let body = body.filter(|body| !body.is_sdp() || anchor.answered(leg, body));
                Some(Event::Leg(leg, LegEvent::Answered { fork, body }))
            }
            Event::Asked {
                leg,
                method: method @ (Method::Invite | Method::Update),
                body: Some(body),
                answered,
            } if body.is_sdp() => match anchor.side(leg).map(|side| side.terms.offered(&body)) {
                Some(Err(_)) => {
                    self.reply(now, key, (leg, method), 488, None, out);
                    None
                }
                Some(Ok(())) | None => Some(Event::Asked { leg, method, body: Some(body), answered }),
            },
            Event::Joins { leg, replaces, from, offer } => {
                match anchor.side(leg).map(|side| side.terms.offered(&offer)) {
                    Some(Err(_)) => {
                        self.reply(now, key, (leg, Method::Invite), 488, None, out);
                        None
                    }
                    Some(Ok(())) | None => Some(Event::Joins { leg, replaces, from, offer }),
                }
            }
            Event::Replied { leg, method: method @ (Method::Invite | Method::Update), code, body } => {
                anchor.replied(leg, code, body.as_ref());
                Some(Event::Replied { leg, method, code, body })
            }
            Event::CallerAcknowledged { answer } => {
                match anchor.acknowledged(LegId::CALLER, answer.as_ref()) {
                    true => Some(Event::CallerAcknowledged { answer }),
                    false => Some(Event::CallerDidNotAnswer),
                }
            }
            Event::Settled { leg, answer } => {
                let _ = anchor.acknowledged(leg, answer.as_ref());
                Some(Event::Settled { leg, answer })
            }
            Event::Asked { leg, method: Method::Invite, body: None, answered } => {
                if let Some(side) = anchor.side(leg) {
                    side.terms.wants_offer();
                }
                Some(Event::Asked { leg, method: Method::Invite, body: None, answered })
            }
            event => Some(event),
        }
    }

    /// What an action shows of one side's audio to another, as ours.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever bears no description passes as it is")]
    pub(super) fn show_audio(&mut self, key: SlotKey, action: Action) -> Action {
        if let Action::Invite(leg) = action {
            self.offer_audio(key, leg);
            return action;
        }
        let anchor = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut());
        let Some(anchor) = anchor else { return action };
        anchor.is_news = true;
        match action {
            // One dialog of the caller's stands for all legs.
            Action::Progress { code, leg: heard, fork: _, body } => {
                // With a delayed offer no SDP reaches it before our 200 (R4).
                let has_offered = anchor.side(LegId::CALLER).is_some_and(|side| side.terms.answers());
                let body = body.filter(|_| has_offered).and_then(|body| anchor.shows(LegId::CALLER, body));
                if body.is_some() {
                    anchor.early = Some(heard);
                }
                Action::Progress { code, leg: LegId::CALLER, fork: Fork(0), body }
            }
            Action::Accept { leg: _, fork: _, body } => {
                let body = body.and_then(|body| anchor.shows(LegId::CALLER, body));
                Action::Accept { leg: LegId::CALLER, fork: Fork(0), body }
            }
            Action::Reply { leg, method, code, body } => {
                let body = match body {
                    Some(body) if body.is_sdp() => anchor.shows(leg, body),
                    body => body,
                };
                if code >= 300 && matches!(method, Method::Invite | Method::Update) {
                    anchor.refused(leg);
                }
                Action::Reply { leg, method, code, body }
            }
            Action::PassOn { leg, method: method @ (Method::Invite | Method::Update), body: Some(body) } => {
                Action::PassOn { leg, method, body: anchor.offers(leg, body) }
            }
            Action::Offer { leg, body } => match anchor.offers(leg, body.clone()) {
                Some(body) => Action::Offer { leg, body },
                None => Action::Offer { leg, body },
            },
            Action::Acknowledge { leg, answer: Answer::Of(body) } => {
                let answer = anchor.shows(leg, body).map_or(Answer::RefuseAll, Answer::Of);
                Action::Acknowledge { leg, answer }
            }
            Action::Settle { leg, answer: Some(body) } => {
                Action::Settle { leg, answer: anchor.shows(leg, body) }
            }
            action => action,
        }
    }

    /// Tells the threads what an event has changed.
    pub(super) fn settle_audio(&mut self, key: SlotKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(anchor) = slot.anchor.as_deref_mut() else { return };
        let mut orders: SmallVec<[Order; 4]> = SmallVec::new();
        match slot.call.as_deref() {
            Some(call) => anchor.settle(call, &mut orders),
            None => orders.extend(anchor.sides.drain(..).map(|side| Order::Close(id(side.leg)))),
        }
        for order in &orders {
            if let Order::Close(side) = order {
                anchor.accounts.closes(LegId(side.0));
            }
        }
        for order in orders {
            self.audio_order(key, order);
        }
    }

    /// What a thread tells of a call's audio.
    pub(super) fn audio_heard(&mut self, now: Now, of: Key, heard: Heard, out: &mut Effects) {
        let key = SlotKey { index: of.index, nonce: of.nonce };
        match heard {
            Heard::Closed(side, port, quality) => {
                if let Some((_, booth)) = &mut self.audio {
                    booth.closed(of, side, port);
                }
                let anchor = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut());
                if let Some(anchor) = anchor {
                    let leg = LegId(side.0);
                    // Where a bug ended it, nobody had asked for that.
                    anchor.sides.retain(|side| side.leg != leg);
                    anchor.accounts.closed(leg, quality);
                    self.working = Some(key);
                    self.record_heard(key, out);
                    self.sweep(key);
                }
            }
            Heard::Broken => self.audio_broke(now, key, out),
            Heard::Told(told) => {
                let event = match told {
                    Told::Latched(_) => return,
                    Told::Pressed(side, digit) => {
                        self.working = Some(key);
                        match self.key_heard(now, key, LegId(side.0), digit, out) {
                            Some(event) => event,
                            None => return,
                        }
                    }
                    Told::Said(side, number) if self.says(key, side, number) => {
                        Event::Said { leg: LegId(side.0) }
                    }
                    // Of what has been hushed since.
                    Told::Said(..) => return,
                    Told::SaidEnough(side) => Event::SaidEnough { leg: LegId(side.0) },
                    Told::FellSilent(side) => Event::FellSilent { leg: LegId(side.0) },
                    Told::Silent => Event::Silent,
                    Told::NotKept => Event::NotKept,
                };
                self.working = Some(key);
                self.happen(now, key, event, out);
            }
        }
    }

    /// A side is to hear us.
    pub(super) fn say_audio(&mut self, key: SlotKey, leg: LegId, what: Spoken, again: Option<Duration>) {
        // In which format it hears us is to be known first.
        self.settle_audio(key);
        let Some(anchor) = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut()) else {
            return;
        };
        let prompt = match what {
            Spoken::Whisper => anchor.whisper.clone(),
            Spoken::PressOne => Some(Standard::PressOne.prompt()),
            Spoken::Notice => anchor.notice.clone(),
            Spoken::Greeting => Some(anchor.greeting.clone().unwrap_or_else(|| Standard::Greeting.prompt())),
            Spoken::Tone => Some(Standard::Tone.prompt()),
        };
        let Some(side) = anchor.side(leg) else { return };
        side.said = (side.said | 1).wrapping_add(2);
        let number = side.said;
        let is_notice = what == Spoken::Notice;
        // What could not be loaded is said in no time.
        let prompt = prompt.unwrap_or_else(|| Arc::new(Prompt::of_samples(&[], &[])));
        self.audio_order(
            key,
            Order::Say(id(leg), Say { after: what.after(), prompt, again, number, is_notice }),
        );
    }

    /// What the two say is written down from now on.
    pub(super) fn record_audio(&mut self, now: Now, key: SlotKey, right: LegId) {
        self.settle_audio(key);
        let sheet = self.sheet(now, key, Some(right));
        let Some(slot) = self.slots.get_mut(key) else { return };
        let (Some(anchor), Some(sheet)) = (slot.anchor.as_deref_mut(), sheet) else { return };
        anchor.right = Some(right);
        let call = self.audio_key(key);
        if let Some((_, booth)) = &mut self.audio {
            booth.record(call, sheet, id(LegId::CALLER), Some(id(right)));
        }
    }

    /// A message of the caller's is taken from now on.
    pub(super) fn take_message(&mut self, now: Now, key: SlotKey, listen: Listen) {
        self.settle_audio(key);
        let Some(sheet) = self.sheet(now, key, None) else { return };
        let call = self.audio_key(key);
        if let Some((_, booth)) = &mut self.audio {
            booth.record(call, sheet, id(LegId::CALLER), None);
        }
        self.audio_order(key, Order::Listen(id(LegId::CALLER), listen));
    }

    pub(super) fn discard_message(&mut self, key: SlotKey) {
        self.audio_order(key, Order::Discard);
    }

    /// What stands beside what is written down.
    fn sheet(&self, now: Now, key: SlotKey, right: Option<LegId>) -> Option<Sheet> {
        let call = self.slots.get(key)?.call.as_deref()?;
        // The rate, and so the format, is known to whoever writes.
        let mut sheet = Sheet::new(&call.arrival.id, MONO, now.wall);
        sheet.account = (&*call.plan.account).into();
        sheet.did = call.plan.did.map(Into::into);
        sheet.caller = call.arrival.shown_caller(call.plan.origin.reads().trusted_identity);
        sheet.answered_by = right.and_then(|leg| Some((&*call.role(leg, call.leg(leg)?).1).into()));
        Some(sheet)
    }

    pub(super) fn hush_audio(&mut self, key: SlotKey, leg: LegId) {
        let side = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut()?.side(leg));
        if let Some(side) = side {
            side.said &= !1;
            self.audio_order(key, Order::Hush(id(leg)));
        }
    }

    fn says(&mut self, key: SlotKey, side: SideId, number: u32) -> bool {
        let side = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut()?.side(LegId(side.0)));
        side.is_some_and(|side| side.said == number)
    }

    /// A leg is about to be called: it has ports of ours, and an offer.
    fn offer_audio(&mut self, key: SlotKey, leg: LegId) {
        let Some(slot) = self.slots.get(key) else { return };
        let (Some(anchor), Some(call)) = (slot.anchor.as_deref(), slot.call.as_deref()) else { return };
        let (scope, offer) = (anchor.scope, call.invitation(leg).offer.cloned());
        let Some(called) = call.leg(leg) else { return };
        let Some(peer) = self.settings.peer_of(called) else { return };
        let nat = nat(called.trunk(), peer);
        let urgency = call.plan.urgency.clone();
        let side = self.open_side(key, (leg, peer), scope, nat, &urgency).map(|mut side| {
            side.offer = offer.and_then(|offer| side.terms.offer(&offer));
            side
        });
        let anchor = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut());
        if let (Some(anchor), Some(side)) = (anchor, side) {
            anchor.sides.push(side);
        }
    }

    /// A guest from another call of ours takes a place.
    fn join_side(&mut self, key: SlotKey, leg: LegId) -> bool {
        let Some(slot) = self.slots.get(key) else { return false };
        let peer = slot.legs.get(leg.index().wrapping_sub(1)).map_or(slot.caller.peer, |side| side.peer);
        let scope = slot.anchor.as_deref().map(|anchor| anchor.scope);
        let nat = Nat::Unless(peer.addr.ip());
        let side = scope.and_then(|scope| self.open_side(key, (leg, peer), scope, nat, &Urgency::Ordinary));
        let anchor = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut());
        match (anchor, side) {
            (Some(anchor), Some(side)) => {
                anchor.sides.push(side);
                true
            }
            (_, _) => false,
        }
    }

    fn open_side(
        &mut self,
        key: SlotKey,
        (leg, peer): (LegId, Peer),
        scope: Scope,
        nat: Nat,
        urgency: &Urgency,
    ) -> Option<Side> {
        let (session, draw) = (self.names.draw() >> 2, self.names.draw());
        // RFC 3550 §5.1: drawn, and the first numbers low enough that none goes round at once.
        let stream =
            Stream::new(draw as u32, (draw >> 32) as u16 & 0x7fff, (draw >> 33) as u32 & 0x7fff_ffff, CLOCK);
        let call = self.audio_key(key);
        let (_, booth) = self.audio.as_mut()?;
        if urgency.is_ordinary() && free(&**booth) == 0 {
            return None;
        }
        let ours = booth.open(call, id(leg), stream, Some(peer.addr.ip()))?;
        if peer.shard().is_some() {
            booth.order(call, Order::Inside(id(leg)));
        }
        let here = Here { address: ours.ip(), port: ours.port(), scope, nat };
        Some(Side {
            leg,
            terms: Terms::new(here, session),
            offer: None,
            told: None,
            hears: None,
            awaits_keys: false,
            said: 0,
        })
    }

    pub(super) fn audio_order(&mut self, key: SlotKey, order: Order) {
        let call = self.audio_key(key);
        if let Some((_, booth)) = &mut self.audio {
            booth.order(call, order);
        }
    }

    const fn audio_key(&self, key: SlotKey) -> Key {
        Key { shard: self.settings.shard, index: key.index, nonce: key.nonce }
    }
}

impl Anchor {
    /// Whether a side has telephone events (RFC 4733).
    pub(super) fn has_events(&self, leg: LegId) -> bool {
        let side = self.sides.iter().find(|side| side.leg == leg);
        let agreed = side.and_then(|side| side.told.as_ref());
        agreed.is_some_and(|agreed| agreed.formats.iter().any(|format| format.codec == Codec::Event))
    }

    /// Whether no side is left, and none will come.
    pub(super) fn has_closed(&self) -> bool {
        self.sides.is_empty()
    }

    /// A leg's answer. False: it has nothing of what was offered, or no place to hear it.
    fn answered(&mut self, leg: LegId, body: &Body) -> bool {
        let Some(side) = self.side(leg) else { return true };
        side.terms.answered(body);
        side.terms.agreed().is_some_and(|agreed| agreed.speaks())
    }

    fn replied(&mut self, leg: LegId, code: u16, body: Option<&Body>) {
        let Some(side) = self.side(leg) else { return };
        match (code, body.filter(|body| body.is_sdp())) {
            (200..=299, Some(body)) if side.terms.asks() => side.terms.answered(body),
            // Its offer, for we made none. What cannot be carried is not answered either.
            (200..=299, Some(body)) => drop(side.terms.offered(body)),
            (_, _) => side.terms.refused(),
        }
    }

    /// The ACK of a side. False: our offer has no answer there, or one by which nothing can be said.
    fn acknowledged(&mut self, leg: LegId, answer: Option<&Body>) -> bool {
        let Some(side) = self.side(leg).filter(|side| side.terms.asks()) else { return true };
        if let Some(answer) = answer.filter(|answer| answer.is_sdp()) {
            side.terms.answered(answer);
        }
        !side.terms.asks() && side.terms.agreed().is_some_and(|agreed| agreed.speaks())
    }

    fn refused(&mut self, leg: LegId) {
        if let Some(side) = self.side(leg) {
            side.terms.refused();
        }
    }

    /// The other's description as ours: the answer to its offer, or where it made none an offer.
    fn shows(&mut self, leg: LegId, of: Body) -> Option<Body> {
        let Some(side) = self.side(leg) else { return Some(of) };
        if side.terms.answers() { side.terms.answer(&of) } else { side.terms.offer(&of) }
    }

    fn offers(&mut self, leg: LegId, of: Body) -> Option<Body> {
        let Some(side) = self.side(leg) else { return Some(of) };
        side.terms.offer(&of)
    }

    fn settle(&mut self, call: &Call, orders: &mut SmallVec<[Order; 4]>) {
        let early = self.early.filter(|leg| call.leg(*leg).is_some_and(|leg| leg.is_live()));
        self.sides.retain(|side| {
            let stays = side.leg == LegId::CALLER
                || call.holds(side.leg)
                || call.leg(side.leg).is_some_and(|leg| leg.is_live() || leg.hears_us());
            if !stays {
                orders.push(Order::Close(id(side.leg)));
            }
            stays
        });
        // Who is held need not speak, nor whoever holds.
        let talks = call.is_bridged() && !self.sides.iter().any(|side| side.terms.is_held());
        if talks != self.is_watched {
            orders.push(Order::Watch(talks.then_some(call.plan.limits.rtp_timeout)));
            self.is_watched = talks;
        }
        // After a transfer another one talks.
        if let Some(before) = self.right
            && let Some(now) = call.recorded_on_the_right().filter(|now| *now != before)
        {
            orders.push(Order::OnTheRight(id(now)));
            self.right = Some(now);
        }
        for side in &mut self.sides {
            if self.is_news
                && let Some(agreed) = side.terms.agreed()
                && side.told.as_ref() != Some(&agreed)
            {
                orders.push(Order::Agree(id(side.leg), agreed.clone()));
                side.told = Some(agreed);
            }
            if std::mem::replace(&mut side.awaits_keys, call.awaits_keys(side.leg)) != side.awaits_keys {
                orders.push(Order::Keys(id(side.leg), side.awaits_keys));
            }
            let hears = match call.other(side.leg) {
                Some(other) => Some(other),
                None if side.leg == LegId::CALLER => early,
                // Who asks for keys before it answers is to hear them.
                None => early.filter(|leg| *leg == side.leg).map(|_| LegId::CALLER),
            };
            if hears != side.hears {
                orders.push(match hears {
                    Some(other) => Order::Hears(id(side.leg), id(other)),
                    None => Order::HearsNobody(id(side.leg)),
                });
                side.hears = hears;
            }
        }
        self.is_news = false;
    }
}

/// A trunk says whether it stands behind a NAT; of a phone its addresses say it.
fn nat(trunk: Option<&Arc<Trunk>>, peer: Peer) -> Nat {
    match trunk {
        Some(trunk) if trunk.nat => Nat::Behind,
        Some(_) => Nat::None,
        None => Nat::Unless(peer.addr.ip()),
    }
}

/// Whether it is a description of audio that can come through us, and of nothing else.
fn is_plain(offer: &Body) -> bool {
    let is_alone = |sdp: &[u8]| {
        sdp.len() == offer.bytes().len()
            && sdp.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"m=")).count() == 1
            && Audio::of(sdp).is_ok_and(|audio| !audio.formats.is_empty())
    };
    offer.sdp().is_some_and(is_alone)
}

const fn id(leg: LegId) -> SideId {
    SideId(leg.0)
}
