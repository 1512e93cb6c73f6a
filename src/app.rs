//! The composition root: from where policies are to what decides by them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use wardset_runtime::{Cache, Engine, EngineOptions, Snapshot};

use crate::modules::Modules;
use crate::policies;

/// Where the policies and the compiled modules are.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Files and folders; none means the default set.
    pub policies: Vec<PathBuf>,
    /// None: compile at every start.
    pub cache: Option<PathBuf>,
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
    Ok(Arc::new(Modules::new(engine, cache)))
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
