//! The modules that policies name: found, compiled once, shared by all policies that name the same bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use wardset_core::policy::{ModuleRef, Policy, Resource};
use wardset_runtime::{Cache, Engine, LoadError, Member, Module};

use crate::builtin;
use crate::policies::PoliciesError;

/// Loaded modules, by the digest of their bytes.
pub struct Modules {
    engine: Arc<Engine>,
    cache: Option<Arc<Cache>>,
    loaded: Mutex<HashMap<String, Arc<Module>>>,
}

impl Modules {
    /// None loaded yet. With `cache`, compiled code is kept on disk.
    #[must_use]
    pub fn new(engine: Arc<Engine>, cache: Option<Cache>) -> Self {
        Self { engine, cache: cache.map(Arc::new), loaded: Mutex::default() }
    }

    /// The engine in which they run.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The policy with its module, ready to be put into force. A relative `file:` module starts at `folder`.
    ///
    /// # Errors
    ///
    /// A module that can't be found or used, or that refuses the policy.
    pub async fn member(&self, policy: Policy, folder: &Path) -> Result<Member, PoliciesError> {
        let module = self.module(&policy, folder).await?;
        Ok(Member::new(&self.engine, policy, module).await?)
    }

    /// Whether a policy could be put into force, by the very steps that do it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub async fn check(&self, resource: Resource) -> Result<(), PoliciesError> {
        let name = resource.metadata.name.clone();
        let invalid = |source| PoliciesError::Rejected { name, source: Box::new(source) };
        let policy = Policy::try_from(resource).map_err(invalid)?;
        self.member(policy, Path::new("")).await.map(drop)
    }

    /// Lets go of modules that no policy uses any more.
    pub async fn forget_unused(&self) {
        self.loaded.lock().await.retain(|_, module| Arc::strong_count(module) > 1);
    }

    async fn module(&self, policy: &Policy, folder: &Path) -> Result<Arc<Module>, PoliciesError> {
        let bytes = bytes(policy, folder)?;
        let digest = Module::digest_of(&bytes);
        // Held while one is compiled, so that nobody compiles the same one beside it.
        let mut loaded = self.loaded.lock().await;
        if let Some(module) = loaded.get(&digest) {
            return Ok(Arc::clone(module));
        }
        let module = self.load(bytes).await.map_err(|source| PoliciesError::Module {
            policy: Arc::clone(&policy.name),
            module: policy.module.clone(),
            source,
        })?;
        Ok(Arc::clone(loaded.entry(digest).or_insert(Arc::new(module))))
    }

    /// Compiles on a thread that no review waits for.
    async fn load(&self, bytes: Cow<'static, [u8]>) -> Result<Module, LoadError> {
        let (engine, cache, runtime) = (Arc::clone(&self.engine), self.cache.clone(), Handle::current());
        let load = move || runtime.block_on(Module::load(&engine, &bytes, cache.as_deref()));
        // One module that the compiler panics on must not take the others along.
        tokio::task::spawn_blocking(load).await.unwrap_or(Err(LoadError::Crashed))
    }
}

fn bytes(policy: &Policy, folder: &Path) -> Result<Cow<'static, [u8]>, PoliciesError> {
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
            match std::fs::read(&path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(source) => {
                    Err(PoliciesError::ModuleFile { policy: Arc::clone(&policy.name), path, source })
                }
            }
        }
    }
}
