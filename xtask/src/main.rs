//! `cargo xtask`: the one list of tasks of this repository. CI runs the same tasks as people do.
//!
//! Data goes to stdout, words go to stderr. The exit code is 0 when all is well, 1 when a check found something,
//! and 2 when a task could not do its work.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool: data on stdout, words on stderr"
)]

mod archive;
mod bench;
mod ci;
mod cli;
mod cluster;
mod dependencies;
mod deploy;
mod digests;
mod e2e;
mod faults;
mod fuzz;
mod guest;
mod hostile;
mod image;
mod interrupt;
mod languages;
mod lock;
mod message;
mod node;
mod packages;
mod policies;
mod process;
mod prose;
mod registry;
mod release;
mod replace;
mod repository;
mod toolchain;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(failed) = fuzz::compiler::stand_in() {
        return failed;
    }
    match cli::run() {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", message::of(&error));
            ExitCode::from(2)
        }
    }
}

/// How a task ended that could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// There is nothing to complain about.
    Fine,
    /// A check found something, and has reported it.
    Found,
}
