//! The timers of RFC 3261 §17 and RFC 6026, by their letters.

use std::time::Duration;

/// The three base values (RFC 3261 §17.1.1.1, §17.1.1.2 and its Table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// An estimate of the round trip; 500 ms.
    pub t1: Duration,
    /// The longest pause between retransmissions of non-INVITE requests and INVITE responses; 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network; 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers::RFC_3261
    }
}

impl Timers {
    pub const RFC_3261: Timers =
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };

    /// 64·T1, after which a side gives the other up; 32 s.
    pub const fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// The pause after `repeats` retransmissions of an INVITE: T1, 2·T1, 4·T1 … without a ceiling, because
    /// timer B ends it.
    pub const fn doubled(&self, repeats: u8) -> Duration {
        let times = if repeats < 16 { 1 << repeats } else { 1 << 16 };
        self.t1.saturating_mul(times)
    }

    /// The pause after `repeats` retransmissions of anything else: doubled from T1, at most T2.
    pub fn doubled_to_t2(&self, repeats: u8) -> Duration {
        self.doubled(repeats).min(self.t2)
    }
}

/// What can wake a transaction. A timer is never stopped: one that a state does not wait for is ignored.
///
/// D and J, and L and M once the ACK is there, end a transaction that only lingers: they are shortened when it is
/// crowded, to T4 + T2 at least (`lingering.rs`). D and J last to the next whole second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// Repeats the INVITE over UDP, doubling from T1; any response ends it (RFC 3261 §17.1.1.2).
    A,
    /// 64·T1: the INVITE got no response at all (§17.1.1.2).
    B,
    /// 64·T1 over UDP: how long repeats of a final response to our INVITE may arrive (§17.1.1.2).
    D,
    /// Repeats a request other than INVITE over UDP, doubling from T1 to T2 (§17.1.2.2).
    E,
    /// 64·T1: a request other than INVITE got no final response (§17.1.2.2).
    F,
    /// Repeats our final response of 300 and above to an INVITE over UDP, doubling from T1 to T2 (§17.2.1).
    G,
    /// 64·T1: no ACK came for that response (§17.2.1).
    H,
    /// T4 over UDP: how long repeats of the ACK may arrive (§17.2.1).
    I,
    /// 64·T1 over UDP: how long repeats of a request other than INVITE may arrive (§17.2.2). One that comes after a
    /// shortened J, its third answer in a row lost, is taken for a new one, out of order in its dialog.
    J,
    /// T4 over UDP: how long repeats of a final response to it may arrive (§17.1.2.2).
    K,
    /// 64·T1 on every transport: how long we stay to answer for our 2xx to an INVITE (RFC 6026 §8.7).
    /// Exact as long as the ACK is missing.
    L,
    /// 64·T1 on every transport: how long further 2xx to our INVITE may arrive (RFC 6026 §8.4). Exact until our ACK
    /// leaves; a 2xx after a shortened M is a stray: what overload costs a far side that forks or loses our ACKs.
    M,
    /// Repeats our 2xx to an INVITE on every transport, doubling from T1 to T2, until the caller's ACK
    /// (RFC 3261 §13.3.1.4).
    RepeatSuccess,
    /// 64·T1 after our CANCEL: the INVITE got no final response all the same (RFC 3261 §9.1).
    CancelUnheard,
    /// 64·T1 after a request other than INVITE came: its sender waits no longer (timer F there), so an answer
    /// of ours is of no use any more (RFC 4320 §4.2).
    Unanswered,
}

impl Timer {
    /// As ladders print it.
    pub const fn name(self) -> &'static str {
        match self {
            Timer::A => "A",
            Timer::B => "B",
            Timer::D => "D",
            Timer::E => "E",
            Timer::F => "F",
            Timer::G => "G",
            Timer::H => "H",
            Timer::I => "I",
            Timer::J => "J",
            Timer::K => "K",
            Timer::L => "L",
            Timer::M => "M",
            Timer::RepeatSuccess => "repeat 2xx",
            Timer::CancelUnheard => "cancel unheard",
            Timer::Unanswered => "unanswered",
        }
    }
}
