//! Strowger: a real-time telephony call-routing engine.
//!
//! The map of the house. Imports point one way: `number ← config ← routing ← call`, `sip` beside them,
//! `engine` above all of these, `main` above `engine`.

/// HTTP, metrics, live calls, for operators.
pub mod admin;
/// PURE. What one call does: R1 to R14 of the call rules.
pub mod call;
/// The command line.
pub mod cli;
/// What an operator writes, and every mistake in it with its place.
pub mod config;
/// The edge: the shard (pure), and the threads and sockets that drive it.
pub mod engine;
/// The audio plane: RTP, codecs, prompts, recordings.
pub mod media;
/// An E.164 number in eight bytes.
pub mod number;
/// The table of numbers, and the plan that a call takes from it.
pub mod routing;
/// One whole node: config, store, shards and admin put together.
pub mod serve;
/// The world in virtual time.
pub mod sim;
/// PURE. Messages, transactions, dialogs.
pub mod sip;
/// Call records and journal on disk.
pub mod store;
/// The two clocks that the pure rooms are handed.
pub mod time;
/// Bytes in, bytes out.
pub mod transport;
/// `strowger try`: a carrier and phones of our own, for one call.
pub mod trial;
/// The file system, or one that fails when told to.
pub mod volume;
