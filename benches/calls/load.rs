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
use crate::message::{Dialog, NO_AUDIO, NUMBERS, Names, Seen, fine};

/// T1 of RFC 3261: after so long without an answer a message is repeated.
const T1: u64 = 500_000;

/// T2 of RFC 3261: the pause between two repeats grows no longer.
const T2: u64 = 4_000_000;

/// Repeats of one message, doubling from T1 to T2: then 31.5 s have passed, and 64·T1 are nearly over.
const REPEATS: u8 = 10;

/// After the last call was due and its patience is over, so long is waited for what is still on its way.
const LINGER: u64 = 2_000_000;

/// Batches that one end takes before the other has its turn.
const TURNS: usize = 4;

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

/// Calls at one pace.
#[derive(Clone, Copy)]
pub struct Phase {
    /// Calls per second.
    pub rate: u32,
    pub seconds: u32,
    /// Silence before the first of them.
    pub pause: Duration,
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
    pub offered: u32,
    pub completed: u32,
    /// Without a 200 in time.
    pub late: u32,
    /// Answered with something else than 200.
    pub refused: u32,
    /// Of those, 503 with a Retry-After.
    pub told_when: u32,
    /// Of those that came late or were refused, the ones that had not rung.
    pub unrung: u32,
    /// Answered, but the BYE was not.
    pub stuck: u32,
    /// Answered with 200 after a refusal: a call that nobody wanted any more.
    pub ghosts: u32,
    /// Messages that either side sent or received more than once.
    pub repeats: u32,
    /// How far this program fell behind its own plan at most, in microseconds.
    pub behind: u64,
    /// Calls completed in each second.
    pub by_second: Vec<u32>,
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
    /// Nothing came yet.
    Calling,
    /// A provisional response came.
    Ringing,
    /// No longer wanted; its CANCEL waits for a provisional response (RFC 3261 §9.1).
    GivenUp,
    /// The CANCEL is out.
    Cancelling,
    Talking(Dialog),
    Leaving(Dialog),
    Done,
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
    /// Its caller has heard that it rings.
    rang: bool,
    /// It counts as late or refused, whatever comes of it yet.
    failed: bool,
}

/// What is to be done for a call, and when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    RepeatInvite(u8),
    RepeatAnswer(u8),
    HangUp,
    RepeatBye(u8),
    GiveUp,
    RepeatCancel(u8),
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
        let plan = vec![Paced { first: 0, from: 0, rate: offer.rate }];
        let mut outcomes = self.run(plan, offer.calls, offer.hold, offer.patience, LINGER)?;
        outcomes.pop().ok_or_else(|| io::Error::other("nothing was offered"))
    }

    /// Offers one phase after another, with nobody put down in between: both ends answer for what is left of
    /// the phase before, and until `linger` has passed for what is left of the last.
    pub fn phases(&self, phases: &[Phase], patience: Duration, linger: Duration) -> io::Result<Vec<Outcome>> {
        let (mut first, mut from) = (0, 0);
        let mut plan = Vec::with_capacity(phases.len());
        for Phase { rate, seconds, pause } in phases {
            from += micros(*pause);
            plan.push(Paced { first, from, rate: *rate });
            first += rate * seconds;
            from += u64::from(*seconds) * 1_000_000;
        }
        self.run(plan, first, Duration::ZERO, patience, micros(linger))
    }

    fn run(
        &self,
        plan: Vec<Paced>,
        calls: u32,
        hold: Duration,
        patience: Duration,
        linger: u64,
    ) -> io::Result<Vec<Outcome>> {
        let outcomes = plan.iter().map(|_| Outcome::new()).collect::<io::Result<_>>()?;
        let mut run = Run {
            ports: self.ports,
            number: RUNS.fetch_add(1, Ordering::Relaxed),
            plan,
            offered: calls,
            hold: micros(hold),
            patience: micros(patience),
            begun: Instant::now(),
            calls: Vec::with_capacity(calls as usize),
            tasks: BinaryHeap::new(),
            open: 0,
            from_caller: Outbox::new(),
            from_far: Outbox::new(),
            outcomes,
        };
        let mut inbox = Inbox::new();
        let last = run.due(calls) + run.patience + run.hold + linger;
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
            self.take_turns(&mut inbox, &mut run)?;
        }
        Ok(run.ended())
    }

    /// Takes what waits for both ends, the far end first; no more of it than a few batches, for calls are due.
    fn take_turns(&self, inbox: &mut Inbox, run: &mut Run) -> io::Result<()> {
        for _ in 0..TURNS {
            let got = inbox.receive(&self.far)?;
            let now = run.now();
            for (message, from) in inbox.messages() {
                run.at_far(now, message, from);
            }
            run.from_far.flush(&self.far)?;
            if got < BATCH {
                break;
            }
        }
        for _ in 0..TURNS {
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
        Ok(())
    }
}

