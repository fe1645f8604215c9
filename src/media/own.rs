//! Which ports of audio are ours just now, whichever thread has them.
//!
//! Whoever describes a call may name a port of ours as its own. What we send there comes back as if a side had spoken, and
//! is sent there again: behind a NAT anybody may be the side, and two such would speak to each other for ever.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

/// The ports that audio is sent from: a bit for each.
#[derive(Debug)]
pub struct Own(Box<[AtomicU64]>);

impl Default for Own {
    fn default() -> Own {
        Own((0..1 << 10).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Own {
    pub fn add(&self, port: u16) {
        self.bits(port).fetch_or(bit(port), Ordering::Relaxed);
    }

    pub fn remove(&self, port: u16) {
        self.bits(port).fetch_and(!bit(port), Ordering::Relaxed);
    }

    /// Whether what came to that socket was sent by one of ours. A load of a word for what was not.
    pub fn sent(&self, from: SocketAddr, to: &UdpSocket) -> bool {
        self.bits(from.port()).load(Ordering::Relaxed) & bit(from.port()) != 0
            && to.local_addr().is_ok_and(|here| match here.ip() {
                any if any.is_unspecified() => is_local(from.ip()),
                here => here == from.ip(),
            })
    }

    fn bits(&self, port: u16) -> &AtomicU64 {
        &self.0[usize::from(port) / 64]
    }
}

const fn bit(port: u16) -> u64 {
    1 << (port % 64)
}

/// Whether an address is this machine's: nobody else's can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_ours_from_when_it_is_opened_until_it_is_closed_and_at_our_address_alone() {
        let own = Own::default();
        let [here, any] = ["127.0.0.1:0", "0.0.0.0:0"].map(|at| UdpSocket::bind(at).unwrap());
        let ours = SocketAddr::from(([127, 0, 0, 1], 20_002));
        let sent = |from: SocketAddr| [own.sent(from, &here), own.sent(from, &any)];
        assert_eq!(sent(ours), [false; 2]);
        [0, 20_002, u16::MAX].into_iter().for_each(|port| own.add(port));
        assert_eq!(sent(ours), [true; 2]);
        assert_eq!(sent(SocketAddr::new(ours.ip(), 20_003)), [false; 2]);
        assert_eq!(sent(([192, 0, 2, 1], 20_002).into()), [false; 2], "a phone may have the same port");
        own.remove(20_002);
        assert_eq!(sent(ours), [false; 2]);
    }
}
