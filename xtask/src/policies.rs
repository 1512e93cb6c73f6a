//! `cargo xtask policies`: the modules in `policies/built`, made or checked.

use std::fs;

use anyhow::{Context, Result};
use clap::Args;

use crate::digests::{self, Digests, Policy, Record, Workspace};
use crate::repository::Repository;
use crate::toolchain::Compiler;
use crate::{Outcome, guest};

/// The fix for a failed check.
const HINT: &str = "hint: run `cargo xtask policies` and commit `policies/built`";

/// The options of `cargo xtask policies`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Policies to build or check [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Change nothing; fail if the committed modules do not match their sources
    #[arg(long)]
    check: bool,
    /// With --check: compare digests only, which needs no compiler for the guest target
    #[arg(long, requires = "check")]
    no_build: bool,
}

/// Builds or checks the modules.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let workspace = Workspace::read(repository)?;
    let policies = workspace.select(&options.names)?;
    let all = options.names.is_empty();
    if options.check {
        let problems = digests::problems(repository, &workspace, &policies, all)?;
        if !problems.is_empty() {
            return Ok(complain(&problems));
        }
        if options.no_build {
            eprintln!(
                "policies: sources and modules match: {}",
                policies.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
            );
            return Ok(Outcome::Fine);
        }
        check_bytes(repository, &Compiler::find()?, &policies)
    } else {
        let compiler = Compiler::find()?;
        make(repository, &workspace, &compiler, &policies, all)?;
        Ok(Outcome::Fine)
    }
}

fn make(
    repository: &Repository,
    workspace: &Workspace,
    compiler: &Compiler,
    policies: &[&Policy],
    all: bool,
) -> Result<()> {
    // Before the build: a file that changes meanwhile makes the record stale, as it should be.
    let mut digests = Digests::read(repository)?.unwrap_or_default();
    let mut sources = Vec::new();
    for policy in policies {
        sources.push(workspace.sources(repository, policy)?);
    }
    let modules = guest::build(repository, compiler, policies)?;

    let built = repository.built();
    fs::create_dir_all(&built).with_context(|| format!("cannot make `{}`", built.display()))?;
    for ((name, module), sources_sha256) in modules.iter().zip(sources) {
        let path = digests::module_path(repository, name);
        fs::write(&path, module).with_context(|| format!("cannot write `{}`", path.display()))?;
        let record = Record {
            sha256: digests::sha256(module),
            size_bytes: module.len() as u64,
            sources_sha256,
            compiler: compiler.version().to_owned(),
        };
        digests.modules.insert(name.clone(), record);
    }
    if all {
        for name in digests::strays(repository, workspace, &digests)? {
            digests.modules.remove(&name);
            let path = digests::module_path(repository, &name);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
            eprintln!("policies: removed module `{name}`, which has no policy");
        }
    }
    digests.write(repository)?;

    let records = digests.modules.iter().filter(|(name, _)| modules.contains_key(*name));
    print!("{}", table(records));
    Ok(())
}

fn check_bytes(repository: &Repository, compiler: &Compiler, policies: &[&Policy]) -> Result<Outcome> {
    let digests = Digests::read(repository)?.unwrap_or_default();
    let modules = guest::build(repository, compiler, policies)?;
    let mut problems = Vec::new();
    let mut compared = 0;
    for (name, module) in &modules {
        let Some(record) = digests.modules.get(name) else { continue };
        if record.compiler != compiler.version() {
            eprintln!(
                "policies: `{name}` builds; its bytes were not compared, since the compiler is another one: \
                 expected `{}`, found `{}`",
                record.compiler,
                compiler.version()
            );
            continue;
        }
        compared += 1;
        let found = digests::sha256(module);
        if found != record.sha256 {
            problems.push(format!(
                "`policies/built/{name}.wasm` is not what its sources build with `{}`: \
                 expected digest {} ({} bytes), found {} ({} bytes)",
                record.compiler,
                digests::short(&record.sha256),
                record.size_bytes,
                digests::short(&found),
                module.len()
            ));
        }
    }
    if !problems.is_empty() {
        return Ok(complain(&problems));
    }
    eprintln!(
        "policies: sources and modules match: {}; byte for byte in a fresh build: {compared} of {}",
        modules.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        modules.len()
    );
    Ok(Outcome::Fine)
}

fn complain(problems: &[String]) -> Outcome {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    eprintln!("{HINT}");
    Outcome::Found
}

/// A line for each module: name, start of its digest, size.
fn table<'a>(records: impl Iterator<Item = (&'a String, &'a Record)>) -> String {
    let mut rows = vec![["NAME".to_owned(), "SHA-256".to_owned(), "BYTES".to_owned()]];
    rows.extend(
        records
            .map(|(name, r)| [name.clone(), digests::short(&r.sha256).to_owned(), r.size_bytes.to_string()]),
    );
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, digest, size) = (width(0), width(1), width(2));
    rows.iter().map(|[n, d, s]| format!("{n:name$}  {d:digest$}  {s:>size$}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does the same as `cargo xtask policies --check --no-build`, so that a plain `cargo test` checks it too.
    #[test]
    fn committed_modules_match_their_sources() {
        let repository = Repository::find().unwrap();
        if !repository.policies().join("Cargo.toml").exists() {
            return;
        }
        let workspace = Workspace::read(&repository).unwrap();
        let policies = workspace.select(&[]).unwrap();
        let problems = digests::problems(&repository, &workspace, &policies, true).unwrap();
        assert!(problems.is_empty(), "{}\n{HINT}", problems.join("\n"));
    }

    #[test]
    fn table_lines_up() {
        let record = |size_bytes| Record {
            sha256: "0123456789abcdef".into(),
            size_bytes,
            sources_sha256: String::new(),
            compiler: String::new(),
        };
        let (a, b) = ("a".to_owned(), "node-affinity".to_owned());
        assert_eq!(
            table([(&a, &record(7)), (&b, &record(123_456))].into_iter()),
            "NAME           SHA-256        BYTES\n\
             a              0123456789ab       7\n\
             node-affinity  0123456789ab  123456\n"
        );
    }
}
