//! The load program: it plays the carrier and the far end at once, so that one microsecond clock sees an
//! INVITE leave, arrive behind the server, and its 200 come back.
//!
//! Open loop: a call's time counts from the moment it was due, whether or not the program was late with it,
//! so a server that stalls is charged for every call that had to wait (no coordinated omission).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::SockaddrIn;
use nix::sys::time::TimeSpec;

use crate::batch::{BATCH, Inbox, Outbox, local, socket};
use crate::message::{Dialog, NUMBERS, Names, Seen, fine};

/// T1 of RFC 3261: after so long without an answer a message is repeated.
const T1: u64 = 500_000;

/// Repeats of one message, doubling from T1: then 7.5 s have passed.
const REPEATS: u8 = 4;

/// After the last call was due and its patience is over, so long is waited for what is still on its way.
const LINGER: u64 = 2_000_000;

/// Setup times up to a minute, to three digits.
const SLOWEST: u64 = 60_000_000;

/// Coprime to the number of rows: neighbours in time are no neighbours in the table.
const STRIDE: u32 = 7_919;

/// Numbers the runs: a server may still know the Call-IDs and branches of the last.
static RUNS: AtomicU32 = AtomicU32::new(1);

/// The three ports of a measurement.
#[derive(Clone, Copy)]
pub struct Ports {
    pub server: u16,
    pub caller: u16,
    pub far: u16,
}

/// What to offer.
#[derive(Clone, Copy)]
pub struct Offer {
    /// Calls per second.
    pub rate: u32,
    pub calls: u32,
    /// From the 200 to the caller's BYE.
    pub hold: Duration,
    /// A call without a 200 so long after it was due has failed.
    pub patience: Duration,
}

/// What became of it.
pub struct Outcome {
    pub completed: u32,
    /// Without a 200 in time.
    pub late: u32,
    /// Answered with something else than 200.
    pub refused: u32,
    /// Answered, but the BYE was not.
    pub stuck: u32,
    /// Messages that either side sent or received more than once.
    pub repeats: u32,
    /// Microseconds from due to the caller's 200.
    pub setup: Histogram<u64>,
    /// Microseconds from due to the INVITE's arrival at the far end.
    pub passage: Histogram<u64>,
}

impl Outcome {
    pub fn failed(&self) -> u32 {
        self.late + self.refused + self.stuck
    }
}

/// The caller's side of one call.
enum Caller {
    NotYet,
    Calling,
    Talking(Dialog),
    Leaving(Dialog),
    Done,
    Late,
    Refused,
}

/// The far end's side of it.
enum Far {
    NotYet,
    /// The 200, until its ACK.
    Answered(Vec<u8>, SockaddrIn),
    Acknowledged,
}

struct Call {
    due: u64,
    caller: Caller,
    far: Far,
}

/// What is to be done for a call, and when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    RepeatInvite(u8),
    RepeatAnswer(u8),
    HangUp,
    RepeatBye(u8),
    GiveUp,
}

/// Both ends, with their sockets.
pub struct Load {
    ports: Ports,
    caller: UdpSocket,
    far: UdpSocket,
}

impl Load {
    pub fn new(ports: Ports) -> io::Result<Load> {
        Ok(Load { ports, caller: socket(ports.caller)?, far: socket(ports.far)? })
    }

    /// Offers the calls and sees them through.
    pub fn offer(&self, offer: Offer) -> io::Result<Outcome> {
        let mut run = Run {
            ports: self.ports,
            number: RUNS.fetch_add(1, Ordering::Relaxed),
            offer,
            begun: Instant::now(),
            calls: Vec::with_capacity(offer.calls as usize),
            by_row: vec![0; NUMBERS as usize],
            tasks: BinaryHeap::new(),
            open: 0,
            from_caller: Outbox::new(),
            from_far: Outbox::new(),
            outcome: Outcome {
                completed: 0,
                late: 0,
                refused: 0,
                stuck: 0,
                repeats: 0,
                setup: histogram()?,
                passage: histogram()?,
            },
        };
        let mut inbox = Inbox::new();
        let last = run.due(offer.calls) + micros(offer.patience) + micros(offer.hold) + LINGER;
        loop {
            let now = run.now();
            run.start_calls(now);
            run.do_tasks(now);
            run.from_caller.flush(&self.caller)?;
            run.from_far.flush(&self.far)?;
            if run.is_over() || now > last {
                break;
            }
            wait(&self.caller, &self.far, run.next_moment().saturating_sub(run.now()))?;
            while inbox.receive(&self.far)? > 0 {
                let now = run.now();
                for (message, from) in inbox.messages() {
                    run.at_far(now, message, from);
                }
                run.from_far.flush(&self.far)?;
            }
            loop {
                let got = inbox.receive(&self.caller)?;
                let now = run.now();
                for (message, from) in inbox.messages() {
                    run.at_caller(now, message, from);
                }
                run.from_caller.flush(&self.caller)?;
                if got < BATCH {
                    break;
                }
            }
        }
        let stuck =
            run.calls.iter().filter(|call| matches!(call.caller, Caller::Talking(_) | Caller::Leaving(_)));
        run.outcome.stuck = u32::try_from(stuck.count()).unwrap_or(u32::MAX);
        Ok(run.outcome)
    }
}

