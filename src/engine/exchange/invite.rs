//! The INVITE to a leg: where to, as whom, and what of the caller's it carries on (R9, design "between legs").

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::arrive::{ALLOW, SUPPORTED};
use super::names::CallIdText;
use super::slot::{CalledSide, Owner, Side};
use super::story::What;
use super::{Effects, Exchange, Settings, SlotKey, names};
use crate::call::event::{Event, LegEvent, LegId};
use crate::call::leg::{Destination, Leg};
use crate::call::presentation::Presentation;
use crate::call::story::Way;
use crate::routing::Trunk;
use crate::sip::build::Writer;
use crate::sip::header::{Method, Name};
use crate::sip::peer::{ListenerId, Peer, Transport};
use crate::sip::session;
use crate::sip::wire::Message;
use crate::time::Now;

/// Headers that travel from the caller's INVITE to the legs' beside the body.
const CARRIED: [Name; 12] = [
    Name::UserToUser,
    Name::AlertInfo,
    Name::CallInfo,
    Name::Subject,
    Name::Priority,
    Name::AcceptLanguage,
    Name::Geolocation,
    Name::GeolocationRouting,
    Name::GeolocationError,
    Name::SessionId,
    Name::Reason,
    Name::Accept,
];

/// A Request-URI of ours.
type Target = SmallVec<[u8; 64]>;

impl Exchange {
    /// Sends the leg's INVITE.
    pub(super) fn invite(&mut self, now: Now, key: SlotKey, id: LegId, out: &mut Effects) {
        if self.try_invite(now, key, id, None, out).is_none() {
            self.pending.push_back((key, Event::Leg(id, LegEvent::NoCircuit)));
        }
    }

    /// The same INVITE once more with a longer session interval, after a 422 (RFC 4028 §7.4).
    pub(super) fn invite_again(
        &mut self,
        now: Now,
        key: SlotKey,
        id: LegId,
        min_se: u32,
        out: &mut Effects,
    ) -> bool {
        self.try_invite(now, key, id, Some(min_se), out).is_some()
    }

    fn try_invite(
        &mut self,
        now: Now,
        key: SlotKey,
        id: LegId,
        again: Option<u32>,
        out: &mut Effects,
    ) -> Option<()> {
        let slot = self.slots.get_mut(key)?;
        let call = slot.call.as_deref()?;
        let leg = call.leg(id)?;
        let Some(peer) = self.settings.peer_of(leg) else {
            // Nobody can be sent to there; the leg's place is taken all the same: ids count on.
            if slot.legs.len() < id.index() {
                slot.legs.push(CalledSide::never_called(slot.caller.peer));
            }
            return None;
        };
        let held_before = slot.legs.get(id.index() - 1).map(|side| (side.call_id, side.side.invite_seq));
        let first = held_before.is_none();
        if first
            && let Some(trunk) = leg.trunk()
            && !self.desk.take_trunk(trunk, now.mono)
        {
            // The leg's place is taken all the same: ids count on.
            slot.legs.push(CalledSide::never_called(peer));
            return None;
        }
        let reserved = self.transactions.reserve(Owner::Leg(key, id));
        let (call_id, cseq) =
            held_before.map_or_else(|| (self.names.call_id(), 1), |(id, seq)| (id, seq + 1));
        let Ok((transaction, branch)) = reserved else {
            if first {
                slot.legs.push(CalledSide::never_called(peer));
            }
            return None;
        };
        let host = self.settings.host_of(&*self.desk, peer);
        let invite = Message::parse(&slot.invite).ok()?;
        self.scratch.clear();
        let draft =
            Draft { leg, invite: &invite, call, host: &host, peer, call_id: &call_id, cseq, min_se: again };
        let range = draft.write(&mut self.scratch, &names::tag(key, id, 0), branch.as_ref());
        self.transactions.send(
            now.mono,
            transaction,
            Method::Invite,
            &self.scratch[range],
            peer,
            &mut out.out,
        );
        slot.story.say(now.mono, Way::Out, id, What::Request(Method::Invite));
        slot.pins += 1;
        match slot.legs.get_mut(id.index() - 1) {
            Some(side) => {
                side.transaction = Some(transaction);
                side.side.invite_seq = cseq;
                side.min_se = again;
            }
            None => {
                self.legs += 1;
                slot.legs.push(CalledSide {
                    side: Side::new(cseq),
                    transaction: Some(transaction),
                    call_id,
                    peer,
                    forks: SmallVec::new(),
                    stray_acks: SmallVec::new(),
                    min_se: None,
                });
            }
        }
        Some(())
    }
}

/// An INVITE that is being written.
struct Draft<'a> {
    leg: &'a Leg,
    /// The caller's.
    invite: &'a Message<'a>,
    call: &'a crate::call::Call,
    host: &'a [u8],
    peer: Peer,
    call_id: &'a CallIdText,
    cseq: u32,
    min_se: Option<u32>,
}

