//! The way to a collector: its name is looked up in the background, packets leave by one socket of the capture's own
//! thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, counter};

use super::Hop;
use super::hep::Packet;
use crate::sip::shown::Sentence;

/// How long the first failed look-up is waited out; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and how often a name that was found is looked up again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a packet may wait for room in the socket; meanwhile the capture's queue takes what comes.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often the log says that the collector takes nothing.
const SAYS: Duration = Duration::from_secs(60);

/// The most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Where the collector is, once that is known: any of these.
#[derive(Clone, Default)]
pub(super) struct Whereabouts(Arc<Mutex<Vec<SocketAddr>>>);

impl Whereabouts {
    fn get(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks the name up as long as the node runs. What was found last stays good while nothing else is.
    pub async fn look_up(self, host: Box<str>, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.get().push(SocketAddr::new(ip, port));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match tokio::net::lookup_host((&*host, port)).await {
                Ok(found) => {
                    let found: Vec<SocketAddr> = found.take(ADDRESSES).collect();
                    if !found.is_empty() {
                        *self.get() = found;
                        pause = FIRST_PAUSE;
                        tokio::time::sleep(LONGEST_PAUSE).await;
                        continue;
                    }
                    tracing::warn!(host = &*host, "[capture] hep has no address");
                }
                Err(error) => {
                    let error = Sentence(&error);
                    tracing::warn!(host = &*host, %error, "[capture] hep cannot be looked up");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

/// The sending end.
pub(super) struct Collector {
    at: Whereabouts,
    agent: u32,
    node: Box<str>,
    socket: Option<(SocketAddr, UdpSocket)>,
    /// Which of its addresses is tried; the next one when one takes nothing.
    tries: usize,
    packet: Vec<u8>,
    lost: Counter,
    said: Option<Instant>,
}

impl Collector {
    pub fn new(at: Whereabouts, node: Box<str>) -> Collector {
        let lost = counter!("strowger_capture_lost_total");
        let agent = agent(&node);
        Collector { at, agent, node, socket: None, tries: 0, packet: Vec::new(), lost, said: None }
    }

    /// Looks whether the collector is elsewhere by now.
    pub fn follow(&mut self) {
        let addr = {
            let all = self.at.get();
            if self.socket.as_ref().is_some_and(|(addr, _)| all.contains(addr)) {
                return;
            }
            match all.len() {
                0 => return,
                count => all[self.tries % count],
            }
        };
        match open(addr) {
            Ok(socket) => self.socket = Some((addr, socket)),
            Err(error) => self.fails(&error),
        }
    }

    /// Sends one message. What the socket does not take is counted.
    pub fn send(&mut self, hop: Hop, correlation: &[u8], payload: &[u8]) {
        let Some((_, socket)) = &self.socket else { return self.lost.increment(1) };
        self.packet.clear();
        Packet { hop, agent: self.agent, node: &self.node, correlation, payload }.write(&mut self.packet);
        if let Err(error) = socket.send(&self.packet) {
            // It may be told of the packet before this one; whichever it was, one is lost.
            self.lost.increment(1);
            self.fails(&error);
        }
    }

    /// Goes on to the next address, if there is one, unless only the room was lacking.
    fn fails(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.tries = self.tries.wrapping_add(1);
            if self.at.get().len() > 1 {
                self.socket = None;
            }
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAYS) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, "[capture] hep does not take what is sent to it");
        }
    }
}

fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let from: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    Ok(socket)
}

/// The number of this agent among others of a collector: the node's name by FNV-1a, the same after each start.
fn agent(node: &str) -> u32 {
    node.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_the_one_that_takes_packets_is_found() {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (nobody, real) = (socket().local_addr().unwrap(), socket());
        real.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let at = Whereabouts::default();
        *at.get() = vec![nobody, real.local_addr().unwrap()];
        let mut collector = Collector::new(at, "edge-1".into());
        let hop = Hop { at: 0, stream: false, source: nobody, destination: nobody };
        let heard = (0..1000).any(|_| {
            collector.follow();
            collector.send(hop, b"call", b"message");
            real.recv(&mut [0; 1024]).is_ok()
        });
        assert!(heard);
        collector.follow();
        assert_eq!(collector.socket.as_ref().map(|(addr, _)| *addr), Some(real.local_addr().unwrap()));
    }
}
