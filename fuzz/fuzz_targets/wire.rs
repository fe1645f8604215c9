#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/wire.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::whatever_comes(bytes));
