//! Finds the Rust compiler that builds for the guest target: the one of the toolchain that runs this command. If the
//! target is missing, rustup adds it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wardset_authoring::guest::{TARGET, has_std};

use crate::process;

/// Time for rustup to add the target: about 20 MB with a network, an immediate answer without one, and nothing at all
/// behind some firewalls.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// A compiler that has the standard library for the guest target.
#[derive(Debug)]
pub(crate) struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    version: String,
}

impl Compiler {
    /// Finds the compiler, and adds the target to it if necessary.
    ///
    /// # Errors
    ///
    /// The target is missing and rustup cannot add it, or the compiler has no linker for it.
    pub(crate) fn find() -> Result<Self> {
        let rustc = rustc()?;
        let sysroot = sysroot(&rustc)?;
        ensure_target(&sysroot, add_target)?;
        let version = process::stdout(Command::new(&rustc).arg("-V"))?;
        let lld = rust_lld(&rustc, &sysroot)?;
        let lld = process::stdout(Command::new(lld).args(["-flavor", "wasm", "--version"]))?;
        let cargo = process::stdout(process::cargo(&sysroot).arg("-V"))?;
        // The text behind the linker's version names its place of build.
        let lld = lld.split(" (").next().unwrap_or_default();
        let version = [version.trim(), lld.trim(), cargo.trim()].join("; ");
        eprintln!("compiler: {version}");
        Ok(Self { rustc, sysroot, version })
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
}

/// The compiler of the toolchain that runs this command, or the one in `$RUSTC`.
pub(crate) fn rustc() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
    // cargo runs it in another directory. A bare name is looked up in `PATH`, wherever that is.
    if rustc.components().count() > 1 {
        return std::path::absolute(&rustc).with_context(|| format!("cannot resolve `{}`", rustc.display()));
    }
    Ok(rustc)
}

/// The folder of a compiler's libraries and documents.
pub(crate) fn sysroot(rustc: &Path) -> Result<PathBuf> {
    Ok(process::stdout(Command::new(rustc).args(["--print", "sysroot"]))?.trim().into())
}

/// Calls `add` if `sysroot` lacks the guest target, and checks the result.
fn ensure_target(sysroot: &Path, add: impl FnOnce() -> Result<()>) -> Result<()> {
    if has_std(sysroot) {
        return Ok(());
    }
    let missing = format!("`{}` has no standard library for {TARGET}", sysroot.display());
    if let Err(error) = add() {
        return Err(error.context(format!(
            "{missing}, and rustup (https://rustup.rs) did not add it\nhint: run `rustup target add {TARGET}`"
        )));
    }
    if !has_std(sysroot) {
        bail!(
            "{missing}; rustup added it to another toolchain\nhint: use the cargo of rustup, without `RUSTC`"
        );
    }
    Ok(())
}

/// Adds the target to rustup's toolchain. `RUSTUP_AUTO_INSTALL` does not matter here: it concerns toolchains that a
/// folder asks for, and the caller asks for this target explicitly.
fn add_target() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.args(["--quiet", "target", "add", TARGET]);
    process::quiet_within(&mut rustup, RUSTUP_LIMIT)
}

/// The linker for the guest target that comes with a compiler.
fn rust_lld(rustc: &Path, sysroot: &Path) -> Result<PathBuf> {
    let verbose = process::stdout(Command::new(rustc).arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    let lld = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
    if !lld.is_file() {
        bail!("`{}` is missing, which links for {TARGET}\nhint: use a toolchain from rustup", lld.display());
    }
    Ok(lld)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::anyhow;

    use super::*;
    use crate::message;

    /// Adds the file that [`has_std`] looks for.
    fn add_std(sysroot: &Path) {
        let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libstd-0123.rlib"), "").unwrap();
    }

    #[test]
    fn adds_the_target_only_if_it_is_missing() {
        let sysroot = tempfile::tempdir().unwrap();
        let mut times = 0;
        for _ in 0..2 {
            ensure_target(sysroot.path(), || {
                times += 1;
                add_std(sysroot.path());
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(times, 1);
    }

    #[test]
    fn names_the_missing_target_and_the_command_that_adds_it() {
        let error = ensure_target(Path::new("/none"), || Err(anyhow!("cannot start `rustup`"))).unwrap_err();
        assert_eq!(
            message::of(&error),
            "`/none` has no standard library for wasm32-unknown-unknown, and rustup (https://rustup.rs) did not add it: \
             cannot start `rustup`\n\
             hint: run `rustup target add wasm32-unknown-unknown`"
        );
    }

    #[test]
    fn names_a_toolchain_that_is_not_rustups() {
        let error = ensure_target(Path::new("/none"), || Ok(())).unwrap_err();
        assert_eq!(
            message::of(&error),
            "`/none` has no standard library for wasm32-unknown-unknown; rustup added it to another toolchain\n\
             hint: use the cargo of rustup, without `RUSTC`"
        );
    }
}
