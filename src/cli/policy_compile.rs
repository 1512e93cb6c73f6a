//! `wardset policy compile`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use wardset_core::policy::ModuleRef;
use wardset_runtime::Cache;

use super::args::PolicyCompile;
use super::setup::{self, SupplyOptions};
use crate::offline::text;
use crate::telemetry;

pub(super) async fn run(args: PolicyCompile) -> anyhow::Result<ExitCode> {
    telemetry::for_commands();
    let options = SupplyOptions::from(args.compile);
    // A server without a cache only starts slowly. Here, filling it is the purpose.
    let folder = options.cache.as_ref().context("there is no cache folder; hint: pass --cache-dir")?;
    Cache::open(folder)?;
    let modules = setup::modules(&options)?;
    for named in &args.modules {
        let started = Instant::now();
        let module = module(named);
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
pub(super) fn module(named: &str) -> ModuleRef {
    named.parse().unwrap_or_else(|_| ModuleRef::File(named.to_owned()))
}
