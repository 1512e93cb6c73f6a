//! Modules in registries: one pull for all policies that name the same reference at the same time, the allowed registries,
//! and the rules of `--trust`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::OnceCell;
use wardset_core::policy::OciReference;
use wardset_signatures::{RepositoryPrefix, SignatureRefusal, Trust};

use super::FetchError;
use crate::metrics::{PullMetrics, PullResult};
use crate::registry::{ContentCache, PulledModule, RegistryClient, RegistryError, RegistryOptions};

/// Everything that decides about modules from registries. The default reaches all registries, keeps nothing on disk and
/// needs no signature.
#[derive(Debug, Default)]
pub struct RegistrySupply {
    /// How to reach registries.
    pub options: RegistryOptions,
    /// The content on disk. Without it, each load pulls the module.
    pub cache: Option<ContentCache>,
    /// Which signatures modules need.
    pub trust: Trust,
    /// The repositories from which modules may come. If empty, all of them.
    pub allowed: Vec<RepositoryPrefix>,
    /// The counters of pulls.
    pub metrics: PullMetrics,
}

/// Pulls modules, and checks their signatures.
pub(super) struct Registries {
    puller: Arc<Puller>,
    allowed: Vec<RepositoryPrefix>,
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
    metrics: PullMetrics,
}

impl Registries {
    pub(super) fn new(supply: RegistrySupply) -> Self {
        let RegistrySupply { options, cache, trust, allowed, metrics } = supply;
        let puller = Puller { client: RegistryClient::new(options), cache, trust, metrics };
        Self { puller: Arc::new(puller), allowed, pulls: Mutex::default() }
    }

    /// Returns the module of a reference. If another policy waits for the same one, both get the same answer, so a tag has
    /// one digest for all policies that load together.
    pub(super) async fn pull(&self, reference: &OciReference) -> Result<Arc<PulledModule>, FetchError> {
        self.check_allowed(reference)?;
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

    /// Returns the digest to which a tag leads now.
    pub(super) async fn digest_of_tag(&self, reference: &OciReference) -> Result<String, FetchError> {
        self.check_allowed(reference)?;
        let digest = self.puller.client.digest_of_tag(reference).await;
        digest.map_err(|error| FetchError::Registry(Arc::new(error)))
    }

    /// Fails before any request if the operator does not allow the repository.
    fn check_allowed(&self, reference: &OciReference) -> Result<(), FetchError> {
        let location = reference.location();
        if self.allowed.is_empty() || self.allowed.iter().any(|prefix| prefix.covers(&location)) {
            return Ok(());
        }
        Err(FetchError::NotAllowed { location, allowed: self.allowed.clone() })
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
    async fn pull(&self, reference: &OciReference) -> Result<PulledModule, Failed> {
        let start = Instant::now();
        let pulled = self.pull_checked(reference).await;
        let result = match &pulled {
            Ok(pulled) if pulled.received.is_none() => PullResult::Cached,
            Ok(_) => PullResult::Pulled,
            Err(Failed::Registry(_)) => PullResult::Failed,
            Err(Failed::Untrusted(..)) => PullResult::Untrusted,
        };
        self.metrics.pulled(result, start.elapsed());
        pulled
    }

    /// Pulls a module, and checks the signatures of the digest that was pulled: a tag may move meanwhile.
    async fn pull_checked(&self, reference: &OciReference) -> Result<PulledModule, Failed> {
        let pulled = self.client.pull(reference, self.cache.as_ref()).await.map_err(failed)?;
        self.metrics.received(pulled.received.unwrap_or_default());
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
