//! `cargo xtask e2e --node`: the tests in `tests/node`, on a real kubelet and a real containerd.
//!
//! ```text
//! outside: needs ─► builds ─► cgroup ─► unshare ┐          ┌─► cgroup and mount points removed
//! inside:                                       └─► mounts, bridge ─► node, control plane ─► tests
//! ```
//!
//! Everything runs in mount, network and PID namespaces of its own. Their end ends every process, mount and link.

mod machine;
mod namespaces;
mod needs;
mod pause;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use self::machine::Machine;
use self::needs::Needs;
use crate::cluster::{Binaries, ControlPlane, Extent, Folder, Images, Node, Options, Settings, Version};
use crate::deploy::Helm;
use crate::interrupt::Interrupt;
use crate::process::Ended;
use crate::repository::Repository;
use crate::{Outcome, image, lock, process};

/// The arguments of `cargo xtask e2e --node`.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    /// The program to pack as the image; `None` builds the profile `dist`.
    pub(crate) program: Option<&'a Path>,
    /// Whether a machine that cannot run a node leaves the tests out.
    pub(crate) if_possible: bool,
    /// Arguments of the test binary.
    pub(crate) tests: &'a [OsString],
}

/// Builds everything, and runs the tests in namespaces of their own.
///
/// # Errors
/// The machine lacks something, a build fails, or the node does not start.
pub(crate) fn run(repository: &Repository, arguments: &Arguments<'_>) -> Result<Outcome> {
    let start = Instant::now();
    let interrupt = Interrupt::listen()?;
    let home = home(repository)?;
    let _lock = lock::take(&home.join("lock"), "another `cargo xtask e2e --node`", &interrupt)?;
    let needs = match needs(&home).context("the tests on a real node were left out") {
        Err(reason) if arguments.if_possible => {
            eprintln!("{reason:#}");
            return Ok(Outcome::Fine);
        }
        needs => needs?,
    };
    process::show_until(process::cargo(repository.root()).args(TEST).arg("--no-run"), &interrupt)?;
    let helm = Helm::find(repository)?;
    Binaries::find(repository, Extent::RealNode.programs(), &Version::default(), &interrupt)?;
    let program = match arguments.program {
        Some(program) => program.to_owned(),
        None => image::build_program(repository, &interrupt)?,
    };
    image::write_archive_of(&program, image::NAME, &archive(&home, image::NAME))?;
    let pause = pause::build(repository, &home)?;
    image::write_archive_of(&pause, pause::NAME, &archive(&home, pause::NAME))?;
    eprintln!("everything is built after {:.1} s", start.elapsed().as_secs_f64());

    let machine = Machine::prepare(&home)?;
    let mut inside = namespaces::command()?;
    inside.args(["e2e", "--node", "--inside"]).arg(&needs.plugins).arg("--").args(arguments.tests);
    inside.current_dir(repository.root()).env(HELM, helm.program());
    let ended = process::show_until(&mut inside, &interrupt);
    machine.restore()?;
    remove(&data(&home))?;
    let outcome = match ended {
        Ok(()) => Outcome::Fine,
        // The process inside has printed the reason.
        Err(error) => match error.downcast_ref::<Ended>().map(Ended::code) {
            Some(Some(1)) => Outcome::Found,
            _ => return Err(error),
        },
    };
    eprintln!("took {:.1} s in all", start.elapsed().as_secs_f64());
    Ok(outcome)
}

/// Checks that this machine can run a node.
///
/// # Errors
/// It lacks a program, or the system refuses cgroups, namespaces, mounts or network devices.
fn needs(home: &Path) -> Result<Needs> {
    let needs = needs::check()?;
    Machine::prepare(home)?.restore()?;
    namespaces::probe()?;
    Ok(needs)
}

/// Starts the node and the control plane, and runs the tests. [`run`] has prepared the namespaces.
///
/// # Errors
/// The node or the control plane does not start, or a signal arrived.
pub(crate) fn run_inside(repository: &Repository, plugins: &Path, tests: &[OsString]) -> Result<Outcome> {
    let start = Instant::now();
    let interrupt = Interrupt::listen()?;
    let home = home(repository)?;
    let folder = Folder::at(home.join("run"));
    // A run that was killed leaves containers, which the kubelet would look for.
    remove(&data(&home))?;
    namespaces::furnish(&home)?;
    let binaries = Binaries::find(repository, Extent::RealNode.programs(), &Version::default(), &interrupt)?;
    let plane = ControlPlane::start(&Options {
        repository,
        binaries: &binaries,
        folder,
        extent: Extent::RealNode,
        interrupt: &interrupt,
    })?;
    eprintln!("the control plane is up after {:.1} s", start.elapsed().as_secs_f64());
    let cgroup = machine::cgroup(&home);
    let settings = Settings { home: &data(&home), plugins, cgroup: &cgroup, interrupt: &interrupt };
    let images = Images {
        archives: [image::NAME, pause::NAME].map(|name| archive(&home, name)).into(),
        pause: image::reference(pause::NAME),
        stand_ins: vec![pause::example_image(repository)?],
    };
    let mut node = Node::start(&settings, &images, &plane.folder().logs())?;
    node.join(&plane, &binaries, &settings)?;
    eprintln!("the node is ready after {:.1} s", start.elapsed().as_secs_f64());

    let mut cargo = process::cargo(repository.root());
    // The namespace has no network, and everything is built.
    cargo.args(TEST).args(["--offline", "--"]).args(tests);
    cargo.envs(plane.kubectl().environment());
    cargo.env("WARDSET_E2E", "1").env("WARDSET_E2E_KUBECTL", &plane.kubectl().program);
    let outcome = match process::show_until(&mut cargo, &interrupt) {
        Ok(()) => Outcome::Fine,
        Err(error) if error.is::<Ended>() => {
            let logs = plane.folder().logs();
            eprintln!(
                "error: {error}\nhint: logs of the node and of the control plane: `{}`",
                logs.display()
            );
            Outcome::Found
        }
        Err(error) => return Err(error),
    };
    drop(node);
    Ok(outcome)
}

fn home(repository: &Repository) -> Result<PathBuf> {
    Ok(repository.target()?.join("node"))
}

/// The folder of containerd's data and of the configuration.
fn data(home: &Path) -> PathBuf {
    home.join("data")
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

fn archive(home: &Path, name: &str) -> PathBuf {
    home.join(format!("{name}.tar"))
}

/// The variable with the path of Helm, for the tests.
const HELM: &str = "WARDSET_E2E_HELM";

/// Cargo's arguments; `cargo test` leaves the target out otherwise.
const TEST: [&str; 5] = ["test", "--workspace", "--locked", "--test", "node"];
