//! What a shard counts: plain adds while it works, handed to the metrics once a turn.

use metrics::{Counter, Gauge, counter, gauge};

use crate::sip::peer::Transport;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    In,
    Out,
}

/// Every queue of the edge, by the name of its metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Parcels between shards.
    Inbox,
    /// Datagrams that the kernel does not take yet.
    UdpSend,
    /// Messages from a shard's streams to its loop.
    Streams,
    /// Bytes that the kernel does not take yet for the far ends of streams.
    StreamSend,
}

impl Queue {
    const ALL: [Queue; 4] = [Queue::Inbox, Queue::UdpSend, Queue::Streams, Queue::StreamSend];

    const fn label(self) -> &'static str {
        match self {
            Queue::Inbox => "inbox",
            Queue::UdpSend => "udp_send",
            Queue::Streams => "streams",
            Queue::StreamSend => "stream_send",
        }
    }
}

/// The kinds of `sip_messages_total`: methods by name, responses by class.
const KINDS: [&str; 20] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "6xx",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "other",
];

const OTHER: usize = KINDS.len() - 1;

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// One shard's counts of this turn, and the handles that they go to.
pub struct Tally {
    messages: Vec<u64>,
    /// Made at the first message of its kind, then kept.
    handles: Vec<Option<Counter>>,
    touched: Vec<usize>,
    dropped: Counter,
    shed: Counter,
    full: [Counter; 4],
    depth: [Gauge; 4],
    depths: [usize; 4],
}

impl Tally {
    pub fn new() -> Tally {
        let cells = 2 * TRANSPORTS.len() * KINDS.len();
        Tally {
            messages: vec![0; cells],
            handles: vec![None; cells],
            touched: Vec::with_capacity(cells),
            dropped: counter!("strowger_udp_dropped_total"),
            shed: counter!("strowger_rejected_total", "reason" => "shed"),
            full: Queue::ALL.map(|queue| counter!("strowger_queue_full_total", "queue" => queue.label())),
            depth: Queue::ALL.map(|queue| gauge!("strowger_queue_depth", "queue" => queue.label())),
            depths: [0; 4],
        }
    }

    /// Counts a message.
    pub fn message(&mut self, dir: Dir, transport: Transport, bytes: &[u8]) {
        let way = match dir {
            Dir::In => 0,
            Dir::Out => 1,
        };
        let over = match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Ws => 3,
            Transport::Wss => 4,
        };
        let cell = (way * TRANSPORTS.len() + over) * KINDS.len() + kind(bytes);
        if self.messages[cell] == 0 {
            self.touched.push(cell);
        }
        self.messages[cell] += 1;
    }

    /// Counts datagrams that the kernel dropped.
    pub fn dropped(&self, datagrams: u64) {
        self.dropped.increment(datagrams);
    }

    /// Counts new calls that were dropped unread.
    pub fn shed(&self, calls: u64) {
        self.shed.increment(calls);
    }

    /// Counts what a full queue turned away.
    pub fn full(&self, queue: Queue, times: u64) {
        if times > 0 {
            self.full[queue as usize].increment(times);
        }
    }

    /// Notes how much waits in a queue of this shard. The gauge sums the shards.
    pub fn depth(&mut self, queue: Queue, depth: usize) {
        let known = &mut self.depths[queue as usize];
        if *known < depth {
            self.depth[queue as usize]
                .increment(f64::from(u32::try_from(depth - *known).unwrap_or(u32::MAX)));
        } else if *known > depth {
            self.depth[queue as usize]
                .decrement(f64::from(u32::try_from(*known - depth).unwrap_or(u32::MAX)));
        }
        *known = depth;
    }

    /// Hands the turn's messages to the metrics.
    pub fn publish(&mut self) {
        for cell in self.touched.drain(..) {
            let count = std::mem::take(&mut self.messages[cell]);
            self.handles[cell].get_or_insert_with(|| handle(cell)).increment(count);
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Tally::new()
    }
}

fn handle(cell: usize) -> Counter {
    let (rest, kind) = (cell / KINDS.len(), cell % KINDS.len());
    let dir = if rest / TRANSPORTS.len() == 0 { "in" } else { "out" };
    let transport = TRANSPORTS[rest % TRANSPORTS.len()].uri_token();
    counter!("strowger_sip_messages_total", "dir" => dir, "kind" => KINDS[kind], "transport" => transport)
}

/// The place in `KINDS`, by the first bytes alone.
fn kind(bytes: &[u8]) -> usize {
    let bytes = if bytes.starts_with(b"\r\n") { bytes.trim_ascii_start() } else { bytes };
    if let Some(status) = bytes.strip_prefix(b"SIP/2.0 ") {
        let class = status.first().map_or(u8::MAX, |digit| digit.wrapping_sub(b'1'));
        return if class < 6 { usize::from(class) } else { OTHER };
    }
    match bytes.split(|byte| *byte == b' ').next() {
        Some(b"INVITE") => 6,
        Some(b"ACK") => 7,
        Some(b"BYE") => 8,
        Some(b"CANCEL") => 9,
        Some(b"OPTIONS") => 10,
        Some(b"REGISTER") => 11,
        Some(b"PRACK") => 12,
        Some(b"UPDATE") => 13,
        Some(b"INFO") => 14,
        Some(b"REFER") => 15,
        Some(b"NOTIFY") => 16,
        Some(b"SUBSCRIBE") => 17,
        Some(b"MESSAGE") => 18,
        Some(_) | None => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_the_first_bytes() {
        for (line, name) in [
            ("INVITE sip:a@b SIP/2.0\r\n", "INVITE"),
            ("SIP/2.0 180 Ringing\r\n", "1xx"),
            ("SIP/2.0 603 Decline\r\n", "6xx"),
            ("SIP/2.0 999 Odd\r\n", "other"),
            ("\r\n\r\nBYE sip:a@b SIP/2.0\r\n", "BYE"),
            ("invite sip:a@b SIP/2.0\r\n", "other"),
            ("MESSAGE sip:a@b SIP/2.0\r\n", "MESSAGE"),
            ("", "other"),
            ("SIP/2.0 ", "other"),
        ] {
            assert_eq!(KINDS[kind(line.as_bytes())], name, "{line:?}");
        }
    }
}
