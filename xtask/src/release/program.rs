//! The program of a release: its version, and whether other machines can run it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, toolchain};

/// The program for people who install it by hand.
#[derive(Debug)]
pub(crate) struct Portable {
    pub(crate) bytes: Vec<u8>,
    /// The library that it needs; `None` if it is static.
    pub(crate) needs: Option<String>,
}

impl Portable {
    /// Reads a program.
    ///
    /// # Errors
    /// The system refuses the file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let needs = newest_symbol(&bytes).map(|minor| format!("the GNU C library 2.{minor} or newer"));
        Ok(Self { bytes, needs })
    }
}

/// Runs the program, and compares its version.
///
/// # Errors
/// It does not start, or has another version.
pub(crate) fn check_version(program: &Path, version: &str) -> Result<()> {
    let path =
        std::path::absolute(program).with_context(|| format!("failed to resolve `{}`", program.display()))?;
    let printed = process::stdout(Command::new(path).arg("--version"))?;
    let expected = format!("wardset {version}");
    if printed.trim() != expected {
        bail!(
            "`{} --version`: expected `{expected}`, found `{}`\nhint: build the program from these sources",
            program.display(),
            printed.trim()
        );
    }
    Ok(())
}

/// Returns the target of Rust for static programs, or the reason why none can be built here.
///
/// # Errors
/// rustc does not start.
pub(crate) fn static_target() -> Result<Result<String, String>> {
    let triple = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let rustc = toolchain::rustc()?;
    let libraries =
        process::stdout(Command::new(rustc).args(["--print", "target-libdir", "--target", &triple]))?;
    if !Path::new(libraries.trim()).is_dir() {
        return Ok(Err(format!(
            "Rust's target for static programs is missing\nhint: run `rustup target add {triple}`"
        )));
    }
    if process::stdout(Command::new(COMPILER).arg("--version")).is_err() {
        return Ok(Err(format!("`{COMPILER}` is missing\nhint: on Debian, install `musl-tools`")));
    }
    Ok(Ok(triple))
}

/// Returns N of the newest symbol `GLIBC_2.N` that a program needs; `None` if it needs none.
fn newest_symbol(program: &[u8]) -> Option<u32> {
    const LEAD: &[u8] = b"GLIBC_2.";
    let mut newest = None;
    for (at, _) in program.windows(LEAD.len()).enumerate().filter(|(_, window)| *window == LEAD) {
        let digits = program[at + LEAD.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let minor: String = digits.map(|&byte| char::from(byte)).collect();
        newest = newest.max(minor.parse().ok());
    }
    newest
}

/// The C compiler for static programs, which the crates with C code use.
const COMPILER: &str = "musl-gcc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_newest_symbol() {
        assert_eq!(newest_symbol(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.17\0GLIBC_PRIVATE\0"), Some(34));
        assert_eq!(newest_symbol(b"\0GLIBC_2.2.5\0"), Some(2));
        assert_eq!(newest_symbol(b"musl"), None);
        assert!(
            Portable::read(Path::new("/bin/sh")).unwrap().needs.unwrap().starts_with("the GNU C library 2.")
        );
    }

    #[test]
    fn refuses_a_program_of_another_version() {
        // `echo --version` prints a version of its own or its argument.
        let error = check_version(Path::new("/bin/echo"), "0.1.0").unwrap_err().to_string();
        assert!(error.starts_with("`/bin/echo --version`: expected `wardset 0.1.0`, found `"), "{error}");
    }
}
