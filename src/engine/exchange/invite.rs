//! The INVITE to a leg: where to, as whom, and what of the caller's it carries on (R9, design "between legs").

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::abilities::Abilities;
use super::binding::Phone;
use super::carry::goes_along;
use super::challenged::{Answers, Login, Shown};
use super::names::CallIdText;
use super::slot::{CalledSide, Owner, Side, Special, Stage};
use super::{Effects, Exchange, Mark, Settings, SlotKey, names};
use crate::call::Invitation;
use crate::call::event::{Event, LegEvent, LegId};
use crate::call::leg::{Destination, Leg};
use crate::call::presentation::Presentation;
use crate::sip::build::Writer;
use crate::sip::dialog::Ways;
use crate::sip::header::{Method, Name};
use crate::sip::peer::{ListenerId, Peer, Transport};
use crate::sip::session;
use crate::sip::transaction;
use crate::sip::uri::{Address, Scheme};
use crate::sip::wire::Fields;
use crate::time::Now;

/// A Request-URI of ours.
type Target = SmallVec<[u8; 64]>;

/// Requests above this go by a stream where the far side takes one: they would not fit into a datagram on
/// every path (RFC 3261 §18.1.1).
const MAX_DATAGRAM: usize = 1300;

/// How long a long INVITE waits for a connection before it goes in a datagram after all: a SYN that was lost is repeated
/// after a second (RFC 6298 §2), and has one more. Half of `try_timeout` where that is less: its gateway is not left
/// before it has been tried both ways (R14).
const OPENING: Duration = Duration::from_secs(2);

/// The Call-ID of a leg before its INVITE: none that we give.
const NO_CALL_ID: CallIdText = [b'-'; super::names::CALL_ID_LEN];

/// Which INVITE of a leg this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    /// With a longer session interval, after a 422 (RFC 4028 §7.4).
    Interval(u32),
    /// In a datagram after all: nobody took the stream.
    Datagram,
    /// With credentials, after a 401 or 407 (RFC 3261 §22.2).
    Authorized,
}

impl Exchange {
    /// Sends the leg's INVITE; a leg that cannot be called at all hears so in the same turn.
    pub(super) fn invite(&mut self, now: Now, key: SlotKey, id: LegId, out: &mut Effects) {
        if let Some(slot) = self.slots.get_mut(key)
            && slot.legs.len() < id.index()
        {
            slot.legs.push(CalledSide::uncalled(slot.caller.peer));
        }
        if !self.try_invite(now, key, id, Attempt::First, out) {
            self.pending.push_back((key, Event::Leg(id, LegEvent::NotCalled)));
        }
    }

    /// Sends the INVITE of a leg that lives once more, in another way: it has its time anew (R14).
    pub(super) fn invite_again(
        &mut self,
        now: Now,
        key: SlotKey,
        id: LegId,
        attempt: Attempt,
        out: &mut Effects,
    ) -> bool {
        let sent = self.try_invite(now, key, id, attempt, out);
        if sent {
            self.happen(now, key, Event::Leg(id, LegEvent::CalledAgain), out);
        }
        sent
    }

