//! What is heard in a world whose audio comes through us.

use std::time::Duration;

use super::World;
use crate::sim::booth::Word;
use crate::time::Instant;

impl World {
    /// What is drawn of the operator's from now on whispers, asks, records and takes messages.
    pub fn speaks(&mut self) {
        self.speaks = true;
    }

    /// Lets so much time pass, in every second of which some whose audio comes through us are heard to do something.
    pub fn run_aloud(&mut self, lasting: Duration) {
        let until = self.now + lasting;
        while self.now < until && self.broken.is_none() {
            let pause = self.dice.millis(1..1_000);
            self.run(pause);
            let ports: Vec<u16> =
                self.cores.iter().flat_map(|core| core.listening()).map(|side| side.port).collect();
            for _ in 0..ports.len().div_ceil(4) {
                let (port, word) = (*self.dice.pick(&ports), Word::draw(&mut self.dice));
                self.hears(port, word);
            }
        }
    }

    /// What is heard of the side whose audio comes to that port of ours.
    pub fn hears(&mut self, port: u16, word: Word) {
        for shard in 0..self.cores.len() {
            let mut effects = std::mem::take(&mut self.effects);
            let now = self.clock();
            self.cores[shard].hears(now, port, word, &mut effects);
            self.turn_ends(shard, effects);
        }
    }

    /// The port of whom the side hears whose audio comes to this one.
    pub fn heard_at(&self, port: u16) -> Option<u16> {
        self.cores.iter().find_map(|core| core.heard_at(port))
    }

    /// What is written down: the ports of who is on the left and on the right.
    pub fn written(&self) -> Vec<(u16, Option<u16>)> {
        self.cores.iter().flat_map(|core| core.written()).collect()
    }

    /// When something was begun to be said there, and how long it is.
    pub fn said_to(&self, port: u16) -> Vec<(Instant, Duration)> {
        self.cores.iter().flat_map(|core| core.said_to(port)).collect()
    }

    /// The keys that we pressed, each with the port of who hears it.
    pub fn pressed(&self) -> Vec<(u16, char)> {
        self.cores.iter().flat_map(|core| core.pressed()).collect()
    }

    /// Whether tones in the audio that comes to that port are keys.
    pub fn awaits_keys(&self, port: u16) -> bool {
        self.cores.iter().any(|core| core.awaits_keys(port))
    }
}
