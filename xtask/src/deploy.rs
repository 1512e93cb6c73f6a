//! `cargo xtask deploy`: renders or checks the manifests in `deploy`.
//!
//! The chart is the one source of the installed objects. Helm renders it as `install.yaml`; `policies.yaml` is the
//! default set of policies as one file.

mod helm;
mod values;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::repository::Repository;
use crate::{Outcome, digests, process};
pub(crate) use helm::Helm;

/// The fix for a failed check.
const HINT: &str = "hint: run `cargo xtask deploy` and commit `deploy`";

/// Leads the digest of the chart in `install.yaml`.
const CHART_DIGEST: &str = "sha256:";

/// The options of `cargo xtask deploy`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Change nothing; fail if the committed manifests differ from their sources
    #[arg(long)]
    check: bool,
    /// With --check: compare the chart's digest only, which needs no Go
    #[arg(long, requires = "check")]
    no_render: bool,
}

/// Makes or checks the manifests.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let mut files = vec![policies(repository)?];
    // The chart is rendered with it. A test compares the committed one with the types, because a second build of the
    // program would take long.
    if !options.check {
        crd(repository)?.write()?;
    }
    let (mut problems, mut differences) = (Vec::new(), Vec::new());
    if options.no_render {
        differences.extend(stale(repository)?);
    } else {
        let helm = Helm::find(repository)?;
        helm.lint()?;
        problems = values::problems(&helm);
        files.push(install(repository, &helm)?);
    }
    for file in &files {
        if options.check {
            differences.extend(file.difference());
        } else {
            file.write()?;
        }
    }
    for problem in problems.iter().chain(&differences) {
        eprintln!("error: {problem}");
    }
    if !differences.is_empty() {
        eprintln!("{HINT}");
    }
    if !problems.is_empty() || !differences.is_empty() {
        return Ok(Outcome::Found);
    }
    let names = files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
    match (options.check, options.no_render) {
        (true, true) => eprintln!("deploy: matches its sources: {names}, and by its digest install.yaml"),
        (true, false) => eprintln!("deploy: matches its sources: {names}"),
        (false, _) => eprintln!("deploy: written: {names}"),
    }
    Ok(Outcome::Fine)
}

/// A generated file and its expected content.
#[derive(Debug)]
struct Manifest {
    name: String,
    path: PathBuf,
    text: String,
}

impl Manifest {
    fn new(path: PathBuf, text: String) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, path, text }
    }

    fn write(&self) -> Result<()> {
        fs::write(&self.path, &self.text).with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// The first line in which the committed file is another.
    fn difference(&self) -> Option<String> {
        let found = match fs::read_to_string(&self.path) {
            Ok(found) => found,
            Err(error) => return Some(format!("`{}` cannot be read: {error}", self.name)),
        };
        if found == self.text {
            return None;
        }
        let (mut expected, mut found) = (self.text.lines(), found.lines());
        let mut number = 0;
        let (expected, found) = loop {
            number += 1;
            match (expected.next(), found.next()) {
                (None, None) => break ("", ""),
                (expected, found) if expected == found => {}
                (expected, found) => break (expected.unwrap_or_default(), found.unwrap_or_default()),
            }
        };
        Some(format!(
            "`{}` is not what its sources make: line {number}: expected `{}`, found `{}`",
            self.name,
            expected.trim(),
            found.trim()
        ))
    }
}

/// `install.yaml`.
fn install(repository: &Repository, helm: &Helm) -> Result<Manifest> {
    let objects = helm.render(&["--namespace=wardset", "--set=createNamespace=true"])?;
    let chart = digests::of_folder(repository, &repository.chart())?;
    let text = format!(
        "# Wardset without policies: `kubectl apply -f` this, then policies.yaml. README.md beside it says how and what to change:\n\
         # the image above all, since nobody publishes one.\n\
         #\n\
         # Made by `cargo xtask deploy` from the chart {CHART_DIGEST}{chart}\n{objects}"
    );
    Ok(Manifest::new(install_path(repository), text))
}

/// Returns the committed manifests that their sources no longer make, a line each. `install.yaml` is compared by digest.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn differences(repository: &Repository) -> Result<Vec<String>> {
    Ok(stale(repository)?.into_iter().chain(policies(repository)?.difference()).collect())
}

/// Whether `install.yaml` was made from another chart than the one that is there.
fn stale(repository: &Repository) -> Result<Option<String>> {
    let path = install_path(repository);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let found = text.lines().find_map(|line| line.split_once(CHART_DIGEST)).map_or("", |(_, digest)| digest);
    let expected = digests::of_folder(repository, &repository.chart())?;
    Ok((found != expected).then(|| {
        format!(
            "`install.yaml`: the chart has changed since it was rendered: expected digest {}, found {}",
            digests::short(&expected),
            digests::short(found)
        )
    }))
}

fn install_path(repository: &Repository) -> PathBuf {
    repository.deploy().join("install.yaml")
}

/// `policies.yaml`: the files of the default set, in order of name.
fn policies(repository: &Repository) -> Result<Manifest> {
    let mut text = "\
        # The default set of policies: `kubectl apply -f` this after install.yaml, and again after every upgrade.\n\
        #\n\
        # Made by `cargo xtask deploy` from policies/defaults.\n"
        .to_owned();
    for path in yaml_files(&repository.default_policies())? {
        let policy =
            fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        text.push_str("---\n");
        text.push_str(policy.trim_end());
        text.push('\n');
    }
    Ok(Manifest::new(repository.deploy().join("policies.yaml"), text))
}

/// The definition of policies, as the program prints it.
fn crd(repository: &Repository) -> Result<Manifest> {
    let mut cargo = process::cargo(repository.root());
    cargo.args(["run", "--quiet", "--locked", "--bin", "wardset", "--", "crd"]);
    Ok(Manifest::new(repository.crd(), process::stdout(&mut cargo)?))
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let path = entry.with_context(|| format!("cannot list `{}`", dir.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
