//! Pulls and pushes modules.

use std::fmt;

use bytes::Bytes;
use reqwest::Client;
use tokio::sync::OnceCell;
use wardset_core::policy::{OciReference, OciRepository};

use super::artifact::{self, Annotations, ModuleArtifact};
use super::content_cache::ContentCache;
use super::http;
use super::options::RegistryOptions;
use super::problem::{RegistryError, RegistryProblem};
use super::session::Session;
use super::transfer::{self, MAX_MANIFEST, Tried};

/// A client of registries. It connects when it is first used.
#[derive(Debug)]
pub struct RegistryClient {
    options: RegistryOptions,
    http: OnceCell<Client>,
}

/// A module from a registry or from the cache.
#[derive(Debug, Clone)]
pub struct PulledModule {
    /// The reference with the digest of the manifest.
    pub reference: OciReference,
    /// The component.
    pub component: Bytes,
    /// The annotations of the manifest.
    pub annotations: Annotations,
    /// Size of the part that came from the registry, in bytes: the module, or nothing if the cache had it. `None` if no
    /// request was sent.
    pub received: Option<u64>,
}

impl RegistryClient {
    /// Creates a client.
    #[must_use]
    pub fn new(options: RegistryOptions) -> Self {
        Self { options, http: OnceCell::new() }
    }

    /// Returns the module of a reference. If the reference has a digest and the cache has the content, no request is
    /// sent.
    ///
    /// # Errors
    ///
    /// The registry does not answer, refuses, or has no module there.
    pub async fn pull(
        &self,
        reference: &OciReference,
        cache: Option<&ContentCache>,
    ) -> Result<PulledModule, RegistryError> {
        self.operate("pull", reference, async {
            if let Some(pulled) = cached(reference, cache)? {
                return Ok(pulled);
            }
            let mut session = self.session(reference.in_repository(), "pull").await?;
            let (manifest, digest) = transfer::manifest(&mut session, reference).await?;
            let (layer, annotations) = artifact::layer_of(&manifest)?;
            let known = cache.and_then(|cache| cache.get(&layer.digest, layer.size));
            let received = if known.is_some() { 0 } else { layer.size };
            let component = match known {
                Some(component) => component,
                None => {
                    let component = transfer::blob(&mut session, &layer).await?;
                    artifact::check_component(&component)?;
                    if let Some(cache) = cache {
                        cache.put(&layer.digest, &component);
                    }
                    component
                }
            };
            // After the module, so that a cached manifest has its module, too, unless that was evicted.
            if let Some(cache) = cache {
                cache.put(&digest, &manifest);
            }
            Ok(PulledModule {
                reference: reference.clone().pinned(&digest),
                component: component.into(),
                annotations,
                received: Some(received),
            })
        })
        .await
    }

    /// Stores a module under the reference's tag. Returns the reference with the digest of the manifest.
    ///
    /// # Errors
    ///
    /// The registry does not answer or refuses.
    pub async fn push(
        &self,
        reference: &OciReference,
        artifact: &ModuleArtifact,
    ) -> Result<OciReference, RegistryError> {
        self.operate("push", reference, async {
            let mut session = self.session(reference.in_repository(), "push").await?;
            transfer::upload(&mut session, &artifact.layer).await?;
            transfer::upload(&mut session, &artifact.config).await?;
            let digest = artifact.digest();
            let path = format!("manifests/{}", reference.tag().unwrap_or(&digest));
            transfer::put(&mut session, &path, artifact::MANIFEST, &artifact.manifest).await?;
            Ok(reference.clone().pinned(&digest))
        })
        .await
    }

    /// Returns a reference with its digest. If it has none, the registry says to which one the tag leads.
    ///
    /// # Errors
    ///
    /// The registry does not answer, refuses, or has no such tag.
    pub async fn resolve(&self, reference: &OciReference) -> Result<OciReference, RegistryError> {
        if reference.digest().is_some() {
            return Ok(reference.clone());
        }
        self.operate("resolve", reference, async {
            let mut session = self.session(reference.in_repository(), "pull").await?;
            let (_, digest) = transfer::manifest(&mut session, reference).await?;
            Ok(reference.clone().pinned(&digest))
        })
        .await
    }

    /// Returns the digest to which the tag of a reference leads now. The registry names it, so it counts only as a hint that
    /// the tag has moved: [`RegistryClient::pull`] computes it.
    ///
    /// # Errors
    ///
    /// The registry does not answer, refuses, or has no such tag.
    pub async fn digest_of_tag(&self, reference: &OciReference) -> Result<String, RegistryError> {
        self.operate("resolve", reference, async {
            let mut session = self.session(reference.in_repository(), "pull").await?;
            match transfer::named_digest(&mut session, reference).await? {
                Some(digest) => Ok(digest),
                None => Ok(transfer::manifest(&mut session, reference).await?.1),
            }
        })
        .await
    }

    /// Starts a session for an operation on a repository.
    pub(super) async fn session<'c>(
        &'c self,
        repository: &'c OciRepository,
        operation: &'static str,
    ) -> Result<Session<'c>, RegistryProblem> {
        Ok(Session::new(&self.options, self.http().await?, repository, operation))
    }

    /// Runs an operation on an artifact within its time limit.
    pub(super) async fn operate<T>(
        &self,
        operation: &'static str,
        reference: &OciReference,
        work: impl Future<Output = Result<T, Tried>>,
    ) -> Result<T, RegistryError> {
        self.operate_on(operation, reference.host(), reference, work).await
    }

    /// Runs an operation within its time limit. `named` is the reference or the repository, for messages.
    pub(super) async fn operate_on<T>(
        &self,
        operation: &'static str,
        host: &str,
        named: &impl fmt::Display,
        work: impl Future<Output = Result<T, Tried>>,
    ) -> Result<T, RegistryError> {
        let time = self.options.times.whole;
        let done = tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
            let host = host.to_owned();
            Err(RegistryProblem::Slow { host, time }.into())
        });
        done.map_err(|Tried { attempts, problem }| RegistryError {
            operation,
            reference: named.to_string(),
            attempts,
            problem,
        })
    }

    async fn http(&self) -> Result<&Client, RegistryProblem> {
        let start = || async {
            let (ca, times) = (self.options.ca.clone(), self.options.times.clone());
            let started = tokio::task::spawn_blocking(move || http::client(ca.as_deref(), &times));
            started.await.map_err(|error| RegistryProblem::Client { cause: error.to_string() })?
        };
        self.http.get_or_try_init(start).await
    }
}

/// Returns a module that the cache has in full. Without a digest in the reference, only the registry can answer.
fn cached(
    reference: &OciReference,
    cache: Option<&ContentCache>,
) -> Result<Option<PulledModule>, RegistryProblem> {
    let (Some(digest), Some(cache)) = (reference.digest(), cache) else { return Ok(None) };
    let Some(manifest) = cache.get(digest, MAX_MANIFEST) else { return Ok(None) };
    let (layer, annotations) = artifact::layer_of(&manifest)?;
    let Some(component) = cache.get(&layer.digest, layer.size) else { return Ok(None) };
    artifact::check_component(&component)?;
    let (reference, component) = (reference.clone(), component.into());
    Ok(Some(PulledModule { reference, component, annotations, received: None }))
}