impl Outcome {
    fn new() -> io::Result<Outcome> {
        Ok(Outcome {
            offered: 0,
            completed: 0,
            late: 0,
            refused: 0,
            told_when: 0,
            unrung: 0,
            stuck: 0,
            ghosts: 0,
            repeats: 0,
            behind: 0,
            by_second: Vec::new(),
            setup: histogram()?,
            passage: histogram()?,
        })
    }

    /// A call has gone its whole way, so many microseconds after the phase began.
    fn complete(&mut self, after: u64) {
        self.completed += 1;
        let second = usize::try_from(after / 1_000_000).unwrap_or(usize::MAX);
        if second >= self.by_second.len() {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
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

/// The calls from one on, and their pace.
struct Paced {
    first: u32,
    /// When the first is due.
    from: u64,
    rate: u32,
}

struct Run {
    ports: Ports,
    number: u32,
    plan: Vec<Paced>,
    offered: u32,
    hold: u64,
    patience: u64,
    begun: Instant,
    calls: Vec<Call>,
    tasks: BinaryHeap<Reverse<(u64, u32, Task)>>,
    /// Calls that may still come to something.
    open: u32,
    from_caller: Outbox,
    from_far: Outbox,
    outcomes: Vec<Outcome>,
}

impl Run {
    fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    /// Which phase call number `call` belongs to.
    fn phase(&self, call: u32) -> usize {
        self.plan.iter().rposition(|phase| phase.first <= call).unwrap_or(0)
    }

    /// When call number `call` is due.
    fn due(&self, call: u32) -> u64 {
        let Paced { first, from, rate } = self.plan[self.phase(call)];
        from + u64::from(call - first) * 1_000_000 / u64::from(rate)
    }

    fn outcome(&mut self, call: u32) -> &mut Outcome {
        let phase = self.phase(call);
        &mut self.outcomes[phase]
    }

    fn is_over(&self) -> bool {
        self.open == 0 && self.calls.len() == self.offered as usize
    }

    fn next_moment(&self) -> u64 {
        let next_call = u32::try_from(self.calls.len()).ok().filter(|next| *next < self.offered);
        let next_call = next_call.map_or(u64::MAX, |next| self.due(next));
        let next_task = self.tasks.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        next_call.min(next_task).min(self.now() + 1_000_000)
    }

    fn names(&self, call: u32) -> Names {
        let Ports { server, caller, far } = self.ports;
        let row = (self.number * 31 + call.wrapping_mul(STRIDE) % NUMBERS) % NUMBERS;
        Names { run: self.number, call, row, server, caller, far, audio: NO_AUDIO }
    }

    fn server(&self) -> SockaddrIn {
        local(self.ports.server).into()
    }

    fn later(&mut self, at: u64, call: u32, task: Task) {
        self.tasks.push(Reverse((at, call, task)));
    }

    /// Counts what is left, once nothing more is waited for.
    fn ended(mut self) -> Vec<Outcome> {
        for number in 0..u32::try_from(self.calls.len()).unwrap_or(u32::MAX) {
            let call = &self.calls[number as usize];
            let stuck = matches!(call.caller, Caller::Talking(_) | Caller::Leaving(_)) && !call.failed;
            self.outcome(number).stuck += u32::from(stuck);
        }
        self.outcomes
    }

    fn start_calls(&mut self, now: u64) {
        while let Ok(call) = u32::try_from(self.calls.len()) {
            if call >= self.offered {
                return;
            }
            let due = self.due(call);
            if due > now {
                return;
            }
            let outcome = self.outcome(call);
            outcome.offered += 1;
            outcome.behind = outcome.behind.max(now - due);
            self.names(call).invite(&mut self.from_caller.wire);
            self.from_caller.post(self.server());
            self.calls.push(Call {
                due,
                caller: Caller::Calling,
                far: Far::NotYet,
                rang: false,
                failed: false,
            });
            self.open += 1;
            self.later(now + T1, call, Task::RepeatInvite(1));
            self.later(due + self.patience, call, Task::GiveUp);
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
        let wire = &mut self.from_caller.wire;
        match (task, std::mem::replace(&mut it.caller, Caller::NotYet)) {
            (Task::RepeatInvite(done), Caller::Calling) => {
                it.caller = Caller::Calling;
                names.invite(wire);
                self.from_caller.post(server);
                self.repeat(now, call, *done, Task::RepeatInvite);
            }
            (Task::HangUp, Caller::Talking(dialog)) => {
                names.within("BYE", 2, &dialog, wire);
                self.from_caller.post(server);
                it.caller = Caller::Leaving(dialog);
                self.later(now + T1, call, Task::RepeatBye(1));
            }
            (Task::RepeatBye(done), Caller::Leaving(dialog)) => {
                names.within("BYE", 2, &dialog, wire);
                self.from_caller.post(server);
                it.caller = Caller::Leaving(dialog);
                self.repeat(now, call, *done, Task::RepeatBye);
            }
            (Task::GiveUp, Caller::Calling) => {
                it.caller = Caller::GivenUp;
                it.failed = true;
                self.open -= 1;
                let outcome = self.outcome(call);
                outcome.late += 1;
                outcome.unrung += 1;
            }
            (Task::GiveUp, Caller::Ringing) => {
                it.failed = true;
                let unrung = !it.rang;
                let outcome = self.outcome(call);
                outcome.late += 1;
                outcome.unrung += u32::from(unrung);
                self.cancel(now, call);
            }
            (Task::RepeatCancel(done), Caller::Cancelling) => {
                names.cancel(wire);
                self.from_caller.post(server);
                it.caller = Caller::Cancelling;
                self.repeat(now, call, *done, Task::RepeatCancel);
            }
            (Task::RepeatAnswer(done), caller) => {
                it.caller = caller;
                if let Far::Answered(answer, from) = &it.far {
                    self.from_far.wire.extend_from_slice(answer);
                    self.from_far.post(*from);
                    self.repeat(now, call, *done, Task::RepeatAnswer);
                }
            }
            // It has come further meanwhile.
            (
                Task::RepeatInvite(_)
                | Task::HangUp
                | Task::RepeatBye(_)
                | Task::GiveUp
                | Task::RepeatCancel(_),
                caller,
            ) => it.caller = caller,
        }
    }

    fn cancel(&mut self, now: u64, call: u32) {
        self.names(call).cancel(&mut self.from_caller.wire);
        self.from_caller.post(self.server());
        self.calls[call as usize].caller = Caller::Cancelling;
        self.later(now + T1, call, Task::RepeatCancel(1));
    }

    /// Something was repeated; after twice the pause it will be once more.
    fn repeat(&mut self, now: u64, call: u32, done: u8, task: fn(u8) -> Task) {
        self.outcome(call).repeats += 1;
        if done < REPEATS {
            self.later(now + (T1 << done).min(T2), call, task(done + 1));
        }
    }

    fn at_far(&mut self, now: u64, message: &[u8], from: SockaddrIn) {
        let seen = Seen::read(message);
        if seen.first.starts_with(b"INVITE ") {
            self.invited(now, &seen, from);
        } else if seen.first.starts_with(b"ACK ") {
            if let Some(call) = self.own(seen.user()).and_then(|call| self.calls.get_mut(call as usize)) {
                call.far = Far::Acknowledged;
            }
        } else if seen.status().is_none() {
            fine(&seen, &mut self.from_far.wire);
            self.from_far.post(from);
        }
    }

    fn invited(&mut self, now: u64, seen: &Seen<'_>, from: SockaddrIn) {
        let Some(number) = self.own(seen.origin()) else { return };
        let names = self.names(number);
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if !matches!(call.far, Far::NotYet) {
            self.outcome(number).repeats += 1;
            return;
        }
        let passed = now.saturating_sub(call.due);
        for status in ["100 Trying", "180 Ringing"] {
            names.answer(status, seen, &mut self.from_far.wire);
            self.from_far.post(from);
        }
        let mut answer = Vec::new();
        names.answer("200 OK", seen, &mut answer);
        self.from_far.wire.extend_from_slice(&answer);
        self.from_far.post(from);
        call.far = Far::Answered(answer, from);
        self.outcome(number).passage.saturating_record(passed);
        self.later(now + T1, number, Task::RepeatAnswer(1));
    }

    /// The call that a Contact or Call-ID of this run names.
    fn own(&self, id: &str) -> Option<u32> {
        Seen::names_of(id).filter(|(run, _)| *run == self.number).map(|(_, call)| call)
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
        let Some(number) = self.own(id) else { return };
        match (seen.method(), status) {
            (b"INVITE", 100..200) => self.ringing(now, number, status),
            (b"INVITE", 200..300) => self.answered(now, number, &seen),
            (b"INVITE", _) => self.refused(number, status, &seen),
            (b"BYE", 200..) => self.left(now, number),
            _ => {}
        }
    }

    fn ringing(&mut self, now: u64, number: u32, status: u16) {
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if status > 100 {
            call.rang = true;
        }
        if matches!(call.caller, Caller::Calling) {
            call.caller = Caller::Ringing;
        } else if matches!(call.caller, Caller::GivenUp) {
            self.open += 1;
            self.cancel(now, number);
        }
    }

    fn answered(&mut self, now: u64, number: u32, seen: &Seen<'_>) {
        let (names, server) = (self.names(number), self.server());
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        let dialog = seen.dialog();
        names.within("ACK", 1, &dialog, &mut self.from_caller.wire);
        self.from_caller.post(server);
        let waited = now.saturating_sub(call.due);
        match call.caller {
            Caller::Calling | Caller::Ringing => {
                call.caller = Caller::Talking(dialog);
                self.later(now + self.hold, number, Task::HangUp);
                self.outcome(number).setup.saturating_record(waited);
            }
            // Nobody wants it any more: it is ended at once.
            Caller::GivenUp | Caller::Cancelling | Caller::Refused => {
                self.open += u32::from(!matches!(call.caller, Caller::Cancelling));
                let ghost = matches!(call.caller, Caller::Refused);
                call.caller = Caller::Talking(dialog);
                self.later(now, number, Task::HangUp);
                self.outcome(number).ghosts += u32::from(ghost);
            }
            Caller::NotYet | Caller::Talking(_) | Caller::Leaving(_) | Caller::Done => {
                self.outcome(number).repeats += 1;
            }
        }
    }

    fn refused(&mut self, number: u32, status: u16, seen: &Seen<'_>) {
        let (names, server) = (self.names(number), self.server());
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        names.ack_refusal(seen, &mut self.from_caller.wire);
        self.from_caller.post(server);
        match call.caller {
            Caller::Calling | Caller::Ringing => {
                (call.caller, call.failed) = (Caller::Refused, true);
                let unrung = !call.rang;
                self.open -= 1;
                let outcome = self.outcome(number);
                outcome.refused += 1;
                outcome.unrung += u32::from(unrung);
                outcome.told_when += u32::from(status == 503 && seen.has_retry_after);
            }
            Caller::Cancelling => {
                call.caller = Caller::Refused;
                self.open -= 1;
            }
            Caller::GivenUp => call.caller = Caller::Refused,
            Caller::NotYet | Caller::Talking(_) | Caller::Leaving(_) | Caller::Done | Caller::Refused => {}
        }
    }

    fn left(&mut self, now: u64, number: u32) {
        let phase = self.phase(number);
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if matches!(call.caller, Caller::Leaving(_)) {
            call.caller = Caller::Done;
            self.open -= 1;
            if !call.failed {
                let began = self.plan[phase].from;
                self.outcomes[phase].complete(now.saturating_sub(began));
            }
        }
    }
}
