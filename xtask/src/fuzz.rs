//! `cargo xtask fuzz`: builds the targets in `fuzz`, runs each for a while, and reports the results.
//!
//! ```text
//! fuzz/corpus/TARGET ──┐
//! target/fuzz/corpus ──┴─► libFuzzer ──► target/fuzz/artifacts     (a finding: exit code 1)
//! ```
//!
//! It needs stable Rust and a C++ compiler. It does without the sanitizers of a nightly compiler that `cargo fuzz`
//! uses, and asks LLVM for coverage directly ([`compiler`]). `cargo fuzz run TARGET` works on the same targets.

pub(crate) mod compiler;
mod report;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::{Outcome, lock, process};
use report::Report;

/// The targets and the time.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Leave out the targets that need the sandbox, whose compiler takes minutes to compile
    #[arg(long, conflicts_with = "targets")]
    without_sandbox: bool,
    /// The targets; all if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// The targets that need the sandbox.
const SANDBOX: &[&str] = &["cache"];

/// The longest that one input may take. Far more than any does, on a machine that does much else.
const INPUT_SECONDS: u64 = 25;

/// Builds the targets and runs one after the other.
///
/// # Errors
/// The build fails, a target does not start, an unknown target, or a signal arrived.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let interrupt = Interrupt::listen()?;
    let mut targets = chosen(&all(&repository.fuzz())?, &options.targets)?;
    if options.without_sandbox {
        targets.retain(|target| !SANDBOX.contains(&target.as_str()));
    }
    let home = repository.target()?.join("fuzz");
    let _lock = lock::take(&home.join("lock"), "another `cargo xtask fuzz`", &interrupt)?;
    let start = Instant::now();
    let binaries = build(repository, &home, &targets, &interrupt)?;
    eprintln!("built after {:.1} s; {} s for each target", start.elapsed().as_secs_f64(), options.seconds);

    let mut found = 0;
    for target in &targets {
        let report = fuzz(repository, &home, &binaries, target, options.seconds, &interrupt)?;
        println!("{target:12} {report}");
        found += usize::from(report.finding.is_some());
    }
    let took = start.elapsed().as_secs();
    println!("{} targets in {took} s, {found} with a finding", targets.len());
    Ok(if found == 0 { Outcome::Fine } else { Outcome::Found })
}

/// A target is a file.
fn all(fuzz: &Path) -> Result<BTreeSet<String>> {
    let folder = fuzz.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut all = BTreeSet::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read `{}`", folder.display()))?.path();
        if let (Some("rs"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_stem()) {
            all.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(all)
}

fn chosen(all: &BTreeSet<String>, named: &[String]) -> Result<BTreeSet<String>> {
    if let Some(unknown) = named.iter().find(|name| !all.contains(*name)) {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        bail!("there is no target `{unknown}`\nhint: there are {}", all.join(", "));
    }
    Ok(if named.is_empty() { all.clone() } else { named.iter().cloned().collect() })
}

/// Returns the folder of the binaries.
fn build(
    repository: &Repository,
    home: &Path,
    targets: &BTreeSet<String>,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let host = host()?;
    let mut cargo = process::cargo(&repository.fuzz());
    // With the name of a target, scripts and macros that run while building are left as they are.
    cargo.args(["build", "--release", "--locked", "--target", &host]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    if targets.iter().any(|target| SANDBOX.contains(&target.as_str())) {
        cargo.args(["--features", "sandbox"]);
    }
    let xtask = std::env::current_exe().context("cannot tell where xtask is")?;
    cargo.env("CARGO_TARGET_DIR", home).env("RUSTC_WRAPPER", xtask).env(compiler::MARK, "1");
    process::show_until(&mut cargo, interrupt)?;
    Ok(home.join(host).join("release"))
}

fn host() -> Result<String> {
    let words = process::stdout(Command::new("rustc").arg("-vV"))?;
    let host = words.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no `host`")?.to_owned())
}

fn fuzz(
    repository: &Repository,
    home: &Path,
    binaries: &Path,
    target: &str,
    seconds: u64,
    interrupt: &Interrupt,
) -> Result<Report> {
    // New inputs are kept from run to run, beside the committed ones.
    let (found, artifacts) = (home.join("corpus").join(target), home.join("artifacts").join(target));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let log = artifacts.join("log");
    let words = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let mut command = Command::new(binaries.join(target));
    command
        .arg(&found)
        .arg(repository.fuzz().join("corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-dict={}", repository.fuzz().join("words.dict").display()))
        .args(["-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", process::line(&command)))?;
    let status = loop {
        let ended = child.try_wait();
        if let Some(status) = ended.with_context(|| format!("cannot wait for {}", process::line(&command)))? {
            break status;
        }
        if let Err(error) = interrupt.pause(Duration::from_millis(50)) {
            // It fails only if the process has exited.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    let words = fs::read(&log).with_context(|| format!("cannot read `{}`", log.display()))?;
    Ok(Report::read(&String::from_utf8_lossy(&words), status.success(), &log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_named_with_those_that_are() {
        let all = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert_eq!(chosen(&all, &["two".to_owned()]).unwrap().len(), 1);
        let error = chosen(&all, &["three".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no target `three`\nhint: there are one, two");
    }

    /// cargo needs each by name, and a fuzzer without anything to start from finds little.
    #[test]
    fn each_target_is_declared_and_has_something_to_start_from() {
        let fuzz = Repository::find().unwrap().fuzz();
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let all = all(&fuzz).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), all.len());
        for target in &all {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
            assert!(fs::read_dir(fuzz.join("corpus").join(target)).unwrap().count() > 0, "{target}");
            assert!(compiler::INSTRUMENTED.contains(&target.as_str()), "{target} tells the fuzzer nothing");
        }
        assert!(SANDBOX.iter().all(|target| all.contains(*target)));
    }
}
