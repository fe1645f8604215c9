//! A whole shard in a world where the bytes decide what happens: it never panics, the world's checkers hold, and
//! once there is peace everything ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strowger::sim::of_bytes;
use strowger::sim::served::served;

fuzz_target!(|bytes: &[u8]| of_bytes(&served(), bytes));
