//! Runs cargo-deny on all three workspaces.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Outcome;
use crate::process;
use crate::repository::Repository;

/// Checks the dependencies of each workspace, and reports all findings.
///
/// # Errors
/// cargo-deny is missing.
pub(crate) fn check(repository: &Repository, advisories: bool) -> Result<Outcome> {
    require(&mut process::cargo(repository.root()))?;
    let config = repository.root().join("deny.toml");
    if advisories {
        fetch(process::cargo(repository.root()).args(["deny", "--config"]).arg(&config))?;
    }
    let mut outcome = Outcome::Fine;
    for workspace in [repository.root().to_owned(), repository.policies(), repository.fuzz()] {
        let mut deny = process::cargo(repository.root());
        deny.args(["deny", "--locked", "--manifest-path"]).arg(workspace.join("Cargo.toml"));
        deny.arg("--config").arg(&config);
        deny.args(["check", "--hide-inclusion-graph"]);
        deny.args(["licenses", "bans", "sources"]);
        if advisories {
            deny.arg("advisories");
        }
        eprintln!("{}", process::line(&deny));
        let status = deny
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .with_context(|| format!("cannot start {}", process::line(&deny)))?;
        if !status.success() {
            outcome = Outcome::Found;
        }
    }
    Ok(outcome)
}

/// Fetches the database of advisories. A check that failed to fetch it would look like one that found something.
fn fetch(deny: &mut Command) -> Result<()> {
    process::show(deny.args(["fetch", "db"])).context(
        "failed to fetch the database of advisories\n\
         hint: run it in a network that has the database, or without `--advisories`",
    )
}

/// Fails if this cargo has no `deny`.
fn require(cargo: &mut Command) -> Result<()> {
    if process::stdout(cargo.args(["deny", "--version"])).is_err() {
        bail!(
            "expected the program `cargo-deny`, found none\n\
             hint: run `cargo install cargo-deny@{VERSION} --locked`, which takes minutes"
        );
    }
    Ok(())
}

/// The version that `deny.toml` was tried with.
const VERSION: &str = "0.20.2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_without_the_database_is_an_error() {
        let error = fetch(&mut Command::new("false")).unwrap_err();
        let text = crate::message::of(&error);
        assert!(
            text.starts_with("failed to fetch the database of advisories: `false fetch db` failed"),
            "{text}"
        );
        assert!(text.ends_with("or without `--advisories`"), "{text}");
    }

    #[test]
    fn names_the_command_that_installs_a_missing_cargo_deny() {
        let error = require(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.ends_with("hint: run `cargo install cargo-deny@0.20.2 --locked`, which takes minutes"));
    }
}
