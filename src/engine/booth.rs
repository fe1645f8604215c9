//! The audio of one shard's calls: its share of the ports, and the threads that carry it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::desk::sends_from;
use super::exchange;
use crate::media::plane::{Full, Key, Order, Plane, Writing};
use crate::media::ports::{NoPort, Ports};
use crate::media::reel::{Format, Recorder, Sheet};
use crate::media::rtp::Stream;
use crate::media::session::SideId;
use crate::media::tape::Rate;

/// Somewhere far away: what the kernel sends from to there is what it sends from where nothing nearer is known.
const FAR_AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A shard's booth.
pub struct Booth {
    ports: Ports,
    /// What descriptions name, whatever the ports are bound to.
    advertise: Option<IpAddr>,
    /// Shared with the other shards; a call's sides are all with one.
    planes: Arc<[Plane]>,
    /// Orders that found no room: given again before any other, for a port is only free once its closing was heard.
    waiting: VecDeque<(Key, Order)>,
    recordings: Recorder,
    messages: Recorder,
}

impl Booth {
    /// `recordings` and `messages`: who writes them.
    pub fn new(
        ports: Ports,
        advertise: Option<IpAddr>,
        planes: Arc<[Plane]>,
        recordings: Recorder,
        messages: Recorder,
    ) -> Booth {
        Booth { ports, advertise, planes, waiting: VecDeque::new(), recordings, messages }
    }

    /// What a description names to a side whose signalling is there.
    fn named(&self, towards: Option<IpAddr>) -> IpAddr {
        let addr = self.ports.addr();
        match (self.advertise, towards) {
            (Some(advertise), _) => advertise,
            (None, _) if !addr.is_unspecified() => addr,
            (None, Some(towards)) if addr.is_ipv6() || towards.is_ipv4() => {
                sends_from(towards.to_canonical()).unwrap_or(addr)
            }
            (None, _) => sends_from(FAR_AWAY).unwrap_or(addr),
        }
    }

    fn plane(&self, call: Key) -> Option<&Plane> {
        self.planes.get(call.index as usize % self.planes.len().max(1))
    }

    fn give(&mut self, call: Key, order: Order) -> Option<Order> {
        match self.plane(call)?.order(call, order) {
            Ok(()) => None,
            Err(Full(order)) => Some(*order),
        }
    }

    fn catch_up(&mut self) {
        while let Some((call, order)) = self.waiting.pop_front() {
            if let Some(order) = self.give(call, order) {
                return self.waiting.push_front((call, order));
            }
        }
    }
}

impl exchange::Booth for Booth {
    fn open(
        &mut self,
        call: Key,
        side: SideId,
        stream: Stream,
        towards: Option<IpAddr>,
    ) -> Option<SocketAddr> {
        let named = self.named(towards);
        match self.ports.open(named.is_ipv4()) {
            Ok(pair) => {
                let port = pair.port;
                self.order(call, Order::Open(side, pair, stream));
                Some(SocketAddr::new(named, port))
            }
            Err(why @ (NoPort::Exhausted(_) | NoPort::Refused(_))) => {
                tracing::debug!(%why, "no port");
                None
            }
        }
    }

    fn record(&mut self, call: Key, sheet: Sheet, left: SideId, right: Option<SideId>) {
        let recorder = if right.is_some() { &self.recordings } else { &self.messages }.clone();
        let channels = if right.is_some() { 2 } else { 1 };
        let open = move |rate: Rate| {
            let format = Format { channels, rate };
            // Refusals are counted and told of by who writes.
            recorder.start(Sheet { sample_rate: rate.hz(), channels, ..sheet }, format).ok()
        };
        self.order(call, Order::Record(Writing(Box::new(open)), left, right));
    }

    fn order(&mut self, call: Key, order: Order) {
        self.catch_up();
        let left = if self.waiting.is_empty() { self.give(call, order) } else { Some(order) };
        self.waiting.extend(left.map(|order| (call, order)));
    }

    fn free(&mut self, port: u16) {
        self.ports.free(port);
        self.catch_up();
    }

    fn used(&self) -> usize {
        self.ports.used()
    }

    fn left(&self) -> usize {
        self.ports.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn r04_who_is_bound_to_any_address_names_what_the_kernel_sends_from_to_a_side() {
        let [any, any_of_both] = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        let [one, other] = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let [ours, advertised] = [[127, 0, 0, 9], [203, 0, 113, 5]].map(IpAddr::from);
        let folder = tempfile::tempdir().unwrap();
        let (reels, _events) =
            crate::media::reel::Reels::open(folder.path().to_owned(), Default::default()).unwrap();
        let named = |addr: IpAddr, advertise: Option<IpAddr>, towards: IpAddr| {
            let ports = Ports::new(addr, 20_000..=20_001, 0, 1);
            let recorders = [reels.recorder(), reels.recorder()];
            let [recordings, messages] = recorders;
            Booth::new(ports, advertise, Arc::new([]), recordings, messages).named(Some(towards))
        };
        assert_eq!([one, other].map(|towards| named(any_of_both, None, towards)), [one, other]);
        assert_eq!(named(any, None, one), one);
        assert!(named(any, None, other).is_ipv4(), "it is not heard at any other");
        assert_eq!([one, other].map(|towards| named(ours, None, towards)), [ours; 2]);
        assert_eq!(named(any_of_both, Some(advertised), other), advertised);
    }
}