    /// False: no listener reaches it, or the limit of the transactions is reached.
    fn try_invite(&mut self, now: Now, key: SlotKey, id: LegId, attempt: Attempt, out: &mut Effects) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let Some(call) = slot.call.as_deref() else { return false };
        let invite = match call.onward_of(id) {
            Some(_) => self.referrals.get(&key).map(|referral| &referral.request),
            None => slot.opening.as_deref().map(|opening| &opening.invite),
        };
        let Some(invite) = invite else { return false };
        let mut invitation = call.invitation(id);
        if let Some(anchor) = slot.anchor.as_deref() {
            // No ports are left, or there is nothing to offer.
            let Some(offer) = anchor.offer(id) else { return false };
            invitation.offer = Some(offer);
        }
        let is_delayed = invitation.offer.is_none();
        if is_delayed && call.onward_of(id).is_none() {
            invitation.offer = call.arrival.enclosed.as_deref();
        }
        let Some(leg) = call.leg(id) else { return false };
        let Some(peer) = self.settings.peer_of(leg) else { return false };
        let pinned = match &leg.to {
            Destination::Phone { contact, .. } => contact.route.is_empty() && contact.peer.is_some(),
            Destination::Inside(_) => true,
            Destination::Gateway { .. } => false,
        };
        let takes_streams = attempt != Attempt::Datagram && leg.gateway().is_some_and(|at| at.long_by_tcp);
        let over = |peer: Peer| (peer, self.settings.host_of(&*self.desk, peer));
        let first = over(peer);
        let call_id = match attempt {
            Attempt::First => self.names.call_id(),
            Attempt::Interval(_) | Attempt::Datagram | Attempt::Authorized => {
                slot.legs[id.index() - 1].call_id
            }
        };
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Leg(key, id)) else { return false };
        let side = &mut slot.legs[id.index() - 1];
        let cseq = side.side.invite_seq + 1;
        let min_se = match attempt {
            Attempt::Interval(seconds) => Some(seconds),
            Attempt::First | Attempt::Datagram | Attempt::Authorized => side.min_se(),
        };
        if let Some(auth) = leg.trunk().and_then(|trunk| trunk.auth.as_ref()) {
            side.special.get_or_insert_default().login.get_or_insert_with(|| Login::of(auth));
        }
        let cnonce = self.names.stateless_tag(branch.as_ref());
        let given = side.login().map(|login| login.answers(Method::Invite, &request_uri(leg), cnonce));
        let given = given.unwrap_or_default();
        let write = |(peer, host): (Peer, super::inspect::Host), scratch: &mut Vec<u8>| {
            scratch.clear();
            let draft = Draft {
                leg,
                invite: invite.fields(),
                invitation: &invitation,
                first_call_id: &slot.caller.call_id,
                host: &host,
                peer,
                call_id: &call_id,
                cseq,
                min_se,
                given: &given,
            };
            (peer, draft.write(scratch, &names::tag(key, id, 0), branch.as_ref()))
        };
        let (mut peer, mut range) = write(first, &mut self.scratch);
        let mut patience = None;
        if range.len() > MAX_DATAGRAM
            && peer.transport == Transport::Udp
            && takes_streams
            && !self.desk.trunks().streamless().knows(peer.addr, now.mono)
            && let Some(stream) = self.settings.peer_at(peer.addr, Transport::Tcp)
        {
            (peer, range) = write(over(stream), &mut self.scratch);
            patience = leg.trunk().map(|trunk| OPENING.min(trunk.try_timeout / 2));
        }
        let bytes = &self.scratch[range];
        self.transactions.send(now.mono, transaction, Method::Invite, bytes, peer, &mut out.out);
        if let Some(patience) = patience {
            out.out.hurry(patience);
        }
        out.mark(|| Mark::Leg { call: call.arrival.id.clone(), call_id: call_id.into() });
        side.called(transaction, call_id, peer, cseq, min_se);
        if is_delayed {
            side.special.get_or_insert_default().delayed = true;
        }
        if pinned {
            let directory = self.desk.directory();
            let phone = leg.agent().and_then(|agent| Phone::at(directory, agent, peer, now.mono));
            let special = side.special.get_or_insert_default();
            (special.pinned, special.phone) = (true, phone);
        }
        if let Some(login) = side.login() {
            login.shown = Some(Shown { cseq, given });
        }
        slot.sent(now.mono, id, Method::Invite);
        true
    }
}

impl CalledSide {
    /// Where the requests of a dialog go, whatever its Contact says, that a response from there made: who rang by one
    /// connection may answer by the next.
    pub fn pin_of(&self, from: Peer) -> Option<Peer> {
        let pinned = self.special.as_ref().is_some_and(|special| special.pinned);
        let by_streams = self.peer.flow.is_some() && from.flow.is_some();
        pinned.then_some(if by_streams { from } else { self.peer })
    }

