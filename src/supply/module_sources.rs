//! The sources of modules: the binary itself, files, and registries.

mod fetch_error;
mod file;
mod registries;

use std::panic::resume_unwind;
use std::path::Path;

use bytes::Bytes;
use wardset_core::policy::{ModuleRef, OciReference};
use wardset_runtime::Module;

use super::builtin;
use crate::registry::Annotations;
use registries::Registries;

pub(super) use fetch_error::FetchError;
pub use registries::RegistrySupply;

/// Fetches the bytes of modules.
pub(super) struct Sources {
    registries: Registries,
}

/// The bytes of a module.
pub(super) struct Fetched {
    pub(super) bytes: Bytes,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(super) digest: String,
    /// The module's name. For a registry, it has the digest of the manifest.
    pub(super) module: ModuleRef,
    /// The annotations of its artifact in a registry.
    pub(super) annotations: Annotations,
}

impl Sources {
    /// Creates the sources.
    pub(super) fn new(registries: RegistrySupply) -> Self {
        Self { registries: Registries::new(registries) }
    }

    /// Returns the digest to which a tag leads now.
    pub(super) async fn digest_of_tag(&self, reference: &OciReference) -> Result<String, FetchError> {
        self.registries.digest_of_tag(reference).await
    }

    /// Returns the bytes of a module. A relative `file:` path starts at `folder`.
    pub(super) async fn fetch(&self, module: &ModuleRef, folder: &Path) -> Result<Fetched, FetchError> {
        let (mut name, mut annotations) = (module.clone(), Annotations::new());
        let bytes = match module {
            ModuleRef::Builtin(name) => {
                let module = builtin::MODULES.iter().find(|module| module.name == name);
                let module = module.ok_or_else(|| FetchError::NoBuiltin { name: name.clone() })?;
                Bytes::from_static(module.bytes)
            }
            ModuleRef::File(path) => {
                let path = folder.join(path);
                let read = {
                    let path = path.clone();
                    blocking(move || file::read(&path)).await
                };
                read.map_err(|source| FetchError::File { path, source })?.into()
            }
            ModuleRef::Oci(reference) => {
                let pulled = self.registries.pull(reference).await?;
                name = ModuleRef::Oci(pulled.reference.clone());
                annotations.clone_from(&pulled.annotations);
                pulled.component.clone()
            }
        };
        Ok(Fetched { digest: Module::digest_of(&bytes), bytes, module: name, annotations })
    }
}

/// Runs slow work on a blocking thread. A panic continues here.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
