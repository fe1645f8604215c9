//! PURE. What both sides of a call said, on one tape: the caller left, the answering side right.
//!
//! A frame is one moment: a sample of each side. The tape runs by our clock from the moment it began, and a packet's
//! samples are laid where it arrived, less what it lasts. Within a stream the timestamps say where its packets lie to
//! each other, so that what is lost, late or not sent at all is silence of the right length. Where the stream lies on
//! the tape is what its earliest packets of the last second or two say: the network delays packets, it never hurries
//! them. A sender's clock that runs slow or fast is followed by one sample in a packet, which nobody hears.
//!
//! Cost: a packet of 20 ms is decoded straight onto the tape, 0.2 µs with a tape at 8 kHz and 0.7 at 16, its share of the
//! blocks that are handed on and blanked included (2 KB, or 4, once in 64 ms). No allocation but the ring, of 8 KB (16 KB
//! at 16 kHz), at the beginning.

use std::time::Duration;

use super::g711;
use super::rtp::Packet;
use crate::time::Instant;

/// How long the tape waits for what comes late: with a block, 128 to 192 ms behind now. Longer than any playout buffer of a
/// telephone waits, so that what the other party heard is on the tape.
const DELAY_MS: i64 = 128;

/// How much is handed on at once.
const BLOCK_MS: i64 = 64;

/// How much the tape holds before it is handed on: the delay, a block that is not full, and what a packet may bring
/// beyond now (`LONGEST_MS` less `LATEST_START_MS`).
const RING_MS: i64 = 256;

/// No more than this is taken of one packet: six times the usual, and more than RFC 3551 §4.2 lets a receiver expect of
/// anybody but those who ask for it.
const LONGEST_MS: i64 = 120;
const LONGEST_WIDE: usize = LONGEST_MS as usize * 16;

/// A packet's first sample is this old at most when it arrives: what is longer is laid later.
const LATEST_START_MS: i64 = 60;

/// A stream that lies so far from where its packets arrive is laid anew at once, not by one sample in a packet.
const OFF_MS: i64 = 60;

/// A packet that comes so much later than its place was not delayed by the network: its sender's timestamps stood still
/// or began anew.
const STALLED_MS: i64 = 1_000;

/// When packets have come too late for so long, it is no queue in the network that empties: they come by another way.
const DETOUR_MS: i64 = 200;

/// Timestamps of neighbours differ by no more than this.
const NEIGHBOURS_MS: i64 = 200;

/// After so long without packets the clocks have drifted apart, by 0.1 % of it or more.
const QUIET_MS: i64 = 2_000;

/// The earliest packet is looked for in the last one or two of these.
const WINDOW_MS: i64 = 1_000;

/// The stream is not moved for less than this: packets never come more evenly.
const SLACK_MS: i64 = 1;

/// A break of this length is silence on the tape already: there the stream may be moved at once.
const BREAK_MS: i64 = 20;

/// How many frames of the tape make a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// 8,000: both sides speak G.711.
    Narrow,
    /// 16,000: one of them speaks G.722.
    Wide,
}

impl Rate {
    pub const fn hz(self) -> u32 {
        match self {
            Rate::Narrow => 8_000,
            Rate::Wide => 16_000,
        }
    }

    /// Timestamps count 8,000 in a second with every codec of ours, G.722 too (RFC 3551 §4.5.2).
    const fn frames_of_ticks(self, ticks: i64) -> i64 {
        match self {
            Rate::Narrow => ticks,
            Rate::Wide => ticks * 2,
        }
    }

    const fn frames_of_ms(self, ms: i64) -> i64 {
        self.frames_of_ticks(ms * 8)
    }

    fn frames_of(self, time: Duration) -> i64 {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 16);
        self.frames_of_ticks(micros) * 8 / 1_000
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Left.
    Caller,
    /// Right.
    Answerer,
}

