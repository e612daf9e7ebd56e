//! The `weir` program: an exit code around [`weir::cli::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::run(std::env::args_os())
}