    /// Whether our INVITE left the offer to it.
    pub fn is_delayed(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.delayed)
    }

    /// A Min-SE of its own (RFC 4028 §7.4).
    pub fn min_se(&self) -> Option<u32> {
        self.special.as_ref()?.min_se
    }

    /// How its carrier's challenges are answered.
    pub fn login(&mut self) -> Option<&mut Login> {
        self.special.as_deref_mut()?.login.as_mut()
    }

    /// A leg before its INVITE.
    pub fn uncalled(peer: Peer) -> Self {
        CalledSide {
            side: Side { stage: Stage::Gone, ..Side::new(0) },
            transaction: None,
            call_id: NO_CALL_ID,
            peer,
            forks: SmallVec::new(),
            stray_acks: SmallVec::new(),
            special: None,
        }
    }

    fn called(
        &mut self,
        transaction: transaction::Id,
        call_id: CallIdText,
        peer: Peer,
        cseq: u32,
        min_se: Option<u32>,
    ) {
        self.side.stage = Stage::Early;
        self.side.invite_seq = cseq;
        self.transaction = Some(transaction);
        self.call_id = call_id;
        self.peer = peer;
        if let Some(special) = &mut self.special {
            special.min_se = min_se;
        } else if min_se.is_some() {
            self.special = Some(Box::new(Special { min_se, ..Special::default() }));
        }
        self.forks.clear();
    }

    /// Whether there was ever a dialog, or an INVITE that could have made one.
    pub fn was_called(&self) -> bool {
        self.call_id != NO_CALL_ID
    }

    /// Whether its INVITE went by a stream only because it is long.
    pub fn chose_stream(&self, settled: Transport) -> bool {
        self.peer.transport == Transport::Tcp && settled == Transport::Udp
    }
}

/// An INVITE that is being written.
struct Draft<'a> {
    leg: &'a Leg,
    /// The caller's INVITE, or the REFER that led here.
    invite: Fields<'a, 'a>,
    invitation: &'a Invitation<'a>,
    /// Of the caller's dialog.
    first_call_id: &'a [u8],
    host: &'a [u8],
    peer: Peer,
    call_id: &'a CallIdText,
    cseq: u32,
    min_se: Option<u32>,
    /// What answers its carrier's challenges.
    given: &'a Answers,
}

impl Draft<'_> {
    fn write(&self, out: &mut Vec<u8>, tag: &[u8], branch: &[u8]) -> std::ops::Range<usize> {
        let target = request_uri(self.leg);
        let Invitation { plan, caller, offer, .. } = *self.invitation;
        let presentation = Presentation::of(self.leg, plan, caller, self.host);
        let mut w = Writer::request(out, Method::Invite.token(), &target);
        w.via(self.peer.transport, self.host, branch);
        let hops = self.invite.max_forwards().ok().flatten().unwrap_or(70);
        w.number(Name::MaxForwards, u64::from(hops.saturating_sub(1)));
        if let Destination::Phone { contact, .. } = &self.leg.to {
            for route in &contact.route {
                w.header(Name::Route, route.as_bytes());
            }
        }
        if let Destination::Inside(inside) = &self.leg.to {
            w.header(Name::Replaces, inside.replaces.as_bytes());
        }
        self.write_breadth(&mut w);
        presentation.write_from(&mut w, tag);
        w.header_parts(Name::To, &[b"<", &target, b">"]);
        w.header(Name::CallId, self.call_id);
        w.cseq(self.cseq, Method::Invite.token());
        for given in self.given {
            given.write(&mut w);
        }
        super::write_contact(&mut w, scheme(self.leg, &target), self.peer.transport, self.host);
        let abilities = Abilities::towards(self.leg.agent().is_some());
        w.lines(abilities.allow);
        // A reliable offer would want its answer in PRACK, and the caller has none yet (R4).
        w.lines(if offer.is_none() { b"Supported: timer\r\n" } else { abilities.supported });
        let min_se = self.min_se.unwrap_or(session::MIN_SE);
        w.number(Name::SessionExpires, u64::from(session::SESSION_EXPIRES.max(min_se)));
        w.number(Name::MinSe, u64::from(min_se));
        presentation.write_identity(&mut w, &target, self.invite);
        let trunk = self.leg.trunk().map(|trunk| &**trunk);
        let hides = caller.withheld;
        let may_go = self.invite.named(Name::may_go_along);
        for field in may_go.filter(|field| goes_along(field, trunk, hides)) {
            w.field(&field);
        }
        if self.leg.trunk().is_none_or(|trunk| trunk.x_cid) {
            w.header(Name::XCid, self.first_call_id);
        }
        match offer {
            Some(offer) => w.body(offer.header_lines(), offer.bytes()),
            None => w.end(),
        }
    }

    /// Max-Breadth is split between the legs of a step that ring at once (RFC 5393 §5.3).
    fn write_breadth(&self, w: &mut Writer<'_>) {
        let Some(breadth) = self.invitation.breadth else { return };
        let step = self.invitation.plan.steps.get(usize::from(self.leg.target.step));
        let targets = step.map_or(1, |step| u32::try_from(step.targets.len()).unwrap_or(u32::MAX));
        w.number(Name::MaxBreadth, u64::from(breadth / targets.clamp(1, breadth.max(1))));
    }
}