impl Draft<'_> {
    fn write(&self, out: &mut Vec<u8>, tag: &[u8], branch: &[u8]) -> std::ops::Range<usize> {
        let target = request_uri(self.leg);
        let plan = &self.call.plan;
        let presentation = Presentation::of(self.leg, plan, &self.call.arrival.caller, self.host);
        let mut w = Writer::request(out, Method::Invite.token(), &target);
        w.via(self.peer.transport, self.host, branch);
        let hops = self.invite.max_forwards().ok().flatten().unwrap_or(70);
        w.number(Name::MaxForwards, u64::from(hops.saturating_sub(1)));
        self.write_breadth(&mut w);
        presentation.write_from(&mut w, tag);
        w.header_parts(Name::To, &[b"<", &target, b">"]);
        w.header(Name::CallId, self.call_id);
        w.cseq(self.cseq, Method::Invite.token());
        super::write_contact(&mut w, self.peer.transport, self.host);
        w.header(Name::Allow, ALLOW);
        // A reliable offer would want its answer in PRACK, and the caller has none yet (R4).
        let delayed = self.call.arrival.offer.is_none();
        w.header(Name::Supported, if delayed { b"timer" } else { SUPPORTED });
        let min_se = self.min_se.unwrap_or(session::MIN_SE);
        w.number(Name::SessionExpires, u64::from(session::SESSION_EXPIRES.max(min_se)));
        w.number(Name::MinSe, u64::from(min_se));
        presentation.write_identity(&mut w, &target, self.invite);
        for name in CARRIED {
            w.copy(self.invite, name);
        }
        if let Some(trunk) = self.leg.trunk() {
            self.write_carried(&mut w, trunk);
        }
        if self.leg.trunk().is_none_or(|trunk| trunk.x_cid) {
            w.header(Name::XCid, self.invite.call_id());
        }
        match &self.call.arrival.offer {
            Some(offer) => w.body(offer.header_lines(), offer.bytes()),
            None => w.end(),
        }
    }

    /// The headers that the trunk's `carry` names.
    fn write_carried(&self, w: &mut Writer<'_>, trunk: &Trunk) {
        for name in &trunk.carry {
            for value in self.invite.all_named(name) {
                w.header(&**name, value);
            }
        }
    }

    /// Max-Breadth is split between the legs of a step (RFC 5393 §5.3).
    fn write_breadth(&self, w: &mut Writer<'_>) {
        let Some(breadth) = self.invite.number(Name::MaxBreadth) else { return };
        let targets =
            self.call.plan.steps.get(usize::from(self.leg.target.step)).map_or(1, |step| step.targets.len());
        let share = breadth / u32::try_from(targets.max(1)).unwrap_or(u32::MAX);
        w.number(Name::MaxBreadth, u64::from(share.max(1)));
    }
}

/// The Request-URI: the agent's contact as it stands, or the number at the gateway.
fn request_uri(leg: &Leg) -> Target {
    match &leg.to {
        Destination::Contact(agent) => agent
            .contact
            .as_ref()
            .map(|contact| Target::from_slice(contact.uri.as_bytes()))
            .unwrap_or_default(),
        Destination::Gateway { number, trunk, gateway } => {
            let mut target = Target::from_slice(b"sip:");
            target.extend_from_slice(trunk.write_number(*number).as_bytes());
            if let Some(gateway) = trunk.gateways.get(usize::from(*gateway)) {
                target.push(b'@');
                target.extend_from_slice(without_user(gateway.uri.as_bytes()));
            }
            target
        }
    }
}

/// A gateway's URI from its host on.
fn without_user(uri: &[u8]) -> &[u8] {
    let host = memchr::memchr(b'@', uri).or_else(|| memchr::memchr(b':', uri));
    host.map_or(uri, |at| &uri[at + 1..])
}

impl Settings {
    /// The far side of a leg, and the listener that we send from; `None` where no listener fits or the host
    /// is no address.
    fn peer_of(&self, leg: &Leg) -> Option<Peer> {
        let (addr, transport) = match &leg.to {
            Destination::Contact(agent) => {
                agent.contact.as_ref().map(|contact| (contact.addr, contact.transport))?
            }
            Destination::Gateway { trunk, gateway, .. } => {
                trunk.gateways.get(usize::from(*gateway)).map(|gateway| (gateway.addr, gateway.transport))?
            }
        };
        self.peer_at(addr?, transport)
    }

    /// The first listener of that transport and address family.
    pub(super) fn peer_at(&self, addr: SocketAddr, transport: Transport) -> Option<Peer> {
        let at = self.listeners.iter().position(|listener| {
            listener.transport == transport && listener.addr.is_ipv4() == addr.is_ipv4()
        })?;
        Some(Peer { transport, addr, listener: ListenerId(u8::try_from(at).ok()?), flow: None })
    }
}
