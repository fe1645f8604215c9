//! The command line, thin: the library does the work.

use std::process::ExitCode;

fn main() -> ExitCode {
    strowger::cli::run(std::env::args_os()).into()
}
