//! Where nobody took a connection for a request that is too long for a datagram (RFC 3261 §18.1.1): the next one does
//! not wait for one there. The same for all shards.

use std::net::SocketAddr;
use std::time::Duration;

use dashmap::DashMap;

use crate::time::Instant;

/// How long that holds: of many calls one waits, and a far end that takes connections again has them soon.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// How many addresses are remembered. Those of gateways alone come here: who has more waits with each of the rest.
const MOST: usize = 1024;

/// The addresses where nobody took a connection, and until when that holds.
#[derive(Debug, Default)]
pub struct Streamless(DashMap<SocketAddr, Instant>);

impl Streamless {
    /// Nobody took a connection there.
    pub fn found(&self, addr: SocketAddr, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < MOST || self.0.contains_key(&addr) {
            self.0.insert(addr, now + REMEMBERED);
        }
    }

    /// Whether it is no use to try.
    pub fn knows(&self, addr: SocketAddr, now: Instant) -> bool {
        self.0.get(&addr).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    #[test]
    fn r13_an_address_that_takes_no_connection_is_tried_again_after_five_minutes() {
        let streamless = Streamless::default();
        streamless.found(address(5060), at(10));
        assert!(streamless.knows(address(5060), at(10)) && !streamless.knows(address(5061), at(10)));
        assert!(streamless.knows(address(5060), at(309)) && !streamless.knows(address(5060), at(310)));
        streamless.found(address(5060), at(400));
        assert!(streamless.knows(address(5060), at(699)));
    }

    #[test]
    fn r13_so_many_addresses_are_remembered_and_no_more() {
        let streamless = Streamless::default();
        let full = u16::try_from(MOST).unwrap();
        (0..=full).for_each(|number| streamless.found(address(number), at(0)));
        assert!(streamless.knows(address(full - 1), at(1)) && !streamless.knows(address(full), at(1)));
        streamless.found(address(0), at(299));
        streamless.found(address(full), at(300));
        assert!(streamless.knows(address(full), at(301)), "those that are forgotten make room");
        assert_eq!(streamless.0.len(), 2);
    }
}
