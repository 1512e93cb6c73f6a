//! The program of the image: the profile `dist`, without paths of the machine that builds it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::interrupt::Interrupt;
use crate::process;
use crate::repository::Repository;

/// Builds the program in the target directory `target`, and returns its path. With a triple, it is for that target of
/// Rust instead of this machine's.
///
/// rustc and the C compiler write paths of sources into programs. Each is replaced by a fixed one, so that a build in
/// another folder or by another user makes the same program.
///
/// # Errors
/// The build fails, or the program contains a path of this machine.
pub(crate) fn build(
    repository: &Repository,
    target: &Path,
    triple: Option<&str>,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    // The folders of the sources exist after this.
    let mut fetch = process::cargo(repository.root());
    process::show_until(fetch.args(["fetch", "--locked"]), interrupt)?;
    let replaced = replaced(repository, target)?;
    let rust: Vec<String> = replaced
        .iter()
        .map(|(path, short)| format!("--remap-path-prefix={}={short}", path.display()))
        .collect();
    let c: Vec<String> = replaced
        .iter()
        .map(|(path, short)| format!("-ffile-prefix-map={}={short}", path.display()))
        .collect();
    let mut cargo = process::cargo(repository.root());
    cargo.args(["build", "--profile", "dist", "--locked", "--bin", "wardset", "--target-dir"]).arg(target);
    if let Some(triple) = triple {
        cargo.args(["--target", triple]);
    }
    // The separator of this variable, because paths can contain spaces.
    // C compilers write the date of the build into programs, unless this variable names another.
    let epoch = env::var_os(EPOCH).filter(|epoch| !epoch.is_empty());
    cargo.env(EPOCH, epoch.unwrap_or_else(|| "0".into()));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}")).env("CFLAGS", c.join(" "));
    process::show_until(&mut cargo, interrupt)?;
    let program = target.join(triple.unwrap_or_default()).join("dist/wardset");
    let bytes = fs::read(&program).with_context(|| format!("failed to read `{}`", program.display()))?;
    for (path, _) in &replaced {
        let path = path.to_string_lossy();
        if contains(&bytes, path.as_bytes()) {
            bail!(
                "`{}` contains the path `{path}` of this machine, so another build would differ",
                program.display()
            );
        }
    }
    Ok(program)
}

/// The folders whose paths can get into a program, and the path that each gets instead. The last that fits counts.
fn replaced(repository: &Repository, target: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.context("failed to find cargo's folder\nhint: set `CARGO_HOME`")?.join("registry/src");
    let context = || format!("failed to list `{}`", sources.display());
    let mut registries = Vec::new();
    for entry in fs::read_dir(&sources).with_context(context)? {
        registries.push(entry.with_context(context)?.path());
    }
    registries.sort();
    let mut replaced: Vec<(PathBuf, &str)> = registries.into_iter().map(|path| (path, "/cargo")).collect();
    replaced.extend([(repository.root().to_owned(), "/wardset"), (target.to_owned(), "/target")]);
    Ok(replaced)
}

/// The variable with the time of all files, in seconds since 1970.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn contains(bytes: &[u8], path: &[u8]) -> bool {
    bytes.windows(path.len()).any(|window| window == path)
}
