//! Paths. Every path of the repository that tasks know is written here.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

/// A working copy of this repository.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// Finds the working copy that cargo runs xtask from, or else the one around the current directory.
    pub(crate) fn find() -> Result<Self> {
        // Asked at run time: a path compiled in would be wrong once a copy of the repository shares a target directory.
        if let Some(xtask) = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)
            && let Some(root) = xtask.parent()
            && is_root(root)
        {
            return Ok(Self { root: root.to_owned() });
        }
        let here = env::current_dir().context("cannot tell the current directory")?;
        match here.ancestors().find(|dir| is_root(dir)) {
            Some(root) => Ok(Self { root: root.to_owned() }),
            None => bail!(
                "`{}` is not in a copy of this repository\nhint: run `cargo xtask` inside one",
                here.display()
            ),
        }
    }

    /// A copy of the repository at `root`.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The contract with guests.
    pub(crate) fn wit(&self) -> PathBuf {
        self.root.join("wit")
    }

    /// The workspace of the guests.
    pub(crate) fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    /// The modules that are committed, and `digests.json`.
    pub(crate) fn built(&self) -> PathBuf {
        self.policies().join("built")
    }

    /// The Go modules that the programs of a control plane are built from, and KWOK's configuration.
    pub(crate) fn control_plane(&self) -> PathBuf {
        self.root.join("tests/cluster")
    }

    /// The default set of policies.
    pub(crate) fn default_policies(&self) -> PathBuf {
        self.policies().join("defaults")
    }

    /// The workspace of the fuzz targets.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// The licence of Wardset.
    pub(crate) fn licence(&self) -> PathBuf {
        self.root.join("LICENSE")
    }

    /// The manifests, and their manuals.
    pub(crate) fn deploy(&self) -> PathBuf {
        self.root.join("deploy")
    }

    /// The Helm chart, the one source of the installed objects.
    pub(crate) fn chart(&self) -> PathBuf {
        self.deploy().join("chart/wardset")
    }

    /// The definition of `policies.wardset.dev`, generated.
    pub(crate) fn crd(&self) -> PathBuf {
        self.chart().join("files/policies.wardset.dev.yaml")
    }

    /// The Go module that names Helm's version.
    pub(crate) fn helm(&self) -> PathBuf {
        self.root.join("xtask/helm")
    }

    /// cargo's target directory, which the environment and cargo's configuration can move.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        // cargo takes a relative one from the current directory, which it has in common with xtask.
        if let Some(dir) = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            return std::path::absolute(&dir).context("cannot resolve `CARGO_TARGET_DIR`");
        }
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
        }
        let mut cargo = process::cargo(&self.root);
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        let metadata: Metadata = serde_json::from_str(&process::stdout(&mut cargo)?)
            .context("cannot read what `cargo metadata` prints")?;
        Ok(metadata.target_directory)
    }

    /// The target directory of the policies' workspace, for the guest target and the machine's own alike.
    pub(crate) fn policies_target(&self) -> Result<PathBuf> {
        Ok(self.target()?.join("policies"))
    }
}

fn is_root(dir: &Path) -> bool {
    dir.join("wit/policy.wit").is_file() && dir.join("xtask/Cargo.toml").is_file()
}
