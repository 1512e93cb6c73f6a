//! The sources of modules: the binary itself, and files.

mod file;

use std::borrow::Cow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use wardset_core::policy::ModuleRef;
use wardset_core::text::nearest;
use wardset_runtime::Module;

use super::builtin;

/// Fetches the bytes of modules.
pub(super) struct Sources;

/// The bytes of a module.
pub(super) struct Fetched {
    pub(super) bytes: Cow<'static, [u8]>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub(super) digest: String,
}

/// An error of a source.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The binary does not contain the module.
    #[error("unknown built-in module `{name}`{}", suggestion(name))]
    NoBuiltin {
        /// The name after `builtin:`.
        name: String,
    },
    /// The system refuses to read the file.
    #[error("failed to read the module `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
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

/// Names the built-in module that was probably meant, or all of them.
fn suggestion(name: &str) -> String {
    let known = || builtin::MODULES.iter().map(|module| module.name);
    match nearest(name, known()) {
        Some(name) => format!("; did you mean `builtin:{name}`?"),
        None => {
            let names: Vec<String> = known().map(|name| format!("`{name}`")).collect();
            format!(", expected one of {}", names.join(", "))
        }
    }
}