/// The Request-URI: the agent's contact as it stands, or the number at the gateway.
fn request_uri(leg: &Leg) -> Target {
    match &leg.to {
        Destination::Phone { contact, .. } => Target::from_slice(contact.uri.as_bytes()),
        Destination::Inside(_) => Target::from_slice(b"sip:inside.invalid"),
        Destination::Gateway { number, trunk, .. } => {
            let uri = leg.gateway().map_or(&[][..], |gateway| gateway.uri.as_bytes());
            let mut target = Target::from_slice(if is_sips(uri) { b"sips:" } else { b"sip:" });
            number.with_text(trunk, |number| target.extend_from_slice(number.as_bytes()));
            if !uri.is_empty() {
                target.push(b'@');
                target.extend_from_slice(without_user(uri));
            }
            target
        }
    }
}

/// What our Contact in a leg's INVITE is written with (RFC 3261 §8.1.1.8).
fn scheme(leg: &Leg, target: &[u8]) -> Scheme {
    let route = match &leg.to {
        Destination::Phone { contact, .. } => contact.route.first().map(|route| route.as_bytes()),
        Destination::Gateway { .. } | Destination::Inside(_) => None,
    };
    let secure_route =
        route.is_some_and(|route| Address::parse(route).is_ok_and(|route| route.uri.scheme == Scheme::Sips));
    if secure_route || is_sips(target) { Scheme::Sips } else { Scheme::Sip }
}

pub(super) fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// A gateway's URI from its host on.
fn without_user(uri: &[u8]) -> &[u8] {
    let host = memchr::memchr(b'@', uri).or_else(|| memchr::memchr(b':', uri));
    host.map_or(uri, |at| &uri[at + 1..])
}

impl Settings {
    /// The far side of a leg, and the listener that we send from; `None` where no listener fits or the host
    /// is no address.
    pub(super) fn peer_of(&self, leg: &Leg) -> Option<Peer> {
        let (addr, transport, name) = match &leg.to {
            Destination::Phone { contact, .. } => match contact.peer {
                Some(peer) => return Some(peer),
                None => (contact.addr, contact.transport, contact.name),
            },
            Destination::Gateway { exits, .. } => {
                let name = leg.gateway().and_then(|gateway| gateway.name);
                exits.current().map(|exit| (exit.addr, exit.transport, name))?
            }
            Destination::Inside(inside) => return Some(Peer::inside(inside.shard)),
        };
        let name = name.filter(|_| transport == Transport::Tls);
        self.peer_at(addr?, transport).map(|peer| Peer { name, ..peer })
    }
}

impl Ways for Settings {
    /// By the first listener of that transport and address family.
    fn peer_at(&self, addr: SocketAddr, transport: Transport) -> Option<Peer> {
        let at = self.listeners.iter().position(|listener| {
            listener.transport == transport && listener.addr.is_ipv4() == addr.is_ipv4()
        })?;
        Some(Peer::at(addr, transport, ListenerId(u8::try_from(at).ok()?)))
    }
}