/// Sleeps until a datagram waits or `micros` have passed.
fn wait(caller: &UdpSocket, far: &UdpSocket, micros: u64) -> io::Result<()> {
    let mut sockets =
        [PollFd::new(caller.as_fd(), PollFlags::POLLIN), PollFd::new(far.as_fd(), PollFlags::POLLIN)];
    let limit = TimeSpec::from_duration(Duration::from_micros(micros));
    match ppoll(&mut sockets, Some(limit), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(SLOWEST, 3).map_err(io::Error::other)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

struct Run {
    ports: Ports,
    number: u32,
    offer: Offer,
    begun: Instant,
    calls: Vec<Call>,
    /// The latest call to each number.
    by_row: Vec<u32>,
    tasks: BinaryHeap<Reverse<(u64, u32, Task)>>,
    /// Calls that are neither done nor failed.
    open: u32,
    from_caller: Outbox,
    from_far: Outbox,
    outcome: Outcome,
}

impl Run {
    fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    /// When call number `call` is due.
    fn due(&self, call: u32) -> u64 {
        u64::from(call) * 1_000_000 / u64::from(self.offer.rate)
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.calls.len() == self.offer.calls as usize
    }

    fn next_moment(&self) -> u64 {
        let next_call = u32::try_from(self.calls.len()).ok().filter(|next| *next < self.offer.calls);
        let next_call = next_call.map_or(u64::MAX, |next| self.due(next));
        let next_task = self.tasks.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        next_call.min(next_task).min(self.now() + 1_000_000)
    }

    fn names(&self, call: u32) -> Names {
        let Ports { server, caller, far } = self.ports;
        let row = (self.number * 31 + call.wrapping_mul(STRIDE) % NUMBERS) % NUMBERS;
        Names { run: self.number, call, row, server, caller, far }
    }

    fn server(&self) -> SockaddrIn {
        local(self.ports.server).into()
    }

    fn later(&mut self, at: u64, call: u32, task: Task) {
        self.tasks.push(Reverse((at, call, task)));
    }

    fn start_calls(&mut self, now: u64) {
        while let Ok(call) = u32::try_from(self.calls.len()) {
            let due = self.due(call);
            if call >= self.offer.calls || due > now {
                return;
            }
            let names = self.names(call);
            if let Some(latest) = self.by_row.get_mut(names.row as usize) {
                *latest = call;
            }
            names.invite(&mut self.from_caller.wire);
            self.from_caller.post(self.server());
            self.calls.push(Call { due, caller: Caller::Calling, far: Far::NotYet });
            self.open += 1;
            self.later(now + T1, call, Task::RepeatInvite(1));
            self.later(due + micros(self.offer.patience), call, Task::GiveUp);
        }
    }

    fn do_tasks(&mut self, now: u64) {
        while self.tasks.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, call, task))) = self.tasks.pop() else { return };
            self.perform(now, call, &task);
        }
    }

    fn perform(&mut self, now: u64, call: u32, task: &Task) {
        let (names, server) = (self.names(call), self.server());
        let Some(it) = self.calls.get_mut(call as usize) else { return };
        match (task, std::mem::replace(&mut it.caller, Caller::NotYet)) {
            (Task::RepeatInvite(done), Caller::Calling) => {
                it.caller = Caller::Calling;
                names.invite(&mut self.from_caller.wire);
                self.from_caller.post(server);
                self.outcome.repeats += 1;
                self.repeat(now, call, *done, Task::RepeatInvite);
            }
            (Task::HangUp, Caller::Talking(dialog)) => {
                names.within("BYE", 2, &dialog, &mut self.from_caller.wire);
                self.from_caller.post(server);
                it.caller = Caller::Leaving(dialog);
                self.later(now + T1, call, Task::RepeatBye(1));
            }
            (Task::RepeatBye(done), Caller::Leaving(dialog)) => {
                names.within("BYE", 2, &dialog, &mut self.from_caller.wire);
                self.from_caller.post(server);
                it.caller = Caller::Leaving(dialog);
                self.outcome.repeats += 1;
                self.repeat(now, call, *done, Task::RepeatBye);
            }
            (Task::GiveUp, Caller::Calling) => {
                it.caller = Caller::Late;
                self.outcome.late += 1;
                self.open -= 1;
            }
            (Task::RepeatAnswer(done), caller) => {
                it.caller = caller;
                if let Far::Answered(answer, from) = &it.far {
                    self.from_far.wire.extend_from_slice(answer);
                    self.from_far.post(*from);
                    self.outcome.repeats += 1;
                    self.repeat(now, call, *done, Task::RepeatAnswer);
                }
            }
            // It has come further meanwhile.
            (Task::RepeatInvite(_) | Task::HangUp | Task::RepeatBye(_) | Task::GiveUp, caller) => {
                it.caller = caller;
            }
        }
    }

    fn repeat(&mut self, now: u64, call: u32, done: u8, task: fn(u8) -> Task) {
        if done < REPEATS {
            self.later(now + (T1 << done), call, task(done + 1));
        }
    }

    fn at_far(&mut self, now: u64, message: &[u8], from: SockaddrIn) {
        let seen = Seen::read(message);
        if seen.first.starts_with(b"INVITE ") {
            self.invited(now, &seen, from);
        } else if seen.first.starts_with(b"ACK ") {
            if let Some(call) = self.own(seen.user()) {
                call.far = Far::Acknowledged;
            }
        } else if seen.status().is_none() {
            fine(&seen, &mut self.from_far.wire);
            self.from_far.post(from);
        }
    }

    fn invited(&mut self, now: u64, seen: &Seen<'_>, from: SockaddrIn) {
        // The relay leaves the dialled number as it was.
        let digits = seen.user().strip_prefix("+1202").or_else(|| seen.user().strip_prefix("+1555"));
        let row = digits.and_then(|digits| digits.parse::<usize>().ok());
        let Some(&number) = row.and_then(|row| self.by_row.get(row)) else { return };
        let names = self.names(number);
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if !matches!(call.far, Far::NotYet) {
            self.outcome.repeats += 1;
            return;
        }
        self.outcome.passage.saturating_record(now.saturating_sub(call.due));
        for status in ["100 Trying", "180 Ringing"] {
            names.answer(status, seen, &mut self.from_far.wire);
            self.from_far.post(from);
        }
        let mut answer = Vec::new();
        names.answer("200 OK", seen, &mut answer);
        self.from_far.wire.extend_from_slice(&answer);
        self.from_far.post(from);
        call.far = Far::Answered(answer, from);
        self.later(now + T1, number, Task::RepeatAnswer(1));
    }

    /// The call that a Contact or Call-ID of this run names.
    fn own(&mut self, id: &str) -> Option<&mut Call> {
        let (run, call) = Seen::names_of(id).filter(|(run, _)| *run == self.number)?;
        debug_assert_eq!(run, self.number);
        self.calls.get_mut(call as usize)
    }

    fn at_caller(&mut self, now: u64, message: &[u8], from: SockaddrIn) {
        let seen = Seen::read(message);
        let Some(status) = seen.status() else {
            if !seen.first.starts_with(b"ACK ") {
                fine(&seen, &mut self.from_caller.wire);
                self.from_caller.post(from);
            }
            return;
        };
        let id = std::str::from_utf8(seen.call_id).unwrap_or_default();
        let Some((run, number)) = Seen::names_of(id) else { return };
        if run != self.number || status < 200 {
            return;
        }
        match seen.method() {
            b"INVITE" => self.answered(now, number, status, &seen),
            b"BYE" => self.left(number),
            _ => {}
        }
    }

    fn answered(&mut self, now: u64, number: u32, status: u16, seen: &Seen<'_>) {
        let (names, server, hold) = (self.names(number), self.server(), micros(self.offer.hold));
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        let wire = &mut self.from_caller.wire;
        match (&call.caller, status) {
            (Caller::Calling, 200..300) => {
                self.outcome.setup.saturating_record(now.saturating_sub(call.due));
                let dialog = seen.dialog();
                names.within("ACK", 1, &dialog, wire);
                call.caller = Caller::Talking(dialog);
                self.from_caller.post(server);
                self.later(now + hold, number, Task::HangUp);
            }
            (_, 200..300) => {
                names.within("ACK", 1, &seen.dialog(), wire);
                self.outcome.repeats += 1;
                self.from_caller.post(server);
            }
            (Caller::Calling, _) => {
                names.ack_refusal(seen, wire);
                call.caller = Caller::Refused;
                self.outcome.refused += 1;
                self.open -= 1;
                self.from_caller.post(server);
            }
            _ => {
                names.ack_refusal(seen, wire);
                self.from_caller.post(server);
            }
        }
    }

    fn left(&mut self, number: u32) {
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if matches!(call.caller, Caller::Leaving(_)) {
            call.caller = Caller::Done;
            self.outcome.completed += 1;
            self.open -= 1;
        }
    }
}
