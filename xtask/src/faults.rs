//! `cargo xtask faults`: faults under a load that counts every answer.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::repository::Repository;
use crate::{Outcome, bench, process};

/// The faults to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer and shorter, in a few minutes
    #[arg(long)]
    quick: bool,
    /// Only these faults; all by default
    #[arg(value_name = "FAULT")]
    only: Vec<String>,
}

/// Builds the programs, and runs the faults.
///
/// # Errors
///
/// The build fails, or a fault could not be caused.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let programs = bench::build(repository)?;
    let mut faults = Command::new(programs.join("faults"));
    faults.current_dir(repository.root()).arg("--json").arg(repository.target()?.join("faults.json"));
    if options.quick {
        faults.arg("--quick");
    }
    faults.args(&options.only);
    let status = faults
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", process::line(&faults)))?;
    match status.code() {
        Some(0) => Ok(Outcome::Fine),
        // A request was lost, and the program has said which.
        Some(1) => Ok(Outcome::Found),
        _ => bail!("{} failed ({status})", process::line(&faults)),
    }
}
