//! The node's lines, as a call sees them: who may be rung, where, and how many at once.

use smallvec::SmallVec;

use super::Desk;
use super::binding::Known;
use super::names::Namer;
use crate::call::Lines;
use crate::call::leg::{Destination, Exit, Exits};
use crate::engine::hosts::Target;
use crate::routing::{Agent, Phones, Reached, Trunk};
use crate::time::Instant;

/// How many addresses of a trunk one call tries: as many as it may have legs, by far.
const MOST_EXITS: usize = 64;

/// The node's lines, as a call sees them. Each leg that lives holds one, so that they are counted here.
pub(super) struct Switchboard<'a> {
    pub desk: &'a dyn Desk,
    pub keeps_messages: bool,
    pub called: &'a mut usize,
    pub names: &'a mut Namer,
    pub now: Instant,
}

impl Phones for Switchboard<'_> {
    fn of(&self, agent: &Agent) -> Reached {
        Known { directory: self.desk.directory(), hosts: self.desk.hosts(), now: self.now }.of(agent)
    }
}

impl Lines for Switchboard<'_> {
    fn take(&mut self, to: &Destination, now: Instant) -> bool {
        let taken = match to {
            Destination::Phone { agent, .. } => self.desk.take_agent(agent),
            Destination::Gateway { trunk, .. } => self.desk.take_trunk(trunk, now),
            Destination::Inside(_) => true,
        };
        *self.called += usize::from(taken);
        taken
    }

    fn keeps_messages(&self) -> bool {
        self.keeps_messages
    }

    fn seat(&mut self, to: &Destination) {
        match to {
            Destination::Phone { agent, .. } => self.desk.seat_agent(agent),
            Destination::Gateway { trunk, .. } => self.desk.seat_trunk(trunk),
            Destination::Inside(_) => {}
        }
        *self.called += 1;
    }

    fn free(&mut self, to: &Destination) {
        match to {
            Destination::Phone { agent, .. } => self.desk.free_agent(agent),
            Destination::Gateway { trunk, .. } => self.desk.free_trunk(trunk),
            Destination::Inside(_) => {}
        }
        *self.called -= 1;
    }

    fn exits(&mut self, trunk: &Trunk) -> Exits {
        exits_of(self.desk, self.names, trunk, self.now)
    }

    fn share(&mut self) {
        *self.called += 1;
    }

    fn unshare(&mut self) {
        *self.called -= 1;
    }
}

/// Where a trunk may be left, in the order in which it is tried now (R14).
pub(super) fn exits_of(desk: &dyn Desk, names: &mut Namer, trunk: &Trunk, now: Instant) -> Exits {
    let known = desk.trunks().of(&trunk.name);
    let down = |at| known.as_ref().is_some_and(|known| known.is_down(trunk, at));
    let turn = trunk.in_turn(down, || names.draw());
    let mut exits: SmallVec<[Exit; 4]> = SmallVec::new();
    for at in turn {
        let Some(gateway) = trunk.gateways.get(usize::from(at)) else { continue };
        let is_down = down(usize::from(at));
        let found = gateway.host.as_ref().map(|host| desk.hosts().in_order(host, now, || names.draw()));
        let found = found.filter(|found| !found.is_empty());
        match found {
            Some(found) => exits.extend(found.into_iter().map(|Target { addr, transport, .. }| Exit {
                gateway: at,
                addr: Some(addr),
                transport,
                is_down,
            })),
            None => {
                exits.push(Exit { gateway: at, addr: gateway.addr, transport: gateway.transport, is_down });
            }
        }
    }
    exits.truncate(MOST_EXITS);
    Exits::new(exits)
}
