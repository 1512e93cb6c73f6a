//! `cargo xtask bench`: the cost of Wardset, compared with a webhook that does nothing and with the API server's own
//! policies, and the instructions of one review.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cluster::{Binaries, ControlPlane, Extent, Folder, Options as ClusterOptions, Version};
use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::{Outcome, lock, process};

/// The kind of measurement.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer cells, shorter: a look, not a figure to quote
    #[arg(long)]
    quick: bool,
    /// Compare with MutatingAdmissionPolicies on a real API server instead; needs Go, which builds it
    #[arg(long, conflicts_with = "instructions")]
    admission: bool,
    /// Measure the warnings about placement in a cluster of 5,000 nodes instead; needs Go, which builds the API server
    #[arg(long, conflicts_with_all = ["instructions", "admission"])]
    nodes: bool,
    /// Count the instructions of one review instead, by valgrind, and compare them with `benches/instructions.json`
    #[arg(long, conflicts_with = "quick")]
    instructions: bool,
    /// With --instructions: record the counted number as the expected one
    #[arg(long, requires = "instructions")]
    bless: bool,
}

/// Percentage by which a review may exceed the recorded number.
const TOLERANCE: u64 = 3;

/// The counted difference between a long and a short run, which leaves out the start.
const SHORT: u64 = 100;
const LONG: u64 = 1100;

#[derive(Debug, Serialize, Deserialize)]
struct Instructions {
    /// The counted scenario.
    what: String,
    /// The compiler of the counted binary: another one gives another number.
    compiler: String,
    instructions: u64,
}

/// Measures, or counts and compares.
///
/// # Errors
///
/// The build fails, or a program that is needed is missing or ends without success.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    if options.instructions {
        return count(repository, &build(repository)?, options.bless);
    }
    if options.admission {
        return on_api_server(repository, Program::Admission, options.quick);
    }
    if options.nodes {
        return on_api_server(repository, Program::Nodes, options.quick);
    }
    let mut bench = Command::new(build_as_shipped(repository)?.join("bench"));
    bench.current_dir(repository.root()).arg("--json").arg(repository.target()?.join("bench.json"));
    if options.quick {
        bench.arg("--quick");
    }
    pass(&mut bench)?;
    Ok(Outcome::Fine)
}

/// Builds the programs of the benches, and returns their folder.
///
/// # Errors
///
/// The build fails.
pub(crate) fn build(repository: &Repository) -> Result<PathBuf> {
    compile(repository, &["--release", "--bins"])?;
    Ok(repository.target()?.join("release"))
}

/// The measured and the measuring programs, optimised like the program of the image. Each takes minutes.
fn build_as_shipped(repository: &Repository) -> Result<PathBuf> {
    let bins = ["wardset", "baseline", "bench"].map(|bin| ["--bin", bin]);
    compile(repository, &[&["--profile", "dist"], bins.as_flattened()].concat())?;
    Ok(repository.target()?.join("dist"))
}

fn compile(repository: &Repository, what: &[&str]) -> Result<()> {
    let packages = ["build", "--locked", "-p", "wardset", "-p", "wardset-bench"];
    process::show(process::cargo(repository.root()).args(packages).args(what))
}

/// Runs a program whose output is the task's own.
fn pass(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", process::line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", process::line(command));
    }
    Ok(())
}

/// A program of the benches that measures with a real API server.
#[derive(Debug, Clone, Copy)]
enum Program {
    /// Wardset against MutatingAdmissionPolicies.
    Admission,
    /// Warnings about placement in a large cluster.
    Nodes,
}

impl Program {
    /// The name of its file, its option and its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Nodes => "nodes",
        }
    }
}

/// Starts an API server with its store, and runs a program against it.
fn on_api_server(repository: &Repository, program: Program, quick: bool) -> Result<Outcome> {
    let name = program.name();
    let programs = build(repository)?;
    let interrupt = Interrupt::listen()?;
    let home = repository.target()?.join(name);
    let _lock = lock::take(&home.join("lock"), &format!("another `cargo xtask bench --{name}`"), &interrupt)?;
    let extent = Extent::ApiServer;
    let binaries = Binaries::find(repository, extent.programs(), &Version::default(), &interrupt)?;
    let plane = ControlPlane::start(&ClusterOptions {
        repository,
        binaries: &binaries,
        folder: Folder::at(home.join("run")),
        extent,
        interrupt: &interrupt,
    })?;
    let (Some(api_server), Some(etcd)) = (plane.api_server(), plane.etcd()) else {
        bail!("the API server was not started");
    };
    let mut bench = Command::new(programs.join(name));
    bench.current_dir(repository.root()).arg(format!("127.0.0.1:{}", api_server.port));
    bench.arg("--certificates").arg(plane.folder().certificates());
    match program {
        Program::Admission => {
            bench.args(["--api-server", &api_server.pid.to_string(), "--etcd", &etcd.pid.to_string()])
        }
        Program::Nodes => bench.arg("--kubeconfig").arg(plane.folder().kubeconfig()),
    };
    bench.arg("--json").arg(repository.target()?.join(format!("{name}.json")));
    if quick {
        bench.arg("--quick");
    }
    process::pass_until(&mut bench, &interrupt)
        .with_context(|| format!("logs of the API server: `{}`", plane.folder().logs().display()))?;
    Ok(Outcome::Fine)
}

fn count(repository: &Repository, programs: &Path, bless: bool) -> Result<Outcome> {
    let cache = repository.target()?.join("instructions");
    // The first run fills the cache of compiled modules, so that the others don't compile.
    counted(programs, &cache, 1)?;
    let short = counted(programs, &cache, SHORT)?;
    let long = counted(programs, &cache, LONG)?;
    let found = Instructions {
        what: "one review of 7 KB decided by five policies, from bytes to bytes".to_owned(),
        compiler: compiler(repository)?,
        instructions: long.saturating_sub(short) / (LONG - SHORT),
    };
    let file = repository.root().join("benches/instructions.json");
    if bless {
        let text = serde_json::to_string_pretty(&found)? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        println!("{} instructions a review, written to {}", found.instructions, file.display());
        return Ok(Outcome::Fine);
    }
    let text = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let known: Instructions =
        serde_json::from_slice(&text).with_context(|| format!("`{}`", file.display()))?;
    let change = 100.0 * (found.instructions as f64 / known.instructions as f64 - 1.0);
    println!(
        "{} instructions a review, {change:+.1} % of the {} in benches/instructions.json",
        found.instructions, known.instructions
    );
    if found.compiler != known.compiler {
        eprintln!("note: counted with {}, written down with {}", found.compiler, known.compiler);
    }
    if found.instructions * 100 > known.instructions * (100 + TOLERANCE) {
        eprintln!(
            "error: a review takes more than {TOLERANCE} % more instructions than is written down\n\
             hint: find out why, or take it by `cargo xtask bench --instructions --bless`"
        );
        return Ok(Outcome::Found);
    }
    Ok(Outcome::Fine)
}

fn compiler(repository: &Repository) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").current_dir(repository.root()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The instructions of a run that decides `reviews` reviews.
fn counted(programs: &Path, cache: &Path, reviews: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(programs.join("reviews")).arg(reviews.to_string()).arg("--cache").arg(cache);
    let output = valgrind
        .stdin(Stdio::null())
        .output()
        .context("cannot start `valgrind`; it counts the instructions\nhint: apt-get install valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} failed ({}): {said}", process::line(&valgrind), output.status);
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let collected = collected.and_then(|(_, count)| count.trim().parse().ok());
    collected.with_context(|| format!("no count in what valgrind said: {said}"))
}
