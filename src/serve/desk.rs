//! The shards' desk with the store behind it: a call's record has its slot there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::engine::desk::SharedDesk;
use crate::engine::exchange::Desk;
use crate::engine::exchange::binding::Directory;
use crate::engine::help::Help;
use crate::engine::hosts::Hosts;
use crate::engine::trunks::Trunks;
use crate::number::E164;
use crate::routing::{Agent, Trunk};
use crate::sip::peer::ListenerId;
use crate::store::Recorder;
use crate::time::Instant;

/// Counts of the node, and the slots of the store.
pub(super) struct StoredDesk {
    pub shared: Arc<SharedDesk>,
    pub recorder: Recorder,
}

impl Desk for StoredDesk {
    fn reserve_record(&self) -> bool {
        self.recorder.reserve()
    }

    fn reserve_record_beyond(&self) {
        self.recorder.reserve_beyond();
    }

    fn release_record(&self) {
        self.recorder.release();
    }

    fn local_address(&self, listener: ListenerId, towards: IpAddr) -> SocketAddr {
        self.shared.local_address(listener, towards)
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        self.shared.is_local(ip)
    }

    fn take_agent(&self, agent: &Agent) -> bool {
        Desk::take_agent(&*self.shared, agent)
    }

    fn free_agent(&self, agent: &Agent) {
        Desk::free_agent(&*self.shared, agent);
    }

    fn seat_agent(&self, agent: &Agent) {
        Desk::seat_agent(&*self.shared, agent);
    }

    fn take_trunk(&self, trunk: &Trunk, now: Instant) -> bool {
        Desk::take_trunk(&*self.shared, trunk, now)
    }

    fn seat_trunk(&self, trunk: &Trunk) {
        Desk::seat_trunk(&*self.shared, trunk);
    }

    fn free_trunk(&self, trunk: &Trunk) {
        Desk::free_trunk(&*self.shared, trunk);
    }

    fn ringing_began(&self, caller: E164, did: E164) -> (u32, u32) {
        self.shared.ringing_began(caller, did)
    }

    fn ringing_ended(&self, caller: E164, did: E164) {
        self.shared.ringing_ended(caller, did);
    }

    fn help(&self) -> &Help {
        Desk::help(&*self.shared)
    }

    fn hosts(&self) -> &Hosts {
        &self.shared.hosts
    }

    fn directory(&self) -> &dyn Directory {
        &self.shared.registrations
    }

    fn trunks(&self) -> &Trunks {
        &self.shared.states
    }
}
