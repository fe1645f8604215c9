//! Both sides of many calls speak at once, 20 ms of PCMU a packet, and look at what of it arrives, where and when.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::batch::{BATCH, Outbox, local, socket};

/// One packet a frame.
pub const FRAME: Duration = Duration::from_millis(20);

/// How often it is looked what is due, and what has come. Packets of so long go out at once.
const TURN: Duration = Duration::from_micros(250);

/// So many go out under one time stamp.
const STAMPED: usize = 16;

/// What is still on its way when the last packet has gone out.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// Two packets of a call that are further apart than this are heard as a gap.
const GAP: u64 = 60_000_000;

/// Longer than what anybody waits for a word.
const SLOWEST: u64 = 60_000_000;

/// An RTP header, and 160 bytes of which the first say what this is.
const HEADER: usize = 12;
const PAYLOAD: usize = 160;
const MARK: &[u8; 4] = b"BELL";

/// A packet is read into this much.
const ROOM: usize = 256;

/// The two parties of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Caller,
    Far,
}

/// Where each party of one call is to send.
#[derive(Clone, Copy)]
pub struct Way {
    pub caller: u16,
    pub far: u16,
}

/// What came of it.
pub struct Heard {
    pub sent: u64,
    pub received: u64,
    /// Came to another call, or to the side that had said it.
    pub crossed: u64,
    pub gaps: u64,
    /// From sent to delivered, in nanoseconds.
    pub delay: Histogram<u64>,
}

/// Two sockets: all callers speak and hear at one, all called parties at the other.
pub struct Talk {
    caller: UdpSocket,
    far: UdpSocket,
    ears: Ears,
    /// Frames said so far: numbers and time stamps go on from one run to the next.
    frames: u32,
    /// When each call's parties last heard something.
    last: Vec<[u64; 2]>,
}

impl Talk {
    pub fn new() -> io::Result<Talk> {
        let [caller, far] = [socket(0)?, socket(0)?];
        for socket in [&caller, &far] {
            setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        }
        Ok(Talk { caller, far, ears: Ears::new(), frames: 0, last: Vec::new() })
    }

    pub fn port(&self, party: Party) -> io::Result<u16> {
        Ok(self.socket(party).local_addr()?.port())
    }

    pub fn socket(&self, party: Party) -> &UdpSocket {
        match party {
            Party::Caller => &self.caller,
            Party::Far => &self.far,
        }
    }

    /// All of them speak for so long.
    pub fn run(&mut self, ways: &[Way], time: Duration) -> io::Result<Heard> {
        let calls = ways.len() as u64;
        let mut heard = Heard {
            sent: 0,
            received: 0,
            crossed: 0,
            gaps: 0,
            delay: Histogram::new_with_max(SLOWEST * 1_000, 3).map_err(io::Error::other)?,
        };
        // A gap between two runs is ours.
        self.last = vec![[0; 2]; ways.len()];
        let begun = Instant::now();
        let frames = (time.as_nanos() / FRAME.as_nanos()) as u64;
        // Calls are spread over the frame.
        let due = |turn: u64| FRAME.mul_f64(turn as f64 / calls as f64);
        let mut outboxes = [Outbox::new(), Outbox::new()];
        let mut turn = 0;
        let mut ends = None;
        loop {
            while turn < frames * calls && due(turn) <= begun.elapsed() {
                let stamp = nanos();
                let mut said = 0;
                while said < STAMPED && turn < frames * calls && due(turn) <= begun.elapsed() {
                    let call = (turn % calls) as u32;
                    let frame = self.frames + (turn / calls) as u32;
                    let Way { caller, far } = ways[call as usize];
                    for (outbox, party, to) in
                        outboxes.iter_mut().zip([Party::Caller, Party::Far]).zip([caller, far]).map(flat)
                    {
                        write(&mut outbox.wire, call, party, frame, stamp);
                        outbox.post(SockaddrIn::from(local(to)));
                    }
                    (turn, said) = (turn + 1, said + 1);
                    heard.sent += 2;
                }
                outboxes[0].flush(&self.caller)?;
                outboxes[1].flush(&self.far)?;
            }
            while self.hear(Party::Caller, &mut heard)? + self.hear(Party::Far, &mut heard)? > 0 {}
            if turn == frames * calls && *ends.get_or_insert_with(Instant::now) + STRAGGLERS < Instant::now()
            {
                break;
            }
            thread::sleep(TURN);
        }
        self.frames += frames as u32;
        Ok(heard)
    }

