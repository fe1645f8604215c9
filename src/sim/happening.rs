//! What can happen in a world, as one enum. Seeds, property tests and fuzzers draw the same ones in the same
//! way: from a seed's numbers or from the bytes at hand.

use std::time::Duration;

use super::dice::Dice;
use super::forge::Forgery;
use super::manner::{Act, CallerHabit};
use super::wire::{Fate, Way};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A caller dials the number at that place.
    Dials { number: usize, habit: CallerHabit },
    /// An end does something in one of its calls. Places count round.
    Acts { host: usize, call: usize, act: Act },
    /// The fate of the next datagram to or from an end.
    Next { way: Way, host: usize, fate: Fate },
    /// An end is cut off for so long.
    Cut { host: usize, lasting: Duration },
    /// A datagram of the last seconds arrives once more.
    Replayed { back: usize },
    /// The same with one byte changed.
    Mangled { back: usize, at: usize, byte: u8 },
    /// Bytes from somewhere.
    Stray { host: usize, bytes: Vec<u8> },
    /// A message of the last seconds, either way, that somebody has rewritten, comes from any end.
    Forged { host: usize, back: usize, forgeries: Vec<Forgery> },
    /// The kernel says that an end's port is closed, whatever became of what was sent there.
    Refused { host: usize },
    /// The operator hangs up one of the calls in progress.
    HungUp { call: usize },
    /// The operator publishes another configuration.
    Published,
    /// Time passes.
    Passes(Duration),
}

/// No more bytes of a fuzzer in one datagram than this.
const STRAY_BYTES: usize = 2_000;

impl Happening {
    /// Draws one. A fuzzer's bytes and a seed lead through the same choices.
    pub fn draw(dice: &mut Dice) -> Happening {
        match dice.below(24) {
            0..=3 => {
                Happening::Dials { number: dice.below(16) as usize, habit: *dice.pick(&CallerHabit::ALL) }
            }
            4..=7 => Happening::Acts {
                host: dice.below(256) as usize,
                call: dice.below(256) as usize,
                act: draw_act(dice),
            },
            8 => Happening::Next {
                way: if dice.chance(500) { Way::In } else { Way::Out },
                host: dice.below(256) as usize,
                fate: match dice.below(3) {
                    0 => Fate::Lost,
                    1 => Fate::Twice,
                    _ => Fate::Late(dice.millis(0..4_000)),
                },
            },
            9 => Happening::Cut { host: dice.below(256) as usize, lasting: dice.millis(0..40_000) },
            10 => Happening::Replayed { back: dice.below(256) as usize },
            11 => Happening::Mangled {
                back: dice.below(256) as usize,
                at: dice.below(2_048) as usize,
                byte: dice.below(256) as u8,
            },
            12 => Happening::Stray { host: dice.below(256) as usize, bytes: dice.bytes(STRAY_BYTES) },
            13 => Happening::Published,
            14..=18 => Happening::Forged {
                host: dice.below(256) as usize,
                back: dice.below(256) as usize,
                forgeries: (0..dice.within(1..4)).map(|_| Forgery::draw(dice)).collect(),
            },
            19 => Happening::Refused { host: dice.below(256) as usize },
            20 => Happening::HungUp { call: dice.below(256) as usize },
            _ => Happening::Passes(match dice.below(4) {
                0 => Duration::ZERO,
                1 => dice.millis(0..100),
                2 => dice.millis(0..2_000),
                _ => dice.millis(0..40_000),
            }),
        }
    }

    /// Whether somebody who is none of the call's ends speaks, or the network lies: what the wire shows then is
    /// not what the ends did.
    pub fn is_foreign(&self) -> bool {
        match self {
            Happening::Mangled { .. }
            | Happening::Stray { .. }
            | Happening::Forged { .. }
            | Happening::Refused { .. } => true,
            Happening::Dials { .. }
            | Happening::Acts { .. }
            | Happening::Next { .. }
            | Happening::Cut { .. }
            | Happening::Replayed { .. }
            | Happening::HungUp { .. }
            | Happening::Published
            | Happening::Passes(_) => false,
        }
    }

    /// All that a fuzzer's bytes hold, at most `most`.
    pub fn decode(bytes: &[u8], most: usize) -> Vec<Happening> {
        let mut dice = Dice::from_bytes(bytes);
        let mut all = Vec::new();
        while !dice.is_spent() && all.len() < most {
            all.push(Happening::draw(&mut dice));
        }
        all
    }
}

fn draw_act(dice: &mut Dice) -> Act {
    match dice.below(22) {
        0 | 1 => Act::Rings,
        2 => Act::RingsWithMedia,
        3 => Act::RingsReliably,
        4..=6 => Act::Answers,
        7 => Act::AnswersTwice,
        8 => Act::Refuses(*dice.pick(&[404, 480, 486, 500, 503, 600, 603])),
        9 => Act::Redirects("sip:+13125550199@127.0.3.1:5060".to_owned()),
        10 => Act::Cancels,
        11 => Act::HangsUp,
        12 => Act::HangsUpEarly,
        13 => Act::Holds,
        14 => Act::Resumes,
        15 => Act::AsksForOffer,
        16 => Act::Refreshes,
        17 => Act::UpdatesMedia,
        18 => Act::Informs,
        19 => {
            let to = ["sip:bob@127.0.2.2", "sip:+13125550199@127.0.0.1", "tel:+19005550100", "sip:x@y"];
            Act::Refers((*dice.pick(&to)).to_owned())
        }
        20 => Act::RefersToOther,
        _ => Act::Dies,
    }
}
