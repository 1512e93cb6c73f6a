//! `cargo xtask e2e`: the tests in `tests/e2e`, against a control plane of their own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::cluster::{Binaries, ControlPlane, Extent, Folder, Nodes, Options, Version};
use crate::interrupt::Interrupt;
use crate::process::Ended;
use crate::repository::Repository;
use crate::{Outcome, lock, node, process};

/// The arguments to pass on.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    version: Version,
    /// Run the tests in `tests/node` instead, on a real kubelet and containerd; needs root
    #[arg(long, conflicts_with = "kubernetes")]
    node: bool,
    /// With --node: pack this program as the image, instead of a new build of the profile `dist`
    #[arg(long, value_name = "PATH", requires = "node")]
    program: Option<PathBuf>,
    /// With --node: succeed without a test if this machine cannot run a node, and say why
    #[arg(long, requires = "node")]
    if_possible: bool,
    /// With --node: this process is in the namespaces already; the value is the folder of the network plugins
    #[arg(long, hide = true, value_name = "PLUGINS", requires = "node")]
    inside: Option<PathBuf>,
    /// Arguments of the test binary, such as a part of a test's name
    #[arg(last = true, value_name = "ARGUMENT")]
    tests: Vec<OsString>,
}

/// Builds the tested programs, starts a control plane, runs the tests, and ends everything.
///
/// # Errors
/// The build fails, the control plane does not start, or a signal arrived. Everything ends then, too.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    if let Some(plugins) = &arguments.inside {
        return node::run_inside(repository, plugins, &arguments.tests);
    }
    if arguments.node {
        let Arguments { program, if_possible, tests, .. } = arguments;
        let (program, if_possible) = (program.as_deref(), *if_possible);
        return node::run(repository, &node::Arguments { program, if_possible, tests });
    }
    let start = Instant::now();
    let interrupt = Interrupt::listen()?;
    let home = repository.target()?.join("e2e");
    let _lock = lock::take(&home.join("lock"), "another `cargo xtask e2e`", &interrupt)?;
    // A mistyped version and compile errors come first.
    let kubernetes = arguments.version.select(repository)?;
    process::show_until(process::cargo(repository.root()).args(TEST).arg("--no-run"), &interrupt)?;
    let extent = Extent::Whole(Nodes::default());
    let binaries = Binaries::find(repository, extent.programs(), &arguments.version, &interrupt)?;
    eprintln!("starting the control plane");
    let started = Instant::now();
    let plane = ControlPlane::start(&Options {
        repository,
        binaries: &binaries,
        folder: Folder::at(home.join("run")),
        extent,
        interrupt: &interrupt,
    })?;
    eprintln!("up after {:.1} s", started.elapsed().as_secs_f64());

    let mut tests = process::cargo(repository.root());
    tests.args(TEST).arg("--").args(&arguments.tests);
    tests.envs(plane.kubectl().environment());
    tests.env("WARDSET_E2E", "1");
    tests.env("WARDSET_E2E_KUBERNETES", kubernetes.to_string());
    tests.env("WARDSET_E2E_KUBECTL", &plane.kubectl().program);
    tests.env("WARDSET_E2E_CLUSTER", plane.folder().path());
    if let Some(process) = plane.api_server() {
        tests.env("WARDSET_E2E_APISERVER_PID", process.pid.to_string());
    }
    let outcome = match process::show_until(&mut tests, &interrupt) {
        Ok(()) => Outcome::Fine,
        Err(error) if error.is::<Ended>() => {
            eprintln!(
                "error: {error}\nhint: logs of the control plane: `{}`",
                plane.folder().logs().display()
            );
            Outcome::Found
        }
        Err(error) => return Err(error),
    };
    drop(plane);
    eprintln!("took {:.1} s in all", start.elapsed().as_secs_f64());
    Ok(outcome)
}

/// Cargo's arguments; `cargo test` leaves the target out otherwise.
const TEST: [&str; 4] = ["test", "--workspace", "--test", "e2e"];
