//! The modules of policies: finds them, compiles each once, and shares it among all policies that use the same bytes.
//!
//! Several modules load concurrently. A module that compiles slowly delays only the policies that use it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use wardset_core::policy::{ModuleRef, Policy, Resource};
use wardset_runtime::{Cache, Compiler, Engine, LoadError, MAX_MODULE, Member, Module};

use crate::builtin;
use crate::policies::PoliciesError;

/// Time for which a module is not compiled again after it exhausted the compiler's limits.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Loaded modules, keyed by the digest of their bytes.
pub struct Modules {
    engine: Arc<Engine>,
    cache: Option<Cache>,
    compiler: Compiler,
    /// Held only for look-ups. A slow load blocks only the cell of its own module.
    known: Mutex<HashMap<String, Known>>,
}

/// A module that is loaded, has failed to load, or is being loaded.
type Cell = Arc<OnceCell<Result<Arc<Module>, Arc<LoadError>>>>;

struct Known {
    cell: Cell,
    since: Instant,
}

impl Modules {
    /// Creates the store without modules. With `cache`, compiled code is kept on disk.
    #[must_use]
    pub fn new(engine: Arc<Engine>, cache: Option<Cache>, compiler: Compiler) -> Self {
        Self { engine, cache, compiler, known: Mutex::default() }
    }

    /// Returns the engine in which the modules run.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns the policy with its loaded module, ready to become active. A relative `file:` path starts at `folder`.
    ///
    /// # Errors
    ///
    /// A module that cannot be found or loaded, or that rejects the policy's settings.
    pub async fn member(&self, policy: Policy, folder: &Path) -> Result<Member, PoliciesError> {
        let module = self.module(&policy, folder).await?;
        Ok(Member::new(&self.engine, policy, module).await?)
    }

    /// Checks whether a policy could become active, by the same steps that activate it.
    ///
    /// # Errors
    ///
    /// The problem with the policy.
    pub async fn check(&self, resource: Resource) -> Result<(), PoliciesError> {
        let name = resource.metadata.name.clone();
        // The parser of CEL is slow, and this thread also decides reviews.
        let policy = elsewhere(move || Policy::try_from(resource)).await;
        let invalid = |source| PoliciesError::Rejected { name, source: Box::new(source) };
        let policy = policy.map_err(invalid)?;
        self.member(policy, Path::new("")).await.map(drop)
    }

    /// Drops modules that no policy uses any more.
    pub fn forget_unused(&self) {
        self.look_up().retain(|_, known| match known.cell.get() {
            Some(Ok(module)) => Arc::strong_count(module) > 1,
            Some(Err(error)) => is_costly(error) && known.since.elapsed() < REMEMBERED,
            // If the cell is shared, another task waits for the module.
            None => Arc::strong_count(&known.cell) > 1,
        });
    }

    async fn module(&self, policy: &Policy, folder: &Path) -> Result<Arc<Module>, PoliciesError> {
        let bytes = bytes(policy, folder).await?;
        let digest = Module::digest_of(&bytes);
        let cell = self.cell(&digest);
        // The first caller loads the module, and the others wait for it. If the first caller is cancelled, the next
        // one starts again.
        let loaded = cell.get_or_init(|| async {
            let loaded = Module::load_by(&self.compiler, &self.engine, &bytes, self.cache.as_ref()).await;
            loaded.map(Arc::new).map_err(Arc::new)
        });
        loaded.await.clone().map_err(|source| {
            if !is_costly(&source) {
                self.forget(&digest, &cell);
            }
            let (policy, module) = (Arc::clone(&policy.name), policy.module.clone());
            PoliciesError::Module { policy, module, source }
        })
    }

    fn cell(&self, digest: &str) -> Cell {
        let mut known = self.look_up();
        if known.get(digest).is_some_and(|known| {
            known.since.elapsed() >= REMEMBERED && matches!(known.cell.get(), Some(Err(_)))
        }) {
            known.remove(digest);
        }
        let new = || Known { cell: Cell::default(), since: Instant::now() };
        Arc::clone(&known.entry(digest.to_owned()).or_insert_with(new).cell)
    }

    /// Forgets a failure that may not happen again.
    fn forget(&self, digest: &str, cell: &Cell) {
        let mut known = self.look_up();
        if known.get(digest).is_some_and(|known| Arc::ptr_eq(&known.cell, cell)) {
            known.remove(digest);
        }
    }

    fn look_up(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        // Its holders cannot panic, so the lock is never poisoned.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether another attempt would cost as much and most likely fail again.
fn is_costly(error: &LoadError) -> bool {
    matches!(error, LoadError::TooSlow(_) | LoadError::TooMuchCode | LoadError::Crashed(_))
}

async fn bytes(policy: &Policy, folder: &Path) -> Result<Cow<'static, [u8]>, PoliciesError> {
    match &policy.module {
        ModuleRef::Builtin(name) => {
            let module = builtin::MODULES.iter().find(|module| module.name == name);
            let module = module.ok_or_else(|| PoliciesError::NoBuiltin {
                policy: Arc::clone(&policy.name),
                name: name.clone(),
            })?;
            Ok(module.bytes.into())
        }
        ModuleRef::File(path) => {
            let path = folder.join(path);
            let read = {
                let path = path.clone();
                elsewhere(move || read(&path)).await
            };
            match read {
                Ok(bytes) => Ok(bytes.into()),
                Err(source) => {
                    Err(PoliciesError::ModuleFile { policy: Arc::clone(&policy.name), path, source })
                }
            }
        }
    }
}

/// Reads bytes that may be a module. A policy may name any path, so this reads regular files only, and no more bytes
/// than a module may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Checked before opening, because opening a pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_MODULE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_MODULE {
        return Err(io::Error::other(format!("expected at most {MAX_MODULE} bytes, found more")));
    }
    Ok(bytes)
}

/// Runs slow work on a blocking thread. A panic continues here.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_regular_files_only() {
        for path in ["/dev/zero", "/"] {
            assert_eq!(read(Path::new(path)).unwrap_err().to_string(), "expected a regular file", "{path}");
        }
    }

    #[test]
    fn reads_no_more_bytes_than_a_module_may_have() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (len, taken) in [(MAX_MODULE, true), (MAX_MODULE + 1, false), (1 << 30, false)] {
            file.as_file().set_len(len as u64).unwrap();
            match read(file.path()) {
                Ok(bytes) => assert!(taken && bytes.len() == len, "{len}"),
                Err(error) => {
                    assert!(!taken, "{len}: {error}");
                    assert_eq!(error.to_string(), "expected at most 16777216 bytes, found more");
                }
            }
        }
    }
}
