//! The way to a collector: its name is looked up in the background, packets leave by one socket of the capture's own
//! thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};

use super::Hop;
use super::hep::Packet;

/// How long the first failed look-up is waited out; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and how often a name that was found is looked up again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a packet may wait for room in the socket; meanwhile the capture's queue takes what comes.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where the collector is, once that is known.
#[derive(Clone, Default)]
pub(super) struct Whereabouts(Arc<Mutex<Option<SocketAddr>>>);

impl Whereabouts {
    fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, addr: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }

    /// Looks the name up as long as the node runs. The last address found stays good while others cannot be.
    pub async fn look_up(self, host: Box<str>, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.set(SocketAddr::new(ip, port));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let found = tokio::net::lookup_host((&*host, port)).await;
            match found.map(|mut all| all.next()) {
                Ok(Some(addr)) => {
                    self.set(addr);
                    pause = FIRST_PAUSE;
                    tokio::time::sleep(LONGEST_PAUSE).await;
                    continue;
                }
                Ok(None) => tracing::warn!(host = &*host, "[capture] hep has no address"),
                Err(error) => {
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
    packet: Vec<u8>,
    lost: Counter,
    /// The collector takes none: said once, until it does again.
    refuses: bool,
}

impl Collector {
    pub fn new(at: Whereabouts, node: Box<str>) -> Collector {
        let lost = counter!("strowger_capture_lost_total");
        Collector { at, agent: agent(&node), node, socket: None, packet: Vec::new(), lost, refuses: false }
    }

    /// Looks whether the collector is elsewhere by now.
    pub fn follow(&mut self) {
        let Some(addr) = self.at.get() else { return };
        if self.socket.as_ref().is_some_and(|(to, _)| *to == addr) {
            return;
        }
        match open(addr) {
            Ok(socket) => self.socket = Some((addr, socket)),
            Err(error) if !self.refuses => {
                self.refuses = true;
                tracing::warn!(%error, "nothing can be sent to [capture] hep");
            }
            Err(_) => {}
        }
    }

    /// Sends one message. What the socket does not take is counted.
    pub fn send(&mut self, hop: Hop, correlation: &[u8], payload: &[u8]) {
        let Some((_, socket)) = &self.socket else { return self.lost.increment(1) };
        self.packet.clear();
        Packet { hop, agent: self.agent, node: &self.node, correlation, payload }.write(&mut self.packet);
        match socket.send(&self.packet) {
            Ok(_) => self.refuses = false,
            Err(error) => {
                // It may be told of the packet before this one; whichever it was, one is lost.
                self.lost.increment(1);
                if !std::mem::replace(&mut self.refuses, true) {
                    tracing::warn!(%error, "[capture] hep does not take what is sent to it");
                }
            }
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
