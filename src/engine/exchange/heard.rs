//! How the audio of each side went, for the record of its call. The threads say it when they have closed a side, so a
//! record waits for them: a moment, and half a second at most.

use std::time::Duration;

use super::accounts::Last;
use super::ended::Ended;
use super::slot::Wake;
use super::{Effects, Exchange, Notice, REMEMBERED, SlotKey};
use crate::call::cdr::{Cdr, Rtp};
use crate::call::event::LegId;
use crate::media::session::Quality;
use crate::time::Now;

/// So long a record waits for what was heard. A thread that needs more has stopped, and a node that ends waits longer for
/// its records.
const PATIENCE: Duration = Duration::from_millis(500);

impl Exchange {
    /// A call is over, and this is its record: it is written at once, or when the threads have said how its sides were
    /// heard.
    pub(super) fn record_call(
        &mut self,
        now: Now,
        key: SlotKey,
        cdr: Box<Cdr>,
        ended: Ended,
        out: &mut Effects,
    ) {
        let anchor = self.slots.get_mut(key).and_then(|slot| slot.anchor.as_deref_mut());
        let Some(anchor) = anchor else { return self.write_record(cdr, ended, out) };
        anchor.accounts.last = Some(Box::new(Last { cdr, ended }));
        self.arm(key, Wake::Record, now.mono + PATIENCE);
    }

    /// Writes the record of a call that is over, once all is heard.
    pub(super) fn record_heard(&mut self, key: SlotKey, out: &mut Effects) {
        let anchor = self.slots.get(key).and_then(|slot| slot.anchor.as_deref());
        let is_whole = anchor.is_some_and(|anchor| anchor.has_closed() && anchor.accounts.is_whole());
        if is_whole {
            self.disarm(key, Wake::Record);
            self.record_as_it_is(key, out);
        }
    }

    /// The same, whatever is yet to be heard.
    pub(super) fn record_as_it_is(&mut self, key: SlotKey, out: &mut Effects) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(anchor) = slot.anchor.take_if(|anchor| anchor.accounts.last.is_some()) else { return };
        let mut accounts = anchor.accounts;
        let Some(last) = accounts.last.take() else { return };
        let Last { mut cdr, ended } = *last;
        for leg in &mut cdr.legs {
            let of = u8::try_from(leg.id).ok().and_then(|id| accounts.of(LegId(id)));
            leg.codec = of.and_then(|quality| quality.codec.clone());
            leg.rtp = of.map(|quality| Box::new(rtp_of(quality)));
        }
        self.write_record(cdr, ended, out);
    }

    fn write_record(&mut self, cdr: Box<Cdr>, mut ended: Ended, out: &mut Effects) {
        ended.hears(&cdr);
        self.calls -= 1;
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
        out.notices.push(Notice::Ended(cdr));
    }
}

fn rtp_of(quality: &Quality) -> Rtp {
    // Nobody reads more than a hundredth of a millisecond.
    let jitter_ms = (quality.jitter.as_secs_f64() * 100_000.0).round() / 100.0;
    Rtp {
        tx: quality.sent,
        rx: quality.received,
        lost: quality.lost,
        jitter_ms: jitter_ms as f32,
        mos: quality.mos.map(|mos| mos as f32),
    }
}
