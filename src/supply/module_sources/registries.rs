//! Modules in registries: one pull for all policies that name the same reference at the same time, and the rules of
//! `--trust`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;
use wardset_core::policy::OciReference;
use wardset_signatures::{SignatureRefusal, Trust};

use super::FetchError;
use crate::registry::{ContentCache, PulledModule, RegistryClient, RegistryError, RegistryOptions};

/// Pulls modules, and checks their signatures.
pub(super) struct Registries {
    puller: Arc<Puller>,
    /// The pulls that somebody waits for.
    pulls: Mutex<HashMap<OciReference, Weak<Pull>>>,
}

type Pull = OnceCell<Result<Arc<PulledModule>, Failed>>;

/// The failure that all waiting policies share.
#[derive(Clone)]
enum Failed {
    Registry(Arc<RegistryError>),
    /// The reference with its digest, and the reason why a rule refuses it.
    Untrusted(String, Arc<SignatureRefusal>),
}

struct Puller {
    client: RegistryClient,
    cache: Option<ContentCache>,
    trust: Trust,
}

impl Registries {
    pub(super) fn new(options: RegistryOptions, cache: Option<ContentCache>, trust: Trust) -> Self {
        let puller = Puller { client: RegistryClient::new(options), cache, trust };
        Self { puller: Arc::new(puller), pulls: Mutex::default() }
    }

    /// Returns the module of a reference. If another policy waits for the same one, both get the same answer, so a tag has
    /// one digest for all policies that load together.
    pub(super) async fn pull(&self, reference: &OciReference) -> Result<Arc<PulledModule>, FetchError> {
        let pull = self.pull_of(reference);
        let pulled = pull.get_or_init(|| async {
            let (puller, reference) = (Arc::clone(&self.puller), reference.clone());
            // A task of its own: if the caller runs out of time, the content still reaches the cache.
            let task = tokio::spawn(async move { puller.pull(&reference).await });
            match task.await {
                Ok(pulled) => pulled.map(Arc::new),
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down, and this task with it.
                    Err(_) => std::future::pending().await,
                },
            }
        });
        pulled.await.clone().map_err(FetchError::from)
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

impl Puller {
    /// Pulls a module, and checks the signatures of the digest that was pulled: a tag may move meanwhile.
    async fn pull(&self, reference: &OciReference) -> Result<PulledModule, Failed> {
        let pulled = self.client.pull(reference, self.cache.as_ref()).await.map_err(failed)?;
        self.check(&pulled.reference).await?;
        Ok(pulled)
    }

    async fn check(&self, reference: &OciReference) -> Result<(), Failed> {
        let Some(rule) = self.trust.rule(&reference.location()) else {
            if !self.trust.is_empty() {
                tracing::warn!(
                    module = %reference,
                    "no rule of `--trust` covers the module; hint: a rule with `prefix: '*'` covers all of them"
                );
            }
            return Ok(());
        };
        let checked = self.client.check(reference, rule, self.cache.as_ref()).await.map_err(failed)?;
        checked.map(drop).map_err(|refusal| Failed::Untrusted(reference.to_string(), Arc::new(refusal)))
    }
}

fn failed(error: RegistryError) -> Failed {
    Failed::Registry(Arc::new(error))
}

impl From<Failed> for FetchError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Registry(error) => Self::Registry(error),
            Failed::Untrusted(reference, source) => Self::Untrusted { reference, source },
        }
    }
}
