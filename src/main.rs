//! The `ascribe` command.

use ascribe::cli::Cli;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("ascribe: {error}");
        ExitCode::FAILURE
    })
}
