//! The sources of modules: the binary itself, and files.

mod fetch_error;
mod file;

use std::borrow::Cow;
use std::panic::resume_unwind;
use std::path::Path;

use wardset_core::policy::ModuleRef;
use wardset_runtime::Module;

use super::builtin;

pub(super) use fetch_error::FetchError;

/// Fetches the bytes of modules.
pub(super) struct Sources;

/// The bytes of a module.
pub(super) struct Fetched {
    pub(super) bytes: Cow<'static, [u8]>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(super) digest: String,
}

impl Sources {
    /// Returns the bytes of a module. A relative `file:` path starts at `folder`.
    pub(super) async fn fetch(&self, module: &ModuleRef, folder: &Path) -> Result<Fetched, FetchError> {
        let bytes: Cow<'static, [u8]> = match module {
            ModuleRef::Builtin(name) => {
                let module = builtin::MODULES.iter().find(|module| module.name == name);
                module.ok_or_else(|| FetchError::NoBuiltin { name: name.clone() })?.bytes.into()
            }
            ModuleRef::File(path) => {
                let path = folder.join(path);
                let read = {
                    let path = path.clone();
                    blocking(move || file::read(&path)).await
                };
                read.map_err(|source| FetchError::File { path, source })?.into()
            }
        };
        Ok(Fetched { digest: Module::digest_of(&bytes), bytes })
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
