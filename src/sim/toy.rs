//! A core that only passes datagrams on between the caller and the first phone. It proves the ends and the
//! wire before, and beside, the real one.

use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::Value;

use super::core::{Census, Core, Maker};
use super::layout;
use super::manner::{CallerHabit, Habit};
use super::run::for_each_seed;
use super::world::{World, minutes};
use crate::engine::exchange::{Effects, Input};
use crate::sip::peer::{ListenerId, Peer, Transport};
use crate::time::{Instant, Now};

struct Relay;

impl Core for Relay {
    fn handle(&mut self, _now: Now, input: Input<'_>, out: &mut Effects) {
        let Input::Received { from, bytes, .. } = input else { return };
        let to: SocketAddr = match from.addr.ip() == layout::CARRIER.ip() {
            true => layout::agent_addr(0),
            false => layout::CARRIER,
        };
        out.out.send(Peer::at(to, Transport::Udp, ListenerId(0)), bytes);
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn census(&self) -> Census {
        Census::default()
    }

    fn held(&self) -> Vec<String> {
        Vec::new()
    }

    fn records(&mut self, _effects: &mut Effects) -> Vec<Value> {
        Vec::new()
    }

    fn publish(&mut self, _now: Now, _generation: u64, _routing: &str, _out: &mut Effects) {}
}

struct Relays;

impl Maker for Relays {
    fn cores(&self, shards: usize, _seed: u64, _routing: &str) -> Vec<Box<dyn Core>> {
        (0..shards).map(|_| Box::new(Relay) as Box<dyn Core>).collect()
    }

    fn owner(&self, _call_id: &[u8], _shards: usize, _seed: u64) -> usize {
        0
    }
}

fn relays() -> Rc<dyn Maker> {
    Rc::new(Relays)
}

#[test]
fn two_ends_come_to_rest_over_any_wire() {
    let habits: Vec<Habit> = Habit::ALL
        .into_iter()
        .filter(|habit| !matches!(habit, Habit::Unreachable | Habit::DiesMidCall | Habit::Redirects))
        .collect();
    let callers: Vec<CallerHabit> =
        CallerHabit::ALL.into_iter().filter(|habit| *habit != CallerHabit::Vanishes).collect();
    let seconds = for_each_seed(&relays(), 0..100, |world: &mut World| {
        world.check_nothing();
        world.draw_faults();
        world.phones(1..2, &habits);
        world.callers_of(1..30, &callers);
        world.run(minutes(5));
        world.heal();
        world.run_until_quiet(minutes(80));
        world.must_be_empty();
    });
    assert!(seconds >= 0.0);
}
