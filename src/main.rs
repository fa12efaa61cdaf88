//! The `ascribe` command.

use ascribe::cli::Cli;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    ascribe::start_with_best_kernels();
    ascribe::silence_caught();
    Cli::parse().run().unwrap_or_else(|error| {
        // Where standard error is closed, the exit code alone says it.
        let _ = writeln!(std::io::stderr(), "ascribe: {}", error.line());
        ExitCode::FAILURE
    })
}
