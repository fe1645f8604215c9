//! The edge: the pure shard core (`exchange`), and the threads, sockets and clocks that drive it.

mod aside;
pub mod booth;
pub mod brief;
pub mod capture;
pub mod clock;
pub mod core;
pub mod desk;
pub mod directory;
mod ease;
pub mod exchange;
pub mod held;
pub mod help;
pub mod hosts;
pub mod inbox;
pub mod lookup;
pub mod node;
pub mod precedence;
pub mod rate;
pub mod shard;
pub mod streamless;
pub mod tally;
pub mod tries;
pub mod trunks;