/// What a packet bears.
#[derive(Clone, Copy, Debug)]
pub enum Sound<'a> {
    Pcmu(&'a [u8]),
    Pcma(&'a [u8]),
    /// Samples at 8,000 in a second.
    Narrow(&'a [i16]),
    /// Samples at 16,000 in a second, as G.722 decodes to.
    Wide(&'a [i16]),
}

/// What could not be laid where it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that came after their place was handed on, or whose beginning did.
    pub late: u64,
    /// How often a stream was laid anew: a new source, timestamps that jumped, a long silence.
    pub laid_anew: u64,
    /// Frames that were put in or left out to follow a clock.
    pub moved: u64,
}

/// One call's tape.
#[derive(Debug)]
pub struct Tape {
    rate: Rate,
    began: Instant,
    /// The frames from `handed_on` on, each where its number falls in the ring.
    ring: Box<[[i16; 2]]>,
    /// How many frames were handed on.
    handed_on: i64,
    /// When the next block is ready.
    due: Instant,
    sides: [Option<Lay>; 2],
    tally: Tally,
}

/// Where a stream lies on the tape.
#[derive(Clone, Copy, Debug)]
struct Lay {
    ssrc: u32,
    /// The highest timestamp, and the frame that it is laid on.
    timestamp: u32,
    frame: i64,
    /// The frame behind the last that was laid.
    end: i64,
    /// When the last packet arrived.
    arrived: i64,
    /// By how many frames the earliest packet came late, in this window and in the one before; negative: early.
    earliest: Option<i64>,
    earliest_before: Option<i64>,
    /// When this window is over.
    window_until: i64,
    /// Since when all have come too late to be laid.
    late_since: Option<i64>,
}

impl Tape {
    pub fn new(now: Instant, rate: Rate) -> Tape {
        let frames = usize::try_from(rate.frames_of_ms(RING_MS)).unwrap_or(0);
        let mut tape = Tape {
            rate,
            began: now,
            ring: vec![[0; 2]; frames].into_boxed_slice(),
            handed_on: 0,
            due: now,
            sides: [None; 2],
            tally: Tally::default(),
        };
        tape.due = tape.ready_at();
        tape
    }

    pub const fn rate(&self) -> Rate {
        self.rate
    }

    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// When `turn` has something to do, if nothing comes before.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// How many frames were handed on.
    pub const fn frames(&self) -> u64 {
        self.handed_on.unsigned_abs()
    }

    /// A packet of audio came from that side. `out` is given the blocks that are ready, interleaved, in order.
    pub fn hear(
        &mut self,
        now: Instant,
        side: Side,
        packet: &Packet<'_>,
        sound: Sound<'_>,
        out: impl FnMut(&[i16]),
    ) {
        self.turn(now, out);
        let length = sound.frames(self.rate).min(self.rate.frames_of_ms(LONGEST_MS));
        if length == 0 {
            return;
        }
        let (from, repeats) = self.lay(now, side, packet, length);
        let skipped = self.handed_on.saturating_sub(from).clamp(0, length);
        if skipped > 0 {
            self.tally.late += 1;
        }
        let room = self.handed_on.saturating_add(self.ring.len() as i64).saturating_sub(from);
        let until = length.min(room);
        if skipped < until {
            self.write(side, from, (skipped, until), sound);
            if repeats && from > self.handed_on {
                let first = self.frame(from)[side as usize];
                self.frame(from - 1)[side as usize] = first;
            }
        }
    }

    /// Hands on what is ready.
    pub fn turn(&mut self, now: Instant, mut out: impl FnMut(&[i16])) {
        while now >= self.due {
            self.hand_on(self.rate.frames_of_ms(BLOCK_MS), &mut out);
            self.due = self.ready_at();
        }
    }

    /// The call is over: hands on all up to now.
    pub fn end(mut self, now: Instant, mut out: impl FnMut(&[i16])) -> Tally {
        self.turn(now, &mut out);
        let block = self.rate.frames_of_ms(BLOCK_MS);
        let mut left = self.frame_at(now) - self.handed_on;
        while left > 0 {
            self.hand_on(left.min(block), &mut out);
            left -= block;
        }
        self.tally
    }

    /// Blocks begin at multiples of their length, and so does the ring: none goes over its end.
    fn hand_on(&mut self, frames: i64, out: &mut impl FnMut(&[i16])) {
        let at = self.place(self.handed_on);
        let block = &mut self.ring[at..at + frames.unsigned_abs() as usize];
        out(block.as_flattened());
        block.fill([0; 2]);
        self.handed_on += frames;
    }

    fn ready_at(&self) -> Instant {
        let frames = self.handed_on + self.rate.frames_of_ms(BLOCK_MS + DELAY_MS);
        self.began + Duration::from_micros(frames.unsigned_abs() * 1_000_000 / u64::from(self.rate.hz()))
    }

    fn frame_at(&self, now: Instant) -> i64 {
        self.rate.frames_of(now.since(self.began))
    }

    /// Where a frame is in the ring, whose length is a power of two.
    fn place(&self, frame: i64) -> usize {
        frame.unsigned_abs() as usize & (self.ring.len() - 1)
    }

    fn frame(&mut self, frame: i64) -> &mut [i16; 2] {
        let at = self.place(frame);
        &mut self.ring[at]
    }

    /// The frame of a packet's first sample, and whether that is to stand on the frame before too, which the stream left
    /// free when it was moved.
    fn lay(&mut self, now: Instant, side: Side, packet: &Packet<'_>, length: i64) -> (i64, bool) {
        let rate = self.rate;
        let arrived = self.frame_at(now);
        // Where it would lie if nothing were known of its stream.
        let by_arrival = arrived - length.min(rate.frames_of_ms(LATEST_START_MS));
        let Some(mut lay) = self.sides[side as usize] else {
            return (self.lay_anew(side, packet, (arrived, by_arrival, length), None), false);
        };
        let later = packet.timestamp.wrapping_sub(lay.timestamp).cast_signed();
        let later = rate.frames_of_ticks(i64::from(later));
        let late = by_arrival - (lay.frame + later);
        if lay.ssrc != packet.ssrc || lay.lost_track(later, late, arrived, rate) {
            return (self.lay_anew(side, packet, (arrived, by_arrival, length), Some(lay.end)), false);
        }
        lay.look(late, arrived, rate);
        let mut by = 0;
        if later > 0 {
            let from = lay.frame + later;
            by = lay.step(from, rate);
            (lay.timestamp, lay.frame, lay.arrived) = (packet.timestamp, from + by, arrived);
            lay.end = lay.end.max(lay.frame + length);
            self.tally.moved += by.unsigned_abs();
        }
        let from = if later > 0 { lay.frame } else { lay.frame + later };
        self.sides[side as usize] = Some(lay);
        (from, by == 1)
    }

    /// The stream begins, or begins anew: it lies where this packet arrived, or directly behind what was laid last if
    /// that lies a little further.
    fn lay_anew(
        &mut self,
        side: Side,
        packet: &Packet<'_>,
        (arrived, by_arrival, length): (i64, i64, i64),
        end: Option<i64>,
    ) -> i64 {
        let overlaps = end.map_or(0, |end| end - by_arrival);
        let behind = (0..=self.rate.frames_of_ms(BREAK_MS)).contains(&overlaps);
        let frame = by_arrival + if behind { overlaps } else { 0 };
        self.tally.laid_anew += u64::from(end.is_some());
        self.sides[side as usize] = Some(Lay {
            ssrc: packet.ssrc,
            timestamp: packet.timestamp,
            frame,
            end: frame + length,
            arrived,
            earliest: Some(by_arrival - frame),
            earliest_before: None,
            window_until: arrived + self.rate.frames_of_ms(WINDOW_MS),
            late_since: None,
        });
        frame
    }

    /// Writes the samples of those numbers; the first of all would stand on frame `from`.
    fn write(&mut self, side: Side, from: i64, (skipped, until): (i64, i64), sound: Sound<'_>) {
        let (first, last) = (skipped.unsigned_abs() as usize, until.unsigned_abs() as usize);
        let at = self.place(from + skipped);
        let ring = &mut *self.ring;
        match (sound, self.rate) {
            (Sound::Pcmu(bytes), Rate::Narrow) => {
                lay_down(ring, at, side, bytes[first..last].iter().map(|byte| g711::decode_pcmu(*byte)));
            }
            (Sound::Pcma(bytes), Rate::Narrow) => {
                lay_down(ring, at, side, bytes[first..last].iter().map(|byte| g711::decode_pcma(*byte)));
            }
            (Sound::Narrow(samples), Rate::Narrow) | (Sound::Wide(samples), Rate::Wide) => {
                lay_down(ring, at, side, samples[first..last].iter().copied());
            }
            (Sound::Wide(samples), Rate::Narrow) => {
                let pairs = samples.chunks_exact(2).skip(first).take(last - first);
                lay_down(ring, at, side, pairs.map(|pair| between(pair[0], pair[1])));
            }
            (Sound::Pcmu(bytes), Rate::Wide) => {
                let wide = doubled(bytes.iter().map(|byte| g711::decode_pcmu(*byte)));
                lay_down(ring, at, side, wide[first..last].iter().copied());
            }
            (Sound::Pcma(bytes), Rate::Wide) => {
                let wide = doubled(bytes.iter().map(|byte| g711::decode_pcma(*byte)));
                lay_down(ring, at, side, wide[first..last].iter().copied());
            }
            (Sound::Narrow(samples), Rate::Wide) => {
                let wide = doubled(samples.iter().copied());
                lay_down(ring, at, side, wide[first..last].iter().copied());
            }
        }
    }
}

impl Lay {
    /// Whether a packet is of another stream than that which was laid, whatever its source says: `later` than the one with
    /// the highest timestamp, and so `late` for its place, in frames.
    fn lost_track(&mut self, later: i64, late: i64, arrived: i64, rate: Rate) -> bool {
        let is_neighbour = later.abs() <= rate.frames_of_ms(NEIGHBOURS_MS);
        if later < 0 && is_neighbour {
            // What comes after its own successors says nothing of where the stream is.
            return false;
        }
        let (off, delay) = (rate.frames_of_ms(OFF_MS), rate.frames_of_ms(DELAY_MS));
        let since = if late > delay { Some(*self.late_since.get_or_insert(arrived)) } else { None };
        self.late_since = since;
        let detour = since.is_some_and(|since| arrived - since > rate.frames_of_ms(DETOUR_MS));
        let quiet = arrived - self.arrived > rate.frames_of_ms(QUIET_MS);
        late < -off
            || late > rate.frames_of_ms(STALLED_MS)
            || (late > delay && !is_neighbour)
            || (late.abs() > rate.frames_of_ms(BREAK_MS) && quiet)
            || detour
    }

    /// A packet came so many frames later than its place.
    fn look(&mut self, late: i64, arrived: i64, rate: Rate) {
        let window = rate.frames_of_ms(WINDOW_MS);
        if arrived >= self.window_until {
            let is_fresh = arrived < self.window_until + window;
            self.earliest_before = self.earliest.filter(|_| is_fresh);
            (self.earliest, self.window_until) = (None, arrived + window);
        }
        self.earliest = Some(self.earliest.map_or(late, |earliest| earliest.min(late)));
    }

    /// By how many frames the stream is to be moved before the packet that would be laid on `from`. That it lies too late is
    /// proved by one packet that came too early; that it lies too early, by all of a whole window.
    fn step(&mut self, from: i64, rate: Rate) -> i64 {
        let error = match (self.earliest, self.earliest_before) {
            (Some(earliest), Some(before)) => earliest.min(before),
            (Some(earliest), None) => earliest.min(0),
            (None, Some(_) | None) => 0,
        };
        let is_break = from - self.end >= rate.frames_of_ms(BREAK_MS);
        let by = if error.abs() <= rate.frames_of_ms(SLACK_MS) {
            0
        } else if is_break || error > rate.frames_of_ms(OFF_MS) {
            error.max(self.end - from)
        } else {
            error.signum()
        };
        for earliest in [&mut self.earliest, &mut self.earliest_before].into_iter().flatten() {
            *earliest -= by;
        }
        by
    }
}

impl Sound<'_> {
    /// How many frames of a tape of that rate it lasts.
    fn frames(&self, rate: Rate) -> i64 {
        let (samples, is_wide) = match self {
            Sound::Pcmu(bytes) | Sound::Pcma(bytes) => (bytes.len(), false),
            Sound::Narrow(samples) => (samples.len(), false),
            Sound::Wide(samples) => (samples.len(), true),
        };
        let samples = i64::try_from(samples).unwrap_or(0);
        if is_wide { rate.frames_of_ticks(samples) / 2 } else { rate.frames_of_ticks(samples) }
    }
}

/// Lays samples of one side into the ring from a place on.
fn lay_down(ring: &mut [[i16; 2]], at: usize, side: Side, mut samples: impl Iterator<Item = i16>) {
    let (before, after) = ring.split_at_mut(at);
    let to_its_end = after.len();
    for (frame, sample) in after.iter_mut().zip(samples.by_ref().take(to_its_end)) {
        frame[side as usize] = sample;
    }
    for (frame, sample) in before.iter_mut().zip(samples) {
        frame[side as usize] = sample;
    }
}

/// The samples at twice the rate: each behind what lies between it and the one before.
fn doubled(samples: impl Iterator<Item = i16>) -> [i16; LONGEST_WIDE] {
    let mut wide = [0; LONGEST_WIDE];
    let mut before = None;
    for ([between_both, here], sample) in wide.as_chunks_mut().0.iter_mut().zip(samples) {
        *between_both = between(before.unwrap_or(sample), sample);
        *here = sample;
        before = Some(sample);
    }
    wide
}

const fn between(one: i16, other: i16) -> i16 {
    ((one as i32 + other as i32) / 2) as i16
}

#[cfg(test)]
mod tests;
