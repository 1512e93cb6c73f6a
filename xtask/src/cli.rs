//! The command line.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::repository::Repository;
use crate::{
    Outcome, bench, ci, cluster, dependencies, deploy, e2e, faults, fuzz, hostile, image, languages,
    packages, policies, prose, registry, release,
};

/// Reads the command line and runs the task.
pub(crate) fn run() -> Result<Outcome> {
    let cli = Cli::parse();
    let repository = Repository::find()?;
    match cli.task {
        Task::Policies(options) => policies::run(&repository, &options),
        Task::Deploy(options) => deploy::run(&repository, &options),
        Task::Dependencies { task } => dependencies::run(&repository, &task, image::epoch()?),
        Task::Component { core, out } => component(&core, &out),
        Task::Cluster { task } => cluster::run(&repository, &task),
        Task::E2e(arguments) => e2e::run(&repository, &arguments),
        Task::Bench(options) => bench::run(&repository, &options),
        Task::Faults(options) => faults::run(&repository, &options),
        Task::Hostile => hostile::run(&repository),
        Task::Image(options) => image::run(&repository, &options),
        Task::Languages(options) => languages::run(&repository, &options),
        Task::Packages(options) => packages::run(&repository, &options),
        Task::Release(options) => release::run(&repository, &options),
        Task::Registry(options) => registry::run(&repository, &options),
        Task::Fuzz(options) => fuzz::run(&repository, &options),
        Task::Prose(options) => prose::run(&repository, &options),
        Task::Ci => ci::run(&repository),
    }
}

fn component(core: &Path, out: &Path) -> Result<Outcome> {
    let bytes = fs::read(core).with_context(|| format!("cannot read `{}`", core.display()))?;
    let component = wardset_authoring::component::encode(&bytes)
        .with_context(|| format!("`{}` is no core module with the exports of a policy", core.display()))?;
    fs::write(out, component).with_context(|| format!("cannot write `{}`", out.display()))?;
    Ok(Outcome::Fine)
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
    /// Build the built-in policies into `policies/built`, or check the committed ones
    Policies(policies::Options),
    /// Make the manifests in `deploy` of the chart and the default policies, or check them; needs Go, which builds Helm
    Deploy(deploy::Options),
    /// The crates of other people in the program: their rules, their licences, and a list
    Dependencies {
        #[command(subcommand)]
        task: dependencies::Task,
    },
    /// Make a component of a policy's core module
    Component {
        /// Output of `cargo build --target wasm32-unknown-unknown`
        core: PathBuf,
        /// File for the component
        out: PathBuf,
    },
    /// A real control plane to try things out on, without containers or root
    Cluster {
        #[command(subcommand)]
        task: cluster::Task,
    },
    /// Run the tests in `tests/e2e` against a control plane of their own
    E2e(e2e::Arguments),
    /// Measure the cost of a review against a webhook that does nothing; the last line is the ratio
    Bench(bench::Options),
    /// Break the environment of a server while a load counts every answer; fails if one is lost
    Faults(faults::Options),
    /// Run the hostile guests, and print the mechanism that contains each, and its milliseconds
    Hostile,
    /// Make the container image of the program, as a folder and as an archive, without a container engine
    Image(image::Options),
    /// Make all files of a release in `target/release-files`: program, image, chart, manifests, licences, checksums
    Release(release::Options),
    /// Build the examples of each language with its own tools, run their cases, and print a table
    Languages(languages::Options),
    /// Pack the SDKs for crates.io, npm and PyPI, and build a policy with each packed file
    Packages(packages::Options),
    /// Push modules to a real registry and pull them, over TLS and with a login; needs Debian's `docker-registry`
    Registry(registry::Options),
    /// Run the fuzz targets in `fuzz`, one after the other; needs a C++ compiler
    Fuzz(fuzz::Options),
    /// Count signs of hard English in comments and documents; fails if there are too many
    Prose(prose::Options),
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
        for line in [["xtask", "policies", "--no-build"], ["xtask", "deploy", "--no-render"]] {
            let error = Cli::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains("--check"), "{error}");
        }
    }
}
