//! `wardset policy compile`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use wardset_core::policy::{ModuleRef, PolicyError};
use wardset_runtime::Cache;

use super::policy_args::PolicyCompile;
use super::setup::{self, SupplyOptions};
use crate::offline::text;
use crate::supply::builtin;
use crate::telemetry;

pub(super) async fn run(args: PolicyCompile) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let options = SupplyOptions { trust: args.trust.trust, ..args.compile.into() };
    // A server without a cache only starts slowly. Here, filling it is the purpose.
    let folder = options.cache.as_ref().context("there is no cache folder; hint: pass --cache-dir")?;
    Cache::open(folder)?;
    let modules = setup::modules(&options)?;
    for named in &args.modules {
        let started = Instant::now();
        let module = module(named)?;
        let loaded = setup::showing_compilations(&modules, modules.load(&module, Path::new(""))).await;
        let loaded = loaded.with_context(|| format!("failed to load the module `{named}`"))?;
        super::print(&format!(
            "{named}: {}, compiled or found in the cache after {:.1} s\n",
            text::count(loaded.bytes.len(), "byte"),
            started.elapsed().as_secs_f64()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the module that the user named: as in a policy file, or by the path of a file.
pub(super) fn module(named: &str) -> anyhow::Result<ModuleRef> {
    if named.split_once(':').is_some_and(|(source, _)| ["builtin", "file", "oci"].contains(&source)) {
        return named.parse().map_err(|error| match error {
            // The field of a policy file, which this is not.
            PolicyError::Field { problem, .. } => anyhow!("failed to load the module `{named}`: {problem}"),
            other => other.into(),
        });
    }
    let is_builtin = builtin::MODULES.iter().any(|module| module.name == named);
    anyhow::ensure!(
        !is_builtin || Path::new(named).exists(),
        "failed to read the module `{named}`: there is no such file; hint: `builtin:{named}` names the built-in module"
    );
    Ok(ModuleRef::File(named.to_owned()))
}
