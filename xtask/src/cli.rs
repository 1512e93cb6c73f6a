//! The command line.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repository::Repository;
use crate::{Outcome, ci, policies};

/// Reads the command line and does what it says.
pub(crate) fn run() -> Result<Outcome> {
    let cli = Cli::parse();
    let repository = Repository::find()?;
    match cli.task {
        Task::Policies(options) => policies::run(&repository, &options),
        Task::Ci => ci::run(&repository),
    }
}

/// The one list of tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the built-in policies into `policies/built`, or check what is there
    Policies(policies::Options),
    /// Everything that must hold before a change lands, in order; stops at the first failure
    Ci,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refuses_no_build_without_check() {
        let error = Cli::try_parse_from(["xtask", "policies", "--no-build"]).unwrap_err().to_string();
        assert!(error.contains("--check"), "{error}");
    }
}
