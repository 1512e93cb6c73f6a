//! `cargo xtask registry`: the tests of registries against a real one.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::process::Ended;
use crate::repository::Repository;
use crate::{Outcome, process};

/// The programs of others.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Program of the registry. Default: `docker-registry` on the path
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Program of cosign 2.6 or newer, for the tests that compare signatures. Without it, they are left out
    #[arg(long, value_name = "PATH")]
    cosign: Option<PathBuf>,
}

/// The Debian package, and its program.
const PROGRAM: &str = "docker-registry";

/// Runs the tests that start the registry.
///
/// # Errors
///
/// There is no registry, or the build fails.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<Outcome> {
    let Some(program) = options.program.clone().or_else(on_path) else {
        bail!(
            "failed to find `{PROGRAM}` on the path\nhint: `apt-get install {PROGRAM}` installs it, or \
             `apt-get download {PROGRAM} && dpkg -x {PROGRAM}_*.deb DIR` unpacks it for `--program DIR/usr/bin/{PROGRAM}`"
        );
    };
    let program = match std::path::absolute(&program) {
        Ok(path) if path.is_file() => path,
        _ => bail!("expected the program of a registry, found no file `{}`", program.display()),
    };
    let mut tests = process::cargo(repository.root());
    tests.args(["test", "--workspace", "--test", "it", "--", "registry::real", "--nocapture"]);
    tests.env("WARDSET_DOCKER_REGISTRY", program);
    if let Some(cosign) = &options.cosign {
        tests.env("WARDSET_COSIGN", std::path::absolute(cosign)?);
    }
    match process::show(&mut tests) {
        Ok(()) => Ok(Outcome::Fine),
        Err(error) if error.is::<Ended>() => {
            eprintln!("error: {error}");
            Ok(Outcome::Found)
        }
        Err(error) => Err(error),
    }
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file())
}
