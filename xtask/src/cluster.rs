//! `cargo xtask cluster`: a real control plane to try things out on, without containers or root.
//!
//! ```text
//! binaries ──────────────────┐
//! certificates ─► kubeconfig ─┴─► commands ─┬─► control_plane ─┬─► component: one process each
//!                                    nodes ─┘                  └─► state: what another process finds it by
//! ```
//!
//! All that it makes is in the target directory: nothing else on the machine changes, and no two checkouts meet.

mod binaries;
mod certificates;
mod commands;
mod component;
mod control_plane;
mod kubeconfig;
mod kubectl;
mod kubelet;
mod network;
mod nodes;
mod options;
mod state;
mod version;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Subcommand;

pub(crate) use self::binaries::Binaries;
pub(crate) use self::control_plane::ControlPlane;
pub(crate) use self::kubelet::{Images, Node, Settings};
pub(crate) use self::network::{ADDRESS, BRIDGE, SERVICE};
pub(crate) use self::nodes::Nodes;
pub(crate) use self::options::{Extent, Options};
pub(crate) use self::state::Folder;
pub(crate) use self::version::Version;

use self::binaries::Program;
use self::control_plane::{health_path, ready_nodes};
use self::state::State;
use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::{Outcome, lock};

/// The command for the cluster of this checkout.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Start it, and leave it running; prints the line that points kubectl to it
    Up {
        #[command(flatten)]
        version: Version,
        #[command(flatten)]
        nodes: Nodes,
    },
    /// End it and throw its data away
    Down,
    /// Show its processes and nodes; exits with 1 unless all are well
    Status,
}

/// Does it.
///
/// # Errors
/// It cannot be done.
pub(crate) fn run(repository: &Repository, task: &Task) -> Result<Outcome> {
    let home = repository.target()?.join("cluster");
    let folder = Folder::at(home.join("run"));
    let lock = home.join("lock");
    match task {
        Task::Up { version, nodes } => up(repository, folder, version, *nodes, &lock),
        Task::Down => down(&folder, &lock),
        Task::Status => status(&folder),
    }
}

fn up(
    repository: &Repository,
    folder: Folder,
    version: &Version,
    nodes: Nodes,
    lock: &Path,
) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let extent = Extent::Whole(nodes);
    let binaries = Binaries::find(repository, extent.programs(), version, &interrupt)?;
    let _lock = lock::take(lock, WHOSE, &interrupt)?;
    match folder.state()? {
        Some(state) if state.ready => {
            let alive = state.processes.iter().filter(|record| record.is_alive()).count();
            if alive == state.processes.len() {
                if version.kubernetes.is_some() && state.kubectl.program != binaries.path(Program::Kubectl) {
                    return Err(anyhow!(
                        "another version of Kubernetes is up in this copy\n\
                         hint: `cargo xtask cluster down` ends it"
                    ));
                }
                eprintln!("the cluster is up already");
                tell(&state);
                return Ok(Outcome::Fine);
            }
            if let Some(dead) = state.processes.iter().find(|record| !record.is_alive())
                && alive > 0
            {
                return Err(anyhow!(
                    "`{}` of this cluster has ended{}\nhint: `cargo xtask cluster down` ends the rest",
                    dead.name,
                    dead.log_end()
                ));
            }
            // All of them are gone, as after a restart of the machine.
        }
        _ => {}
    }
    let start = Instant::now();
    eprintln!("starting the control plane");
    let options =
        Options { repository, binaries: &binaries, folder: folder.clone(), extent, interrupt: &interrupt };
    let plane = ControlPlane::start(&options)?;
    plane.detach();
    eprintln!("up with {} nodes after {:.1} s", nodes.count(), start.elapsed().as_secs_f64());
    if let Some(state) = folder.state()? {
        tell(&state);
    }
    Ok(Outcome::Fine)
}

fn down(folder: &Folder, lock: &Path) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let _lock = lock::take(lock, WHOSE, &interrupt)?;
    if folder.state()?.is_none() {
        eprintln!("no cluster is up");
        return Ok(Outcome::Fine);
    }
    let alive = folder.end()?;
    eprintln!("ended {alive} processes and removed `{}`", folder.path().display());
    Ok(Outcome::Fine)
}

fn status(folder: &Folder) -> Result<Outcome> {
    let Some(state) = folder.state()? else {
        println!("no cluster is up");
        return Ok(Outcome::Found);
    };
    let mut well = state.ready;
    if !state.ready {
        println!("the start has not come to its end");
    }
    for record in &state.processes {
        let health = if !record.is_alive() {
            "ended"
        } else if state.kubectl.check(record.port, health_path(&record.name)).is_err() {
            "not ready"
        } else {
            "ready"
        };
        well &= health == "ready";
        println!(
            "{:<24} {health:<10} process {:<8} https://127.0.0.1:{}",
            record.name, record.pid, record.port
        );
    }
    match state.kubectl.get(&["nodes"]) {
        Ok(nodes) => {
            let all = nodes["items"].as_array().map_or(0, Vec::len);
            let ready = ready_nodes(&nodes);
            println!("nodes: {ready} of {all} ready");
            well &= ready == all;
        }
        Err(_) => println!("nodes: unknown, the API server does not answer"),
    }
    println!("logs: {}", folder.logs().display());
    tell(&state);
    Ok(if well { Outcome::Fine } else { Outcome::Found })
}

/// The next steps: on stdout for a shell to evaluate, the rest as words.
fn tell(state: &State) {
    println!("export KUBECONFIG={}", quoted(&state.kubectl.kubeconfig));
    eprintln!("kubectl: {}", quoted(&state.kubectl.program));
    eprintln!("hint: `cargo xtask cluster status` shows how it is, `cargo xtask cluster down` ends it");
}

/// The path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.chars().all(|char| char.is_ascii_alphanumeric() || "/._-+@%".contains(char)) {
        path.into_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Who else can have the lock.
const WHOSE: &str = "another `cargo xtask cluster`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-c_1.2/kubeconfig")), "/a/b-c_1.2/kubeconfig");
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
