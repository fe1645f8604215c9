//! What share of the new calls is not even read.
//!
//! Every refusal costs something, and there is no end to how many may be wanted: at some rate of calls a shard would
//! do nothing but refuse. So where more than twice too many come, it reads half as many INVITEs again as it takes
//! calls, and the kernel drops the others ([`transport::shed`](crate::transport::shed)).

use std::time::Duration;

use super::Exchange;
use crate::time::Instant;
use crate::transport::shed::{Share, WHOLE};

/// So many are read for each that is taken.
const READ: f64 = 1.5;

/// Where so large a share would be read, all are: whoever can be told that we are full, is told.
const MOST: f64 = 0.75;

/// A share that is read and wrong by less than this part of itself stays as it is, and any for [`PAUSE`]: to change
/// it costs as much as a call.
const GRAIN: f64 = 0.125;
const PAUSE: Duration = Duration::from_millis(100);

/// Which share of the new calls is dropped, as far as it has been settled.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    share: Share,
    since: Instant,
}

impl Shedding {
    /// How many of [`WHOLE`] new INVITEs are to be dropped from now on, where this share of all is to be taken.
    pub fn share(&mut self, now: Instant, taken: f64) -> Share {
        let (wanted, read) = (taken * READ, self.read());
        if (wanted - read).abs() > read * GRAIN && now.since(self.since) >= PAUSE {
            self.since = now;
            self.share = if wanted >= MOST { 0 } else { unread(wanted) };
        }
        self.share
    }

    /// The share that is read, above 0 to 1.
    pub fn read(&self) -> f64 {
        1.0 - f64::from(self.share) / f64::from(WHOLE)
    }

    /// When it may change, if nothing is heard until then.
    pub fn deadline(&self) -> Option<Instant> {
        (self.share > 0).then(|| self.since + PAUSE)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floats holds at the ends"
)]
fn unread(read: f64) -> Share {
    ((1.0 - read) * f64::from(WHOLE)).round() as Share
}

impl Exchange {
    /// How many of 256 new INVITEs are to be dropped unread from now on; none unless they `may`. And while somebody who has called for help may be
    /// called back, none (R13): nobody sees which INVITE that is before it is read.
    pub fn shed(&mut self, now: Instant, may: bool) -> Share {
        let may = may && !self.desk.help().is_remembered(now);
        self.admission.shed(now, may)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_for_two_calls_that_are_taken_one_is_refused_and_the_rest_is_not_read() {
        let share = |taken| Shedding::default().share(Instant::ZERO + PAUSE, taken);
        assert_eq!(
            [1.0, 0.6, 0.52, 0.48, 0.25, 0.04, 0.001, 0.0].map(share),
            [0, 0, 0, 72, 160, 241, 255, 255]
        );
    }

    #[test]
    fn r14_the_share_changes_by_no_trifle_and_not_all_the_time() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut shedding = Shedding::default();
        assert_eq!((shedding.share(at(0), 1.0), shedding.deadline()), (0, None));
        assert_eq!(shedding.share(at(100), 0.25), 160);
        assert_eq!(shedding.share(at(199), 0.125), 160);
        assert_eq!(shedding.deadline(), Some(at(200)));
        assert_eq!(shedding.share(at(200), 0.28), 160);
        assert_eq!(shedding.share(at(201), 0.285), 147);
        assert_eq!((shedding.share(at(301), 1.0), shedding.deadline()), (0, None));
    }
}
