//! What share of the new calls is not even read.
//!
//! Every refusal costs something, and there is no end to how many may be wanted: at some rate of calls a shard would
//! do nothing but refuse. So where more than twice too many come, it reads half as many INVITEs again as it takes
//! calls, and the kernel drops the others ([`transport::shed`](crate::transport::shed)), as far as they are such that it
//! can tell.

use std::time::Duration;

use super::Exchange;
use crate::time::Instant;
use crate::transport::shed::{Droppable, Share, WHOLE};

/// So many are read for each that is taken.
const READ: f64 = 1.5;

/// Where so large a share would be read, all are: whoever can be told that we are full, is told.
const MOST: f64 = 0.75;

/// At least so much is read: how many come is seen in it.
const LEAST: f64 = 1.0 / WHOLE as f64;

/// Where fewer than these of those that are read could have been dropped, nothing is.
const WORTH: f64 = 0.25;

/// A share that is read and wrong by less than this part of itself stays as it is, and any for [`PAUSE`]: to change
/// it costs as much as a call.
const GRAIN: f64 = 0.125;
const PAUSE: Duration = Duration::from_millis(100);

/// Of fewer calls nothing is concluded.
const FEW: u32 = 8;

/// Whoever sends requests within a dialog that look like new calls (RFC 3261 §12.2.1.1 does not have them so) loses them
/// to the lot: once one was seen, none is drawn for a day.
const SPARED: Duration = Duration::from_secs(24 * 3600);

/// Which share of the new calls is dropped, as far as it has been settled.
#[derive(Debug)]
pub(super) struct Shedding {
    share: Share,
    since: Instant,
    /// New calls that were read since then, and those of them that the kernel could have dropped.
    read: u32,
    droppable: u32,
    /// The share of those, as it was when enough were read, 0 to 1.
    part: f64,
    spared_until: Instant,
}

impl Default for Shedding {
    fn default() -> Self {
        let (since, spared_until) = (Instant::ZERO, Instant::ZERO);
        Shedding { share: 0, since, read: 0, droppable: 0, part: 1.0, spared_until }
    }
}

impl Shedding {
    /// A new call was read.
    pub fn count(&mut self) {
        self.read = self.read.saturating_add(1);
    }

    /// Settles what is dropped from now on, where this share of those that are read is taken. Gives by which factor
    /// more is read then.
    pub fn settle(&mut self, now: Instant, taken: f64, droppable: Droppable) -> f64 {
        self.droppable = self.droppable.saturating_add(droppable.came);
        let may = droppable.may && now >= self.spared_until;
        if may && now.since(self.since) < PAUSE {
            return 1.0;
        }
        self.since = now;
        let (read, droppable) = (std::mem::take(&mut self.read), std::mem::take(&mut self.droppable));
        if read >= FEW {
            self.part = (f64::from(droppable) / f64::from(read)).min(1.0);
        }
        let before = self.read_share();
        let wanted = match may && self.part >= WORTH {
            true => (before * (taken * READ - (1.0 - self.part)) / self.part).max(LEAST),
            false => 1.0,
        };
        let wanted = if wanted >= MOST { 1.0 } else { wanted };
        if (wanted - before).abs() > before * GRAIN {
            self.share = unread(wanted);
        }
        self.part * self.read_share() / before + 1.0 - self.part
    }

    pub fn share(&self) -> Share {
        self.share
    }

    /// One that is no new call could have been dropped for one.
    pub fn spare(&mut self, now: Instant) {
        self.spared_until = now + SPARED;
    }

    /// When the share may change, if nothing is heard until then.
    pub fn deadline(&self) -> Option<Instant> {
        (self.share > 0).then(|| self.since + PAUSE)
    }

    /// What is read of those that could be dropped, above 0 to 1.
    fn read_share(&self) -> f64 {
        1.0 - f64::from(self.share) / f64::from(WHOLE)
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
    /// How many of 256 new INVITEs are to be dropped unread from now on. While somebody who has called for help may be
    /// called back, none (R13): nobody sees which INVITE that is before it is read.
    pub fn shed(&mut self, now: Instant, droppable: Droppable) -> Share {
        let may = droppable.may && !self.desk.help().is_remembered(now);
        self.admission.shed(now, Droppable { may, ..droppable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    const ALL: Droppable = Droppable { may: true, came: 100 };

    /// What is dropped, and by what factor less is read, where 100 are read, `came` of them droppable.
    fn settled(taken: f64, came: u32) -> (Share, f64) {
        let mut shedding = Shedding { read: 100, ..Shedding::default() };
        let grows = shedding.settle(at(100), taken, Droppable { may: true, came });
        (shedding.share(), (grows * 1e3).round() / 1e3)
    }

    #[test]
    fn r14_for_two_calls_that_are_taken_one_is_refused_and_the_rest_is_not_read() {
        let share = |taken| settled(taken, 100).0;
        assert_eq!([1.0, 0.6, 0.51, 0.48, 0.25, 0.04, 0.001].map(share), [0, 0, 0, 72, 160, 241, 255]);
        assert_eq!(settled(0.25, 100).1, 0.375);
    }

    #[test]
    fn r14_what_cannot_be_dropped_is_reckoned_with() {
        // Half of them: the other half is read in any case.
        assert_eq!(settled(0.4, 50), (205, 0.6));
        assert_eq!(settled(0.1, 50), (255, 0.502));
        assert_eq!(settled(0.1, 24), (0, 1.0), "too few to be worth it");
        assert_eq!(settled(0.1, 0), (0, 1.0));
    }

    #[test]
    fn r14_the_share_changes_by_no_trifle_and_not_all_the_time() {
        let mut shedding = Shedding { read: 100, ..Shedding::default() };
        assert_eq!((shedding.settle(at(0), 1.0, ALL), shedding.deadline()), (1.0, None));
        assert_eq!(shedding.settle(at(100), 0.25, ALL), 0.375);
        assert_eq!(shedding.deadline(), Some(at(200)));
        assert_eq!((shedding.settle(at(199), 0.1, ALL), shedding.share()), (1.0, 160));
        assert_eq!((shedding.settle(at(200), 0.7, ALL), shedding.share()), (1.0, 160));
        assert!(shedding.settle(at(300), 0.8, ALL) > 1.1);
        assert!(shedding.settle(at(301), 0.1, Droppable { may: false, came: 0 }) > 1.8, "at once");
        assert_eq!((shedding.share(), shedding.deadline()), (0, None));
    }

    #[test]
    fn r14_once_a_request_within_a_dialog_looks_like_a_new_call_none_is_dropped_for_a_day() {
        let mut shedding = Shedding { read: 100, ..Shedding::default() };
        shedding.spare(at(50));
        shedding.settle(at(100), 0.1, ALL);
        assert_eq!(shedding.share(), 0);
        shedding.settle(at(50) + SPARED, 0.1, ALL);
        assert_eq!(shedding.share(), 218);
    }
}
