//! `cargo xtask languages`: the examples in `examples/languages`, built with the real tools and checked in a real host.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::interrupt::Interrupt;
use crate::process::Ended;
use crate::repository::Repository;
use crate::{Outcome, process};

/// The program that checks them. It is an example of the crate, because only its tests depend on the reader of cases.
const PROGRAM: [&str; 7] =
    ["run", "--quiet", "--locked", "--package", "wardset-authoring", "--example", "languages"];

/// The options of `cargo xtask languages`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Languages to build: rust, ts, go, python, c, zig [default: all]
    #[arg(value_name = "LANG")]
    languages: Vec<String>,
    /// Program that runs the cases; without it, the modules are only built and checked
    #[arg(long, value_name = "PATH")]
    wardset: Option<PathBuf>,
    /// First install the tools of each example: it needs Node.js and npm for TypeScript, and Python for Python, C and Zig
    #[arg(long)]
    setup: bool,
    /// Build new projects of this kind instead of the examples
    #[arg(long, value_name = "KIND", value_parser = ["mutating", "validating"])]
    fresh: Option<String>,
}

/// Builds the examples, runs their cases, and prints a table.
///
/// # Errors
/// cargo does not start, or a signal arrived. If a language does not build or decides differently, the outcome says so.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let mut command = process::cargo(repository.root());
    command.args(PROGRAM).arg("--").args(arguments(options)?);
    match process::pass_until(&mut command, &Interrupt::listen()?) {
        Ok(()) => Ok(Outcome::Fine),
        // The table has the reason.
        Err(error) if error.is::<Ended>() => Ok(Outcome::Found),
        Err(error) => Err(error),
    }
}

fn arguments(options: &Options) -> Result<Vec<String>> {
    let mut words = options.languages.clone();
    if options.setup {
        words.push("--setup".to_owned());
    }
    if let Some(wardset) = &options.wardset {
        let path = std::path::absolute(wardset)
            .with_context(|| format!("cannot resolve `{}`", wardset.display()))?;
        words.extend(["--wardset".to_owned(), path.display().to_string()]);
    }
    if let Some(kind) = &options.fresh {
        words.extend(["--fresh".to_owned(), kind.clone()]);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_languages_kind_and_host_on() {
        let options = Options {
            languages: vec!["c".to_owned(), "go".to_owned()],
            wardset: Some(PathBuf::from("/bin/wardset")),
            setup: true,
            fresh: Some("validating".to_owned()),
        };
        let expected = ["c", "go", "--setup", "--wardset", "/bin/wardset", "--fresh", "validating"];
        assert_eq!(arguments(&options).unwrap(), expected);
    }
}
