//! The world in virtual time: carriers, phones, operators, a bad network, one clock, one seed, and the real
//! core in the middle. It owns no rule: it plays the ends and watches the wire. Whatever an end or a checker
//! knows of SIP is written here a second time, so that no bug is shared with `sip`.
//!
//! The bad network is our own (`wire`): the room belongs to the library, for `replay` and the fuzzers.

pub mod booth;
pub mod caller;
pub mod check;
pub mod core;
pub mod dice;
pub mod forge;
pub mod happening;
pub mod host;
pub mod layout;
pub mod line;
pub mod manner;
pub mod message;
pub mod phone;
pub mod queue;
pub mod run;
pub mod served;
pub mod stack;
pub mod story;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
pub mod trace;
pub mod wire;
pub mod world;

pub use manner::{CallerHabit, Habit};
pub use run::{for_each_seed, of_bytes};
pub use world::{World, minutes, seconds};
