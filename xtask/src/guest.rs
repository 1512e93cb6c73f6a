//! Building policies for the guest target and turning them into components.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use wardset_authoring::component;
use wardset_authoring::guest::{self, TARGET};

use crate::digests::Policy;
use crate::process;
use crate::repository::Repository;
use crate::toolchain::Compiler;

/// Builds `policies` and returns their components by name.
///
/// The bytes depend on the sources, the compiler and this program, and not on the folders.
pub(crate) fn build(
    repository: &Repository,
    compiler: &Compiler,
    policies: &[&Policy],
) -> Result<BTreeMap<String, Vec<u8>>> {
    let target = repository.policies_target()?;
    let mut cargo = process::cargo(&repository.policies());
    guest::configure(&mut cargo, repository.root(), "/wardset", compiler.sysroot())?;
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(policies.iter().flat_map(|policy| ["--package", &policy.spec]))
        .env("RUSTC", compiler.rustc());
    process::show(&mut cargo).context("the policies do not build")?;

    policies
        .iter()
        .map(|policy| {
            let path = target.join(TARGET).join("release").join(format!("{}.wasm", policy.library));
            let core = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let component = component::encode(&core)
                .with_context(|| format!("`{}` cannot be turned into a component", policy.name))?;
            Ok((policy.name.clone(), component))
        })
        .collect()
}
