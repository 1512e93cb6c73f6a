//! `cargo xtask packages`: the SDKs as packages for crates.io, npm and PyPI, each tried in a new project.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::process::Ended;
use crate::repository::Repository;
use crate::{Outcome, process};

/// The program that packs them. It is an example of the crate, as is the program of `cargo xtask languages`.
const PROGRAM: [&str; 7] =
    ["run", "--quiet", "--locked", "--package", "wardset-authoring", "--example", "packages"];

/// The options of `cargo xtask packages`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Languages whose SDK is packed: rust, ts, python [default: all]
    #[arg(value_name = "LANG")]
    languages: Vec<String>,
    /// Program that runs the cases of the new projects; without it, they are only built
    #[arg(long, value_name = "PATH")]
    wardset: Option<PathBuf>,
}

/// Packs the SDKs into `target/packages`, and prints a table.
///
/// # Errors
/// cargo does not start, or a signal arrived. If a package fails, the outcome says so.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let mut command = process::cargo(repository.root());
    command.args(PROGRAM).arg("--").args(&options.languages);
    if let Some(wardset) = &options.wardset {
        let path = std::path::absolute(wardset)
            .with_context(|| format!("failed to resolve `{}`", wardset.display()))?;
        command.arg("--wardset").arg(path);
    }
    match process::pass_until(&mut command, &Interrupt::listen()?) {
        Ok(()) => Ok(Outcome::Fine),
        // The table has the reason.
        Err(error) if error.is::<Ended>() => Ok(Outcome::Found),
        Err(error) => Err(error),
    }
}
