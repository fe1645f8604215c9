//! The command line, thin: the library does the work.

use std::process::ExitCode;

/// A call makes some forty short-lived allocations; the system's allocator spent a seventh of its cost on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    strowger::cli::run(std::env::args_os()).into()
}
