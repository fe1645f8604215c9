//! The session establishment rate as RFC 7502 searches for it: the highest rate at which no call fails, found
//! by going up until one does, halving the gap, and proving the candidate with a longer run.

use std::time::Duration;

use crate::load::{Load, Offer};
use crate::server::Server;

/// Calls per second at the first try.
const FIRST: u32 = 500;

/// No more calls per second are offered; the load program itself ends not far above.
const HIGHEST: u32 = 64_000;

/// A call that has no 200 after so long has failed (RFC 7502: the establishment threshold time).
pub const THRESHOLD: Duration = Duration::from_secs(2);

/// The gap between the last good and the first bad rate is closed to a tenth; so far back goes a candidate
/// that its proof refutes.
const GRAIN: u32 = 10;

/// Between two runs, for what is still on its way.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls per second. `seconds` is the length of a try; the proof takes three times as long.
pub fn establishment_rate(server: &mut Server, seconds: u32) -> Result<u32, String> {
    let (mut good, mut rate) = (0, FIRST);
    let mut bad = loop {
        if !holds(server, rate, seconds)? {
            break rate;
        }
        good = rate;
        if rate >= HIGHEST {
            return Ok(good);
        }
        rate *= 2;
    };
    while bad - good > (good / GRAIN).max(1) {
        let middle = good.midpoint(bad);
        if holds(server, middle, seconds)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    while good > 0 && !holds(server, good, seconds * 3)? {
        good -= (good / GRAIN).max(1);
    }
    Ok(good)
}

/// Whether every call of one run is established in time and ends.
fn holds(server: &mut Server, rate: u32, seconds: u32) -> Result<bool, String> {
    let offer = Offer { rate, calls: rate * seconds, hold: Duration::ZERO, patience: THRESHOLD };
    let outcome = {
        let load = Load::new(server.ports).map_err(|e| e.to_string())?;
        load.offer(offer).map_err(|e| e.to_string())?
    };
    let failed = outcome.failed();
    crate::note(&format!("  {rate}/s: {failed} of {} calls failed", offer.calls));
    if failed > 0 {
        server.restart()?;
    }
    std::thread::sleep(PAUSE);
    Ok(failed == 0)
}
