//! What the threads that carry audio have done, for `/metrics`, and whether they live, for `/readyz`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};

use crate::media::counts::{Counts, Dropped};

/// What a counter is called, and its label.
type Series = (&'static str, &'static str, &'static str);

/// The threads' counts.
pub(super) struct Planes {
    counts: Box<[Arc<Counts>]>,
    /// What each series had when it was last told.
    told: Mutex<Vec<(Series, u64)>>,
}

impl Planes {
    pub fn new(counts: impl IntoIterator<Item = Arc<Counts>>) -> Planes {
        Planes { counts: counts.into_iter().collect(), told: Mutex::default() }
    }

    /// How many threads have died, and of how many.
    pub fn dead(&self) -> (usize, usize) {
        (self.counts.iter().filter(|counts| counts.is_dead()).count(), self.counts.len())
    }

    fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.counts.iter().map(|counts| of(counts)).sum()
    }

    fn of(&self, of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        self.sum(|counts| of(counts).load(Ordering::Relaxed))
    }

    /// Brings the counters up to date. What comes back is the histogram, in Prometheus' format.
    pub fn measure(&self) -> String {
        if self.counts.is_empty() {
            return String::new();
        }
        const PACKETS: &str = "strowger_rtp_packets_total";
        let sent = self.of(|counts| &counts.relayed) + self.of(|counts| &counts.said);
        let mut series = vec![
            ((PACKETS, "dir", "in"), self.of(|counts| &counts.received)),
            ((PACKETS, "dir", "out"), sent),
            (("strowger_media_faults_total", "", ""), self.of(|counts| &counts.broken)),
            (("strowger_queue_full_total", "queue", "media_keys"), self.of(|counts| &counts.untold)),
        ];
        series.extend(Dropped::ALL.map(|why| {
            let dropped = self.sum(|counts| counts.dropped(why));
            (("strowger_rtp_dropped_total", "reason", why.label()), dropped)
        }));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, ((name, label, value), now)) in series.iter().enumerate() {
            let before = told.get(at).map_or(0, |(_, before)| *before);
            let counter = if label.is_empty() { counter!(*name) } else { counter!(*name, *label => *value) };
            counter.increment(now.saturating_sub(before));
        }
        *told = series;
        let (dead, all) = self.dead();
        gauge!("strowger_media_threads").set((all - dead) as f64);
        gauge!("strowger_media_calls").set(self.of(|counts| &counts.sessions) as f64);
        self.delays()
    }

    fn delays(&self) -> String {
        const NAME: &str = "strowger_rtp_relay_seconds";
        let all: Vec<_> = self.counts.iter().map(|counts| counts.delays.read()).collect();
        let mut out = format!(
            "# HELP {NAME} How long packets were with us, from the kernel's stamp until they left; of one in 64.\n\
             # TYPE {NAME} histogram\n"
        );
        let bounds = all.first().map(|(below, _, _)| below.map(|(bound, _)| bound)).unwrap_or_default();
        for (at, bound) in bounds.iter().enumerate() {
            let count: u64 = all.iter().map(|(below, _, _)| below[at].1).sum();
            let _infallible = writeln!(out, "{NAME}_bucket{{le=\"{}\"}} {count}", bound.as_secs_f64());
        }
        let count: u64 = all.iter().map(|(_, count, _)| count).sum();
        let sum: Duration = all.iter().map(|(_, _, together)| *together).sum();
        let _infallible = write!(
            out,
            "{NAME}_bucket{{le=\"+Inf\"}} {count}\n{NAME}_sum {}\n{NAME}_count {count}\n",
            sum.as_secs_f64()
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_delays_stand_together_in_one_histogram() {
        let [one, other] = [0; 2].map(|_| Arc::<Counts>::default());
        let planes = Planes::new([Arc::clone(&one), other]);
        assert_eq!(planes.dead(), (0, 2));
        let text = planes.measure();
        assert!(text.contains("# TYPE strowger_rtp_relay_seconds histogram\n"), "{text}");
        assert!(text.contains("_bucket{le=\"0.00005\"} 0\n") && text.contains("{le=\"+Inf\"} 0\n"), "{text}");
        assert!(text.ends_with("_sum 0\nstrowger_rtp_relay_seconds_count 0\n"), "{text}");
        assert_eq!(Planes::new([]).measure(), "");
    }
}
