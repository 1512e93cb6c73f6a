//! Modules in registries: one pull for all policies that name the same reference at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;
use wardset_core::policy::OciReference;

use super::FetchError;
use crate::registry::{ContentCache, PulledModule, RegistryClient, RegistryError, RegistryOptions};

/// Pulls modules.
pub(super) struct Registries {
    client: Arc<RegistryClient>,
    cache: Option<ContentCache>,
    /// The pulls that somebody waits for.
    pulls: Mutex<HashMap<OciReference, Weak<Pull>>>,
}

type Pull = OnceCell<Result<Arc<PulledModule>, Arc<RegistryError>>>;

impl Registries {
    pub(super) fn new(options: RegistryOptions, cache: Option<ContentCache>) -> Self {
        Self { client: Arc::new(RegistryClient::new(options)), cache, pulls: Mutex::default() }
    }

    /// Returns the module of a reference. If another policy waits for the same one, both get the same answer, so a tag has
    /// one digest for all policies that load together.
    pub(super) async fn pull(&self, reference: &OciReference) -> Result<Arc<PulledModule>, FetchError> {
        let pull = self.pull_of(reference);
        let pulled = pull.get_or_init(|| async {
            let (client, cache, reference) =
                (Arc::clone(&self.client), self.cache.clone(), reference.clone());
            // A task of its own: if the caller runs out of time, the content still reaches the cache.
            let task = tokio::spawn(async move { client.pull(&reference, cache.as_ref()).await });
            match task.await {
                Ok(pulled) => pulled.map(Arc::new).map_err(Arc::new),
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down, and this task with it.
                    Err(_) => std::future::pending().await,
                },
            }
        });
        pulled.await.clone().map_err(FetchError::Registry)
    }

    fn pull_of(&self, reference: &OciReference) -> Arc<Pull> {
        // Its holders cannot panic, so the lock is never poisoned.
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pull| pull.strong_count() > 0);
        if let Some(pull) = pulls.get(reference).and_then(Weak::upgrade) {
            return pull;
        }
        let pull = Arc::default();
        pulls.insert(reference.clone(), Arc::downgrade(&pull));
        pull
    }
}
