//! Transactions whose connection is no more, or whose far end is reached by another since.

use super::client::{self, Role};
use super::{Id, Outbox, Transactions, derived, server};
use crate::sip::peer::{Peer, Undelivered};
use crate::time::Instant;

impl<O: Copy> Transactions<O> {
    /// The transport cannot reach a peer, or its connection is dead: all requests that wait for a final response over it
    /// are undeliverable, but for those that nothing has answered yet and whose address is now tried without that
    /// connection, and for INVITEs that have a provisional response; and responses to what came by that connection will
    /// go by a new one, as do, once more, the final ones of INVITEs that nobody has acknowledged (RFC 3261 §18.2.2).
    ///
    /// Looks at 16 bytes for each request without a final response, and for each transaction of a stream.
    pub fn undeliverable(&mut self, now: Instant, to: Peer, why: Undelivered, out: &mut Outbox) {
        for id in self.unanswered.on(&to) {
            let Some(client) = self.clients.get_mut(id).filter(|client| client.role.waits_for(&to)) else {
                continue;
            };
            let Some((peer, request)) = client.role.goes_anew(why) else {
                self.step_client(now, id, client::Happening::Undeliverable(why), out);
                continue;
            };
            out.send(peer, request);
            let place = client.unanswered.take();
            self.strike(place);
            let place = self.unanswered.enter(id, &peer);
            if let Some(client) = self.clients.get_mut(id) {
                client.unanswered = Some(place);
            }
        }
        if to.flow.is_some() {
            for id in self.carried.on(&to) {
                self.set_down(id);
                self.step_server(now, id, server::Happening::SetDown, out);
            }
        }
    }

    /// Who sent a request is reached by `to` from now on: what answers it goes there, and our final response to an INVITE
    /// goes once more where it has no ACK.
    pub fn reply_by(&mut self, now: Instant, id: Id, to: Peer, out: &mut Outbox) {
        self.set_down(id);
        let Some(server) = self.servers.get_mut(id) else { return };
        server.peer = to;
        self.carry(id);
        self.step_server(now, id, server::Happening::SetDown, out);
    }

    /// Whoever has given a provisional response to an INVITE of ours is reached by `to` from now on: its CANCEL goes there,
    /// and where that has gone already once more, with this `reason`.
    pub fn reach_by(&mut self, now: Instant, id: Id, to: Peer, reason: &[u8], out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let cancel = client.role.moves_to(to).map(|request| derived::cancel(request, Some(reason)));
        if client.role.peer() != Some(to) || !client.role.is_pending() {
            return;
        }
        let place = client.unanswered.take();
        self.strike(place);
        let place = self.unanswered.enter(id, &to);
        let Some(client) = self.clients.get_mut(id) else { return };
        client.unanswered = Some(place);
        let before = match &mut client.role {
            Role::Invite { cancel, .. } => cancel.take(),
            Role::Reserved | Role::Other { .. } | Role::Cancel { .. } => None,
        };
        if let Some(before) = before {
            self.end_client(before);
        }
        if let Some(bytes) = cancel {
            self.send_cancel(now, id, &bytes, to, out);
        }
    }

    /// The connection that carried a server transaction is no more.
    pub(super) fn set_down(&mut self, id: Id) {
        let Some(server) = self.servers.get_mut(id) else { return };
        server.peer.flow = None;
        if let Some(place) = server.carried.take()
            && let Some(moved) = self.carried.strike(place)
        {
            self.set_carried(moved, Some(place));
        }
    }

    /// Its connection carries it from now on, where it has one.
    pub(super) fn carry(&mut self, id: Id) {
        if let Some(peer) = self.servers.get(id).map(|server| server.peer).filter(|peer| peer.flow.is_some())
        {
            let place = self.carried.enter(id, &peer);
            self.set_carried(id, Some(place));
        }
    }

    fn set_carried(&mut self, id: Id, place: Option<u32>) {
        if let Some(server) = self.servers.get_mut(id) {
            server.carried = place;
        }
    }
}
