//! The command line: arguments in, exit code out. One exit point.
//!
//! Exit 0: fine. 1: a DaemonSet was denied. 2: could not run. Data goes to standard output, words to standard error.

mod args;
mod policies;
mod review;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use wardset_core::text::one_line;
use wardset_runtime::ChildError;

pub use args::Args;

/// The most bytes of an error.
const MAX_ERROR: usize = 8 << 10;

/// Parses the arguments, runs the command, and says what went wrong.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    if let args::Command::CompileModule(bounds) = args.command {
        return compile(&bounds);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("the threads could not be started")),
    };
    let result = runtime.block_on(async {
        match args.command {
            args::Command::Review(review) => review::run(review).await,
            args::Command::Serve(serve) => serve::run(*serve).await,
            args::Command::Policies(policies) => policies::run(policies).await,
            args::Command::Crd => print_data(&crate::crd::yaml()).map(|()| ExitCode::SUCCESS),
            // Done above.
            args::Command::CompileModule(_) => Ok(ExitCode::SUCCESS),
        }
    });
    result.unwrap_or_else(|error| failed(&error))
}

/// The other end of `Compiler::danger_in_children`. Without the threads that a command has: they would be bounded, too.
fn compile(bounds: &args::CompileModule) -> ExitCode {
    match wardset_runtime::compile_as_child(bounds.memory, bounds.seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if matches!(error, ChildError::Module(_)) { 1 } else { 2 };
            say(&format!("{:#}", anyhow::Error::new(error)));
            ExitCode::from(code)
        }
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say_error(&format!("{error:#}"));
    ExitCode::from(2)
}

/// Prints data for programs, byte for byte. A closed pipe (`wardset … | head`) is no error.
fn print_data(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    unless_closed(std::io::stdout().write_all(text.as_bytes()))
}

/// Prints words for people, coloured where the terminal wants it. A closed pipe (`wardset … | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    unless_closed(anstream::stdout().write_all(text.as_bytes()))
}

fn unless_closed(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints an error in one line, whatever strangers chose for the names in it.
fn say_error(error: &str) {
    say(&format!("error: {}", one_line(error, MAX_ERROR)));
}

/// Prints words.
fn say(text: &str) {
    use std::io::Write as _;
    // Standard error may be closed; there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}
