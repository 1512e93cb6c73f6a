//! The modules of policies: compiles each once, and shares it among all policies that use the same bytes.
//!
//! Several modules load concurrently. A module that compiles slowly delays only the policies that use it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OnceCell, watch};
use wardset_core::policy::{Mode, ModuleRef, OciReference, Policy, Resource};
use wardset_runtime::{Cache, Compiler, Engine, LoadError, MeasuredCompilation, Member, Module};

use super::module_sources::{FetchError, Fetched, RegistrySupply, Sources, blocking};
use super::policies_error::PoliciesError;
use crate::registry::Annotations;

/// Time for which a module is not compiled again after it exhausted the compiler's limits.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Loaded modules, keyed by the digest of their bytes.
pub struct Modules {
    sources: Sources,
    engine: Arc<Engine>,
    cache: Option<Cache>,
    compiler: Compiler,
    /// Held only for look-ups. A slow load blocks only the cell of its own module.
    known: Mutex<HashMap<String, Known>>,
    /// The modules that are compiled now.
    compiling: watch::Sender<Vec<CompilingModule>>,
}

/// A module that is compiled for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilingModule {
    /// As the user named it.
    pub module: ModuleRef,
    /// Size of the component, in bytes.
    pub bytes: usize,
}

/// A loaded module and its bytes.
pub struct LoadedModule {
    /// The module.
    pub module: Arc<Module>,
    /// The bytes of the component.
    pub bytes: Bytes,
    /// The module's name. For a registry, it has the digest of the manifest.
    pub name: ModuleRef,
    /// The annotations of its artifact in a registry.
    pub annotations: Annotations,
}

/// An error in a module without a policy.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It cannot be found or read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It does not load.
    #[error(transparent)]
    Load(#[from] Arc<LoadError>),
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
        Self {
            sources: Sources::new(RegistrySupply::default()),
            engine,
            cache,
            compiler,
            known: Mutex::default(),
            compiling: watch::Sender::default(),
        }
    }

    /// Sets how to reach registries, and which of their modules to load.
    #[must_use]
    pub fn with_registries(self, registries: RegistrySupply) -> Self {
        Self { sources: Sources::new(registries), ..self }
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
        let LoadedModule { module, name, .. } = self.module(&policy, folder).await?;
        if let ModuleRef::Oci(reference) = &policy.module
            && reference.digest().is_none()
            && policy.mode == Mode::Enforce
        {
            tracing::warn!(
                policy = &*policy.name,
                module = %policy.module,
                resolved = %name,
                "the policy enforces a module whose tag can move; hint: write `module: {name}`"
            );
        }
        // The active policy names the digest that runs.
        let policy = Policy { module: name, ..policy };
        Ok(Member::new(&self.engine, policy, module).await?)
    }

    /// Returns the digest to which a tag leads now.
    pub(super) async fn digest_of_tag(&self, reference: &OciReference) -> Result<String, FetchError> {
        self.sources.digest_of_tag(reference).await
    }

    /// Returns the modules that are compiled now, and each change. Modules from the cache are never among them.
    #[must_use]
    pub fn compiling(&self) -> watch::Receiver<Vec<CompilingModule>> {
        self.compiling.subscribe()
    }

    /// Compiles a module without the cache, and discards the code.
    ///
    /// # Errors
    ///
    /// A module that does not compile.
    pub async fn measure_compilation(&self, bytes: &[u8]) -> Result<MeasuredCompilation, LoadError> {
        self.compiler.measure(&self.engine, bytes).await
    }

    /// Checks whether a policy could become active, by the same steps that activate it.
    ///
    /// # Errors
    ///
    /// The problem with the policy.
    pub async fn check(&self, resource: Resource) -> Result<(), PoliciesError> {
        let name = resource.metadata.name.clone();
        // The parser of CEL is slow, and this thread also reads requests.
        let policy = blocking(move || Policy::try_from(resource)).await;
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

    async fn module(&self, policy: &Policy, folder: &Path) -> Result<LoadedModule, PoliciesError> {
        self.load(&policy.module, folder).await.map_err(|error| {
            let (policy, module) = (Arc::clone(&policy.name), policy.module.clone());
            match error {
                ModuleError::Fetch(source) => PoliciesError::Fetch { policy, source },
                ModuleError::Load(source) => PoliciesError::Module { policy, module, source },
            }
        })
    }

    /// Returns a module without a policy. A relative `file:` path starts at `folder`.
    ///
    /// # Errors
    ///
    /// A module that cannot be found or loaded.
    pub async fn load(&self, module: &ModuleRef, folder: &Path) -> Result<LoadedModule, ModuleError> {
        let Fetched { bytes, digest, module: name, annotations } = self.sources.fetch(module, folder).await?;
        let cell = self.cell(&digest);
        // The first caller loads the module, and the others wait for it. If the first caller is cancelled, the next
        // one starts again.
        let loaded = cell.get_or_init(|| async {
            let mut _compilation = None;
            let compiles = || _compilation = Some(self.begin_compilation(module, bytes.len()));
            let (compiler, cache) = (&self.compiler, self.cache.as_ref());
            let loaded = Module::load_and_tell(compiler, &self.engine, &bytes, cache, compiles).await;
            loaded.map(Arc::new).map_err(Arc::new)
        });
        let module = loaded.await.clone().inspect_err(|source| {
            if !is_costly(source) {
                self.forget(&digest, &cell);
            }
        })?;
        Ok(LoadedModule { module, bytes, name, annotations })
    }

    /// Lists a module as being compiled until the returned value is dropped.
    fn begin_compilation(&self, module: &ModuleRef, bytes: usize) -> Compilation<'_> {
        tracing::info!(%module, bytes, "compiling the module, which happens once for each digest");
        let this = CompilingModule { module: module.clone(), bytes };
        self.compiling.send_modify(|all| all.push(this.clone()));
        Compilation { all: &self.compiling, this }
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

/// An entry in the list of modules that are compiled now.
struct Compilation<'m> {
    all: &'m watch::Sender<Vec<CompilingModule>>,
    this: CompilingModule,
}

impl Drop for Compilation<'_> {
    fn drop(&mut self) {
        self.all.send_modify(|all| {
            // Two modules with the same name are equal here, so it does not matter which one is removed.
            if let Some(at) = all.iter().position(|other| *other == self.this) {
                all.remove(at);
            }
        });
    }
}

/// Returns whether another attempt would cost as much and most likely fail again.
fn is_costly(error: &LoadError) -> bool {
    matches!(error, LoadError::TooSlow(_) | LoadError::TooMuchCode | LoadError::Crashed(_))
}
