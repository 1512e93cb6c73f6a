//! `cargo xtask ci`: everything that must hold before a change lands.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Outcome;
use crate::process;
use crate::repository::Repository;

/// How the README says to test.
const TEST: &[&str] = &["test", "--workspace", "--locked"];

/// The steps, in order: those that fail most often or tell most come first.
const STEPS: &[Step] = &[
    step("tests", Place::Root, TEST),
    step("format", Place::Root, &["fmt", "--all", "--check"]),
    step("format of the policies", Place::Policies, &["fmt", "--all", "--check"]),
    step("format of the fuzz targets", Place::Fuzz, &["fmt", "--all", "--check"]),
    step("plain English", Place::Root, &["xtask", "prose"]),
    step(
        "lints",
        Place::Root,
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    ),
    // No part of `--all-targets`, since `cargo test` leaves them out.
    step(
        "lints of the tests on a control plane and on a node",
        Place::Root,
        &["clippy", "--workspace", "--test", "e2e", "--test", "node", "--locked", "--", "-D", "warnings"],
    ),
    step(
        "lints of the policies",
        Place::Policies,
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    ),
    // There is no example program. If asked for them, cargo uses the features of the tests, which are checked
    // already.
    Step {
        env: &[("RUSTDOCFLAGS", "-D warnings")],
        ..step(
            "documentation",
            Place::Root,
            &["doc", "--workspace", "--no-deps", "--locked", "--lib", "--bins", "--examples"],
        )
    },
    step("tests of the policies", Place::Policies, TEST),
    step("committed modules", Place::Root, &["xtask", "policies", "--check"]),
    step("manifests", Place::Root, &["xtask", "deploy", "--check"]),
    // Everything but the builds of the profile `dist`. The tests have built this program.
    step("files of a release", Place::Root, &["xtask", "release", "--program", "target/debug/wardset"]),
    step("a real registry", Place::Root, &["xtask", "registry"]),
    step("instructions of a review", Place::Root, &["xtask", "bench", "--instructions"]),
    step("faults", Place::Root, &["xtask", "faults", "--quick"]),
    // A smoke run: give it more time to search deeper.
    step("fuzz targets", Place::Root, &["xtask", "fuzz", "--seconds", "5", "--without-sandbox"]),
    step("the real control plane", Place::Root, &["xtask", "e2e"]),
    step(
        "a real node, if the machine can run one",
        Place::Root,
        &[
            "xtask",
            "e2e",
            "--node",
            "--if-possible",
            "--program",
            "target/debug/wardset",
            "--",
            "--test-threads=1",
            "--nocapture",
        ],
    ),
    // The tests have built this program.
    step(
        "policies in other languages",
        Place::Root,
        &[
            "xtask",
            "languages",
            "rust",
            "c",
            "go",
            "ts",
            "python",
            "--setup",
            "--wardset",
            "target/debug/wardset",
        ],
    ),
];

/// One command of cargo.
#[derive(Debug)]
struct Step {
    name: &'static str,
    place: Place,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// The workspace that a step is about.
#[derive(Debug, Clone, Copy)]
enum Place {
    Root,
    Policies,
    Fuzz,
}

const fn step(name: &'static str, place: Place, args: &'static [&'static str]) -> Step {
    Step { name, place, args, env: &[] }
}

/// Runs the steps until one fails.
pub(crate) fn run(repository: &Repository) -> Result<Outcome> {
    let policies_target = repository.policies_target()?;
    let mut times = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        let mut command = step.command(repository, &policies_target);
        let place = match step.place {
            Place::Root => "",
            Place::Policies => " in `policies`",
            Place::Fuzz => " in `fuzz`",
        };
        eprintln!("\n==> {}/{} {}: {}{place}", number + 1, STEPS.len(), step.name, process::line(&command));
        let start = Instant::now();
        let status = command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", process::line(&command)))?;
        let time = start.elapsed();
        times.push((step.name, time));
        if !status.success() {
            eprintln!("\nerror: {} failed ({status}) after {}", step.name, seconds(time));
            return Ok(Outcome::Found);
        }
        eprintln!("<== {} took {}", step.name, seconds(time));
    }

    eprintln!("\nall {} steps passed:", times.len());
    for (name, time) in &times {
        eprintln!("{:>9}  {name}", seconds(*time));
    }
    eprintln!("{:>9}  in all", seconds(times.iter().map(|(_, time)| *time).sum()));
    Ok(Outcome::Fine)
}

impl Step {
    fn command(&self, repository: &Repository, policies_target: &PathBuf) -> Command {
        let mut command = match self.place {
            Place::Root => process::cargo(repository.root()),
            Place::Policies => process::cargo(&repository.policies()),
            Place::Fuzz => process::cargo(&repository.fuzz()),
        };
        command.args(self.args).envs(self.env.iter().copied());
        if matches!(self.place, Place::Policies) {
            command.env("CARGO_TARGET_DIR", policies_target);
        }
        command
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
