//! When a shard's thread waits in the receive call of its port, and when in the runtime.

use std::task::Waker;
use std::time::Duration;

use crate::time::Instant;
use crate::transport::udp::Waited;

/// How long what comes by the runtime waits at most while datagrams come.
const RUNTIME_TURN: Duration = Duration::from_millis(10);

/// So many waits in vain, 0.1 s, and the runtime waits.
const SILENT_WAITS: u32 = 5;

/// Who had a connection a moment ago opens another: so long the runtime waits for it.
const AFTER_STREAMS: Duration = Duration::from_secs(10);

/// When the thread may wait in the receive call of its one port. Everything else that comes to it, new connections
/// among it, comes by the runtime, which is therefore given a turn every [`RUNTIME_TURN`]; and where nothing
/// comes, the runtime waits, as long as it likes.
#[derive(Debug, Default)]
pub(super) struct Ease {
    /// Waits in a row that brought nothing.
    silent: u32,
    /// When the runtime had its last turn.
    turn: Instant,
    /// When something beside the port was last seen.
    beside: Option<Instant>,
    /// How others wake it from its rest.
    pub waker: Option<Waker>,
}

impl Ease {
    /// Whether the runtime is to have its turn now.
    pub fn owes_a_turn(&mut self, now: Instant) -> bool {
        let owes = now.since(self.turn) >= RUNTIME_TURN;
        if owes {
            self.turn = now;
        }
        owes
    }

    /// `alone`: there is no stream and no other shard that could have anything for this one.
    pub fn may_rest(&mut self, now: Instant, alone: bool) -> bool {
        if !alone {
            self.beside = Some(now);
        }
        self.silent < SILENT_WAITS && self.beside.is_none_or(|at| now.since(at) >= AFTER_STREAMS)
    }

    pub fn rested(&mut self, waited: Waited) {
        self.silent = match waited {
            Waited::Came => 0,
            // A kernel that cannot wait in this call fails at once, each time.
            Waited::Silence | Waited::Failed => self.silent + 1,
        };
    }

    /// The runtime has waited: a single datagram does not make the thread look for more five times.
    pub fn slept(&mut self) {
        self.silent = self.silent.min(SILENT_WAITS - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_rests_while_datagrams_come_and_no_stream_is_near() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut ease = Ease::default();
        for _ in 0..SILENT_WAITS {
            assert!(ease.may_rest(at(0), true));
            ease.rested(Waited::Silence);
        }
        assert!(!ease.may_rest(at(0), true), "nothing comes");
        ease.slept();
        assert!(ease.may_rest(at(0), true));
        ease.rested(Waited::Silence);
        assert!(!ease.may_rest(at(0), true), "one came, and no other");
        ease.slept();
        ease.rested(Waited::Came);
        ease.rested(Waited::Silence);
        assert!(ease.may_rest(at(0), true));
        for _ in 1..SILENT_WAITS {
            ease.rested(Waited::Failed);
        }
        assert!(!ease.may_rest(at(0), true), "it fails again and again");
        ease.slept();
        assert!(!ease.may_rest(at(1_000), false));
        assert!(!ease.may_rest(at(10_999), true), "who had a stream will have one again");
        assert!(ease.may_rest(at(11_000), true));
        let turns = (20_000..20_100).filter(|ms| ease.owes_a_turn(at(*ms))).count();
        assert_eq!(turns, 10);
    }
}