    /// Takes what waits for a party, at most a batch; says how much that was.
    fn hear(&mut self, party: Party, heard: &mut Heard) -> io::Result<usize> {
        let socket = match party {
            Party::Caller => &self.caller,
            Party::Far => &self.far,
        };
        let count = self.ears.receive(socket)?;
        for (packet, at) in self.ears.packets() {
            // What is said by the server is no packet of ours.
            let Some(word) = Word::read(packet) else { continue };
            let Some(last) = self.last.get_mut(word.call as usize).filter(|_| word.party != party) else {
                heard.crossed += 1;
                continue;
            };
            heard.received += 1;
            let last = &mut last[usize::from(party == Party::Far)];
            heard.gaps += u64::from(*last > 0 && at.saturating_sub(*last) > GAP);
            *last = at;
            heard.delay.record(at.saturating_sub(word.stamp)).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

fn flat<A, B, C>(((a, b), c): ((A, B), C)) -> (A, B, C) {
    (a, b, c)
}

/// Nanoseconds by the clock that the kernel stamps datagrams with.
fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The SSRC of a party of a call.
pub fn ssrc(call: u32, party: Party) -> u32 {
    call << 1 | u32::from(party == Party::Far)
}

/// An RTP header (RFC 3550 §5.1).
pub fn header(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    (header[0], header[1]) = (0x80, payload_type);
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..].copy_from_slice(&ssrc.to_be_bytes());
    header
}

fn write(wire: &mut Vec<u8>, call: u32, party: Party, frame: u32, stamp: u64) {
    let begins = wire.len();
    wire.extend_from_slice(&header(0, frame as u16, frame.wrapping_mul(160), ssrc(call, party)));
    wire.extend_from_slice(MARK);
    wire.extend_from_slice(&call.to_be_bytes());
    wire.push(u8::from(party == Party::Far));
    wire.extend_from_slice(&stamp.to_be_bytes());
    wire.resize(begins + HEADER + PAYLOAD, 0xff);
}

/// Which packet of ours it is.
struct Word {
    call: u32,
    party: Party,
    stamp: u64,
}

impl Word {
    fn read(packet: &[u8]) -> Option<Word> {
        let rest = packet.get(HEADER..)?.strip_prefix(MARK)?;
        let (call, rest) = rest.split_first_chunk()?;
        let (party, rest) = rest.split_first()?;
        let (stamp, _) = rest.split_first_chunk()?;
        let party = if *party == 0 { Party::Caller } else { Party::Far };
        Some(Word { call: u32::from_be_bytes(*call), party, stamp: u64::from_be_bytes(*stamp) })
    }
}

/// Room for one batch received, each with the time at which the kernel had it.
struct Ears {
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    got: Vec<(usize, u64)>,
}

impl Ears {
    fn new() -> Ears {
        let control = nix::cmsg_space!(TimeSpec);
        Ears {
            headers: MultiHeaders::preallocate(BATCH, Some(control)),
            bytes: vec![0; BATCH * ROOM],
            got: Vec::with_capacity(BATCH),
        }
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.got.clear();
        let mut rooms = self.bytes.chunks_mut(ROOM);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)
        {
            Ok(messages) => {
                for message in messages {
                    let stamped = message.cmsgs()?.find_map(|control| {
                        if let ControlMessageOwned::ScmTimestampns(at) = control { Some(at) } else { None }
                    });
                    let at =
                        stamped.map_or(0, |at| (at.tv_sec() * 1_000_000_000 + at.tv_nsec()).cast_unsigned());
                    self.got.push((message.bytes, at));
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ECONNREFUSED) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.got.len())
    }

    fn packets(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.bytes.chunks(ROOM).zip(&self.got).map(|(room, (length, at))| (&room[..*length], *at))
    }
}
