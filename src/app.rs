//! The composition root: from where policies are to what decides by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use wardset_runtime::{Cache, CompileLimits, Compiler, Engine, EngineOptions, Snapshot};

use crate::modules::Modules;
use crate::policies;

/// Where the policies and the compiled modules are.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Files and folders; none means the default set.
    pub policies: Vec<PathBuf>,
    /// None: compile at every start.
    pub cache: Option<PathBuf>,
    /// What compiling one module may cost.
    pub compile: CompileLimits,
}

/// The modules, none loaded yet. A cache folder that can't be used is only said so in the log: it costs time.
///
/// # Errors
///
/// An engine that this machine can't run.
pub fn modules(sources: &Sources) -> anyhow::Result<Arc<Modules>> {
    let engine = Engine::new(EngineOptions::default())?;
    let cache = sources.cache.as_ref().and_then(|folder| match Cache::open(folder) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(
                error = format!("{error:#}"),
                "no cache of compiled modules: each start compiles them"
            );
            None
        }
    });
    Ok(Arc::new(Modules::new(engine, cache, compiler(sources.compile)?)))
}

/// The least memory that a compilation gets where nobody said how much: what the built-in modules need, with a reserve.
const LEAST_MEMORY: u64 = 128 << 20;

/// What one compilation may cost: `time`, and `memory` in bytes. Where nobody said how much, a quarter of what the control
/// group of this process may have, so that two compilations and the server fit into it; at least 128 MiB, at most 1 GiB.
#[must_use]
pub fn compile_limits(time: Duration, memory: Option<u64>) -> CompileLimits {
    let default = CompileLimits::default().memory;
    // Within a container this is its own control group; elsewhere there is no such file, or it says `max`.
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let quarter = group.and_then(|limit| limit.trim().parse::<u64>().ok()).map(|limit| limit / 4);
    CompileLimits {
        time,
        memory: memory.unwrap_or_else(|| quarter.map_or(default, |most| most.clamp(LEAST_MEMORY, default))),
    }
}

/// Modules are compiled by this very program.
fn compiler(limits: CompileLimits) -> anyhow::Result<Compiler> {
    // The link is to the program as it was started, also where its file was replaced since.
    let link = Path::new("/proc/self/exe");
    let program = if link.exists() {
        link.to_owned()
    } else {
        std::env::current_exe().context("this program's own file, which compiles modules, can't be found")?
    };
    Ok(Compiler::danger_in_children(program, ["compile-module".into()], limits))
}

/// The policies in force, once and for all.
///
/// # Errors
///
/// A policy that can't come into force.
pub async fn snapshot(sources: &Sources) -> anyhow::Result<Snapshot> {
    let found =
        if sources.policies.is_empty() { policies::defaults() } else { policies::read(&sources.policies) }?;
    policies::load(&*modules(sources)?, found).await.context("the policies can't come into force")
}

/// The cache folder of the user who runs this, where one is known.
#[must_use]
pub fn default_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("wardset"))
}
