//! The command line: parses arguments, runs one command, returns its exit code.
//!
//! Exit code 0 means success, 1 a denied DaemonSet, 2 that the command could not run. Data goes to standard output,
//! messages to standard error.

mod args;
mod artifact_hub;
mod documents;
mod place;
mod policies;
mod policy_args;
mod policy_bench;
mod policy_build;
mod policy_compile;
mod policy_dev;
mod policy_inspect;
mod policy_new;
mod policy_pull;
mod policy_push;
mod policy_sign;
mod policy_test;
mod policy_verify;
mod project;
mod review;
mod serve;
mod setup;
mod signals;
mod source_args;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use wardset_core::text::one_line;
use wardset_runtime::ChildError;

use policy_args::PolicyCommand;

pub use args::Args;

/// Maximum length of a printed error, in bytes. Longer text is truncated.
const MAX_ERROR: usize = 8 << 10;

/// Time for which the end of a command waits for blocked system calls.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Parses the arguments, runs the command, and prints its error if it fails.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    if let args::Command::CompileModule(bounds) = args.command {
        return compile(&bounds);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("failed to start the threads")),
    };
    let result = runtime.block_on(async {
        match args.command {
            args::Command::Review(review) => review::run(review).await,
            args::Command::Place(place) => place::run(place).await,
            args::Command::Serve(serve) => serve::run(*serve).await,
            args::Command::Policies(policies) => policies::run(policies).await,
            args::Command::Policy(command) => match command {
                PolicyCommand::New(new) => policy_new::run(&new),
                PolicyCommand::Build(build) => policy_build::run(&build),
                PolicyCommand::Test(test) => policy_test::run(test).await,
                PolicyCommand::Dev(dev) => policy_dev::run(dev).await,
                PolicyCommand::Bench(bench) => policy_bench::run(bench).await,
                PolicyCommand::Inspect(inspect) => policy_inspect::run(inspect).await,
                PolicyCommand::Compile(compile) => policy_compile::run(compile).await,
                PolicyCommand::Push(push) => policy_push::run(push).await,
                PolicyCommand::Pull(pull) => policy_pull::run(pull).await,
                PolicyCommand::Sign(sign) => policy_sign::run(sign).await,
                PolicyCommand::Verify(verify) => policy_verify::run(verify).await,
            },
            args::Command::Crd => print_data(&crate::crd::yaml()).map(|()| ExitCode::SUCCESS),
            args::Command::Completions(completions) => documents::completions(&completions),
            args::Command::Man(man) => documents::man(&man),
            // Handled above, before the runtime starts.
            args::Command::CompileModule(_) => Ok(ExitCode::SUCCESS),
        }
    });
    // Ends the tasks and kills their child processes. A blocked system call must not keep an aborted server alive.
    runtime.shutdown_timeout(LAST_CALLS);
    result.unwrap_or_else(|error| failed(&error))
}

/// Compiles one module in a child process, for `Compiler::danger_in_children`. It starts no tokio threads, because
/// their memory would count towards the child's limit.
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

/// Prints data for programs, byte for byte. A closed pipe (`wardset … | head`) is not an error.
fn print_data(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    unless_closed(std::io::stdout().write_all(text.as_bytes()))
}

/// Prints text for people, in colour if the terminal supports it. A closed pipe (`wardset … | head`) is not an error.
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

/// Returns an error of `wardset-authoring`, which has its hint on a line of its own, in the form of this program: with its
/// causes, and on one line.
fn on_one_line(error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
    let text = error.to_string();
    let (problem, hint) =
        text.split_once("\nhint:").map_or((&*text, None), |(problem, hint)| (problem, Some(hint)));
    let mut line = problem.to_owned();
    let mut cause = error.source();
    while let Some(found) = cause {
        line.push_str(&format!(": {found}"));
        cause = found.source();
    }
    if let Some(hint) = hint {
        line.push_str(&format!("; hint:{hint}"));
    }
    anyhow::anyhow!(line)
}

/// Prints an error on one line. Names in it come from user input and may hold control characters.
fn say_error(error: &str) {
    say_line(&format!("error: {error}"));
}

/// Prints one line to standard error, without control characters.
fn say_line(text: &str) {
    say(&one_line(text, MAX_ERROR));
}

/// Prints a line to standard error.
fn say(text: &str) {
    use std::io::Write as _;
    // If standard error is closed, there is nowhere to report the failure.
    let _ = writeln!(anstream::stderr(), "{text}");
}
