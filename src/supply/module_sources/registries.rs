//! Modules in registries: one pull for all policies that name the same reference at the same time, and the rules of
//! `--trust`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;
use wardset_core::policy::OciReference;
use wardset_signatures::{ManifestDigest, SignatureRefusal, Trust};

use super::FetchError;
use crate::registry::{ContentCache, PulledModule, RegistryClient, RegistryError, RegistryOptions};

/// Pulls modules, and checks their signatures.
pub(super) struct Registries {
    puller: Arc<Puller>,
    /// The pulls that somebody waits for.
    pulls: Mutex<HashMap<OciReference, Weak<Pull>>>,
}

type Pull = OnceCell<Result<Arc<PulledModule>, Failed>>;

/// The reason why all that wait for a pull get no module.
#[derive(Clone)]
enum Failed {
    Registry(Arc<RegistryError>),
    /// The reference with its digest, and why its signatures do not do.
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
        let repository = format!("{}/{}", reference.host(), reference.repository());
        let Some(rule) = self.trust.rule(&repository) else {
            if !self.trust.is_empty() {
                tracing::warn!(
                    module = %reference,
                    "no rule of `--trust` covers the module; hint: a rule with `prefix: '*'` covers all of them"
                );
            }
            return Ok(());
        };
        if !rule.require {
            return Ok(());
        }
        let untrusted = |refusal| Failed::Untrusted(reference.to_string(), Arc::new(refusal));
        let digest = reference.digest().unwrap_or_default();
        // A client pins what it pulled, so there is a digest.
        let parsed: ManifestDigest = digest.parse().map_err(|_| untrusted(rule.unsigned()))?;
        // With signatures in the cache, a module loads while its registry is away.
        let known = self.cache.as_ref().and_then(|cache| cache.signatures(digest));
        if known.is_some_and(|known| rule.check(&known, parsed).is_ok()) {
            return Ok(());
        }
        let signatures = self.client.signatures(reference).await.map_err(failed)?;
        rule.check(&signatures, parsed).map_err(untrusted)?;
        if let Some(cache) = &self.cache {
            cache.put_signatures(digest, &signatures);
        }
        Ok(())
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
