//! `cargo xtask dependencies`: other people's software in the program: its rules, its licences, and the list of it.
//!
//! ```text
//! cargo tree, cargo metadata, Cargo.lock ─► graph ─► notice (licences with their texts)
//!                                                 └► sbom   (CycloneDX)
//! ```

mod deny;
mod graph;
mod notice;
mod sbom;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use self::graph::Graph;
use crate::repository::Repository;
use crate::{Outcome, toolchain};

/// The subtasks of `cargo xtask dependencies`.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Check licences, bans and sources with cargo-deny, by the rules in `deny.toml`
    Check(CheckOptions),
    /// Print the licences of all crates in the program, with their texts
    Notice,
    /// Print the crates in the program as CycloneDX JSON
    Sbom,
}

/// The options of `cargo xtask dependencies check`.
#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// Also check for known vulnerabilities; fetches the database of advisories
    #[arg(long)]
    advisories: bool,
}

/// Runs a subtask.
///
/// # Errors
/// cargo-deny is missing, the crates cannot be listed, or a crate has no licence text.
pub(crate) fn run(repository: &Repository, task: &Task, time: Option<Timestamp>) -> Result<Outcome> {
    match task {
        Task::Check(options) => return deny::check(repository, options.advisories),
        Task::Notice => print!("{}", notice::write(&Graph::read(repository)?)?),
        Task::Sbom => print!("{}", sbom::write(&Graph::read(repository)?, time)),
    }
    Ok(Outcome::Fine)
}

/// The documents about licences and crates that accompany the program.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The licence of Wardset.
    pub(crate) licence: Vec<u8>,
    /// The licences of all crates in the program, with their texts.
    pub(crate) notice: Vec<u8>,
    /// The licences of Rust's standard library, as its developers publish them.
    pub(crate) rust: Vec<u8>,
    /// The crates, as CycloneDX JSON.
    pub(crate) sbom: Vec<u8>,
}

impl Documents {
    /// Makes the documents. The software bill of materials contains `time`.
    ///
    /// # Errors
    /// The crates cannot be listed, a crate has no licence text, or the toolchain lacks its own.
    pub(crate) fn make(repository: &Repository, time: Option<Timestamp>) -> Result<Self> {
        let graph = Graph::read(repository)?;
        Ok(Self {
            licence: read(&repository.licence())?,
            notice: notice::write(&graph)?.into_bytes(),
            rust: rust()?,
            sbom: sbom::write(&graph, time).into_bytes(),
        })
    }

    /// Returns the texts about licences by the name of their files.
    pub(crate) fn licences(&self) -> [(&'static str, &[u8]); 3] {
        [(LICENCE, &self.licence), (NOTICE, &self.notice), (RUST, &self.rust)]
    }
}

/// Reads the licences of the standard library from the toolchain that runs this command.
fn rust() -> Result<Vec<u8>> {
    let sysroot = toolchain::sysroot(&toolchain::rustc()?)?;
    read(&sysroot.join("share/doc/rust/COPYRIGHT-library.html"))
        .context("the program contains Rust's standard library, whose licences were not found\nhint: use a toolchain from rustup")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// The file with the licence of Wardset.
pub(crate) const LICENCE: &str = "LICENSE";

/// The file with the licences of all crates.
pub(crate) const NOTICE: &str = "THIRD-PARTY.txt";

/// The file with the licences of the standard library.
pub(crate) const RUST: &str = "RUST-LIBRARY.html";
