//! Finds a Rust compiler that can build for the guest target.
//!
//! The usual one is rustup's with the target added. If rustup cannot fetch the target, a Debian system can still make
//! a compiler out of Debian's packages: see [`debian`].

mod debian;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::repository::Repository;
use crate::{message, process};

/// The guest target: the WebAssembly core without any system.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A compiler of the user's choice, before all others.
const VARIABLE: &str = "WARDSET_WASM_RUSTC";

/// Time for rustup to add the target: about 20 MB with a network, an immediate answer without one, and nothing at all
/// behind some firewalls.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Source of the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// `$WARDSET_WASM_RUSTC` if set; otherwise the first of the others that works
    Auto,
    /// The toolchain that runs this command, which has the target already
    Installed,
    /// The toolchain that runs this command, after `rustup target add`
    Rustup,
    /// A toolchain made of Debian's packages, kept in the target directory
    Debian,
}

/// A compiler that has the standard library for [`TARGET`].
#[derive(Debug)]
pub(crate) struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
}

impl Compiler {
    /// Finds a compiler, or makes one.
    ///
    /// # Errors
    /// There is none. The error lists the attempts with their results, and the fix.
    pub(crate) fn find(repository: &Repository, source: Source) -> Result<Self> {
        if let Some(rustc) = env::var_os(VARIABLE).filter(|value| !value.is_empty())
            && source == Source::Auto
        {
            // Chosen on purpose, so that no other would do.
            return Self::at(Path::new(&rustc)).with_context(|| {
                format!(
                    "`{VARIABLE}` names no compiler for {TARGET}\nhint: unset it, or name a `rustc` that has the target"
                )
            });
        }
        let attempts: &[Source] = match source {
            Source::Auto => &[Source::Installed, Source::Rustup, Source::Debian],
            Source::Installed => &[Source::Installed],
            Source::Rustup => &[Source::Rustup],
            Source::Debian => &[Source::Debian],
        };
        let mut failures = Vec::new();
        for attempt in attempts {
            let found = match attempt {
                Source::Rustup => add_target().and_then(|()| Self::at(&default_rustc())),
                Source::Debian => debian::toolchain(&repository.target()?, &default_rustc())
                    .and_then(|rustc| Self::at(&rustc)),
                Source::Auto | Source::Installed => Self::at(&default_rustc()),
            };
            match found {
                Ok(compiler) => {
                    eprintln!("compiler: {}", compiler.version);
                    return Ok(compiler);
                }
                Err(error) => failures.push((*attempt, error)),
            }
        }
        Err(nothing_found(&failures))
    }

    /// The program.
    pub(crate) fn rustc(&self) -> &Path {
        &self.rustc
    }

    /// The folder of its libraries.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// The version lines of rustc, of the linker and of cargo: with the same lines, the same sources give the same bytes.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn at(rustc: &Path) -> Result<Self> {
        // cargo runs it in another directory. A bare name is looked up in `PATH`, wherever that is.
        let rustc = if rustc.components().count() > 1 {
            &std::path::absolute(rustc).with_context(|| format!("cannot resolve `{}`", rustc.display()))?
        } else {
            rustc
        };
        let sysroot = sysroot(rustc)?;
        if !has_std(&sysroot) {
            bail!("`{}` has no standard library for {TARGET}", sysroot.display());
        }
        let version = process::stdout(Command::new(rustc).arg("-V"))?;
        let lld =
            process::stdout(Command::new(rust_lld(rustc, &sysroot)?).args(["-flavor", "wasm", "--version"]))?;
        let cargo = process::stdout(process::cargo(&sysroot).arg("-V"))?;
        // The text behind the linker's version names its place of build.
        let lld = lld.split(" (").next().unwrap_or_default();
        let version = [version.trim(), lld.trim(), cargo.trim()].join("; ");
        Ok(Self { rustc: rustc.to_owned(), sysroot, version })
    }
}

/// The compiler of the toolchain that runs this command.
fn default_rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}

fn sysroot(rustc: &Path) -> Result<PathBuf> {
    Ok(process::stdout(Command::new(rustc).args(["--print", "sysroot"]))?.trim().into())
}

/// Whether this sysroot has the standard library for the guest target. That its directory exists says nothing.
fn has_std(sysroot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// The linker for the guest target that comes with a compiler.
fn rust_lld(rustc: &Path, sysroot: &Path) -> Result<PathBuf> {
    let lld = sysroot.join("lib/rustlib").join(host(rustc)?).join("bin/rust-lld");
    if !lld.is_file() {
        bail!("`{}` is missing, which links for {TARGET}", lld.display());
    }
    Ok(lld)
}

/// The target of the machine itself.
fn host(rustc: &Path) -> Result<String> {
    let verbose = process::stdout(Command::new(rustc).arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Adds the target to rustup's toolchain. `RUSTUP_AUTO_INSTALL` does not matter here: it concerns toolchains that a
/// folder asks for, and the caller asks for this target explicitly.
fn add_target() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.args(["--quiet", "target", "add", TARGET]);
    process::quiet_within(&mut rustup, RUSTUP_LIMIT)
}

fn nothing_found(failures: &[(Source, anyhow::Error)]) -> anyhow::Error {
    let mut words = format!("found no Rust compiler for {TARGET}; tried:");
    for (source, error) in failures {
        let what = match source {
            Source::Auto | Source::Installed => "the compiler that is installed",
            Source::Rustup => "rustup",
            Source::Debian => "Debian's packages",
        };
        words.push_str(&format!("\n- {what}: {}", message::of(error).replace('\n', "\n  ")));
    }
    words.push_str(&format!(
        "\nhint: run `rustup target add {TARGET}`, or set `{VARIABLE}` to a `rustc` that has the target"
    ));
    anyhow!(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_directory_without_std_for_a_toolchain() {
        let sysroot = tempfile::tempdir().unwrap();
        let lib = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        assert!(!has_std(sysroot.path()));
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libcore-0123.rlib"), "").unwrap();
        assert!(!has_std(sysroot.path()));
        fs::write(lib.join("libstd-0123.rlib"), "").unwrap();
        assert!(has_std(sysroot.path()));
    }

    #[test]
    fn says_all_that_was_tried_and_how_to_mend_it() {
        let words = nothing_found(&[
            (Source::Installed, anyhow!("no std")),
            (Source::Rustup, anyhow!("`rustup target add` failed:\n  no network")),
        ])
        .to_string();
        assert_eq!(
            words,
            "found no Rust compiler for wasm32-unknown-unknown; tried:\n\
             - the compiler that is installed: no std\n\
             - rustup: `rustup target add` failed:\n    no network\n\
             hint: run `rustup target add wasm32-unknown-unknown`, or set `WARDSET_WASM_RUSTC` to a `rustc` that has the target"
        );
    }
}
