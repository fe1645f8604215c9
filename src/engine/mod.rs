//! The edge: the pure shard core (`exchange`), and the threads, sockets and clocks that drive it.

pub mod exchange;
