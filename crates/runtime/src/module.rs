//! A policy module: from bytes to something that can be started quickly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wardset_core::manifest::{Manifest, ManifestError, ManifestParts};
use wardset_core::policy::{ClusterData, Limits, Policy};
use wardset_core::verdict::Failure;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::compile::{self, CompileError, Compiler};
use crate::contract::wit;
use crate::engine::Engine;
use crate::guest::Guests;
use crate::sandbox::{self, Sandbox};
use crate::shape;

/// The most bytes of a module. The largest real ones, language runtimes included, are a few MiB.
pub const MAX_MODULE: usize = 16 << 20;

/// Wall-clock time for a manifest, and for each check of settings. No review waits for either, so a busy machine gets more
/// than the policy's own limit.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// The prefix of everything in the contract, and the version that this host speaks.
const CONTRACT: &str = "wardset:policy/";
const CONTRACT_VERSION: &str = "0.1.0";

/// A module, compiled and linked, its manifest read.
pub struct Module {
    pub(crate) guests: Guests,
    /// The module's manifest.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of the module's bytes, in hexadecimal.
    pub digest: String,
}

/// Why a module does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too large.
    #[error("the module has {found} bytes; at most {MAX_MODULE} are taken")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not WebAssembly.
    #[error("expected a binary WebAssembly component, which begins with `\\0asm`")]
    NotWasm,
    /// A core module, the usual output of a compiler.
    #[error(
        "the module is a core module: make it a component, in this repository by `cargo xtask component CORE OUT`"
    )]
    CoreModule,
    /// A shape that costs the compiler more than any policy is worth.
    #[error("the module has {found} {what}; at most {most} are taken")]
    Shape {
        /// The kind of part.
        what: &'static str,
        /// How much of it was counted, up to the limit and the next.
        found: u64,
        /// The most that is taken.
        most: u64,
    },
    /// Not a component, or a broken one.
    #[error("failed to compile the module as a WebAssembly component")]
    Compile(#[source] CompileError),
    /// The compiler was stopped at its deadline.
    #[error("compiling the module took longer than {0:?}; `--compile-seconds` gives it more")]
    TooSlow(Duration),
    /// The compiler reached the limit of its memory.
    #[error("the module's code takes more memory than a module may have")]
    TooMuchCode,
    /// The compiler panicked, or used up its memory, stack or processor time.
    #[error("the compiler broke down over the module ({0}); `--compile-memory` gives it more memory")]
    Crashed(String),
    /// The compiler could not be started or talked to.
    #[error("the compiler could not be run")]
    NoCompiler(#[source] std::io::Error),
    /// The module needs something that no policy gets.
    #[error(
        "the module imports `{import}`, which no policy gets; a policy may import only `{CONTRACT}…@{CONTRACT_VERSION}`"
    )]
    Import {
        /// The import's name.
        import: String,
    },
    /// The module was built against another version of the contract.
    #[error("the module was built against `{found}`; this host speaks version {CONTRACT_VERSION}")]
    Version {
        /// The import or export with its version.
        found: String,
    },
    /// The module lacks an export, or one has another type.
    #[error("the module does not implement the world `wardset:policy/policy@{CONTRACT_VERSION}`")]
    World(#[source] wasmtime::Error),
    /// The module could not state its manifest.
    #[error("the module could not state its manifest ({0})")]
    Start(Failure),
    /// The manifest makes no sense.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The module says one thing and then another.
    #[error("the module states another manifest when it is asked again")]
    Differs,
}

/// Why a policy's settings are rejected.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The module refuses them.
    #[error("`spec.settings`: {0}")]
    Refused(String),
    /// The module could not say.
    #[error("the module could not validate the settings ({0})")]
    Failed(Failure),
    /// The module says one thing and then another.
    #[error("the module says something else of the same settings when it is asked again")]
    Differs,
}

impl Module {
    /// [`Module::load_by`] a compiler in this process: for modules that one knows.
    ///
    /// # Errors
    ///
    /// As [`Module::load_by`].
    pub async fn load(engine: &Engine, bytes: &[u8], cache: Option<&Cache>) -> Result<Self, LoadError> {
        Self::load_by(&Compiler::here(), engine, bytes, cache).await
    }

    /// Takes the compiled code of `bytes` from `cache` or compiles it, links it, and asks it for its manifest twice.
    ///
    /// Compiling takes about a second for each MiB, on all cores.
    ///
    /// # Errors
    ///
    /// Bytes that are not a module of this contract's version, or that exceed the compiler's limits, and a module
    /// that does not return its manifest.
    pub async fn load_by(
        compiler: &Compiler,
        engine: &Engine,
        bytes: &[u8],
        cache: Option<&Cache>,
    ) -> Result<Self, LoadError> {
        if bytes.len() > MAX_MODULE {
            return Err(LoadError::TooLarge { found: bytes.len() });
        }
        if !bytes.starts_with(b"\0asm") {
            return Err(LoadError::NotWasm);
        }
        // Four bytes of version and layer after the magic; a component's are `0d 00 01 00`.
        if bytes[4..].starts_with(&[1, 0, 0, 0]) {
            return Err(LoadError::CoreModule);
        }
        let digest = Self::digest_of(bytes);
        let components = components(compiler, engine, &digest, bytes, cache).await?;
        components.iter().try_for_each(check_contract)?;
        let guests = Guests::new(engine.pools(), &components).map_err(LoadError::World)?;
        let stated = state(engine, &guests).await?;
        if state(engine, &guests).await? != stated {
            return Err(LoadError::Differs);
        }
        Ok(Self { guests, manifest: Arc::new(Manifest::try_from(stated)?), digest })
    }

    /// SHA-256 of a module's bytes in hexadecimal, which identifies the module.
    #[must_use]
    pub fn digest_of(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    /// Asks the module twice whether it accepts a policy's settings.
    ///
    /// # Errors
    ///
    /// If the module rejects them, with its own words; if it exceeds its limits; if its two answers differ.
    pub async fn validate_settings(&self, engine: &Engine, policy: &Policy) -> Result<(), SettingsError> {
        let first = self.ask_about_settings(engine, policy).await?;
        if self.ask_about_settings(engine, policy).await? != first {
            return Err(SettingsError::Differs);
        }
        first.map_err(SettingsError::Refused)
    }

    async fn ask_about_settings(
        &self,
        engine: &Engine,
        policy: &Policy,
    ) -> Result<Result<(), String>, SettingsError> {
        let _slot = engine.slot().await;
        let limits = sandbox::limits(LOAD_TIMEOUT, policy.limits.memory, far_away());
        let sandbox =
            Sandbox::start(engine, &self.guests, None, limits).await.map_err(SettingsError::Failed)?;
        sandbox.validate_settings(&policy.settings).await.map_err(SettingsError::Failed)
    }
}

/// Asks a fresh instance for its manifest.
async fn state(engine: &Engine, guests: &Guests) -> Result<ManifestParts, LoadError> {
    let _slot = engine.slot().await;
    let limits = sandbox::limits(LOAD_TIMEOUT, Limits::default().memory, far_away());
    let sandbox = Sandbox::start(engine, guests, None, limits).await.map_err(LoadError::Start)?;
    Ok(sandbox.manifest().await.map_err(LoadError::Start)?.into())
}

/// From the cache, or by the compiler: the same code for each pool.
async fn components(
    compiler: &Compiler,
    engine: &Engine,
    digest: &str,
    bytes: &[u8],
    cache: Option<&Cache>,
) -> Result<Vec<Component>, LoadError> {
    let name: Arc<str> = digest.into();
    let engines: Arc<[wasmtime::Engine]> = engine.pools().iter().map(|pool| pool.wasmtime.clone()).collect();
    if let Some(cache) = cache.cloned() {
        let (engines, name) = (Arc::clone(&engines), Arc::clone(&name));
        if let Some(components) = off_the_path(move || cache.load(&engines, &name)).await? {
            return Ok(components);
        }
    }
    shape::check(bytes)?;
    let code = compiler.compile(&engines[0], bytes.into()).await?;
    let cache = cache.cloned();
    off_the_path(move || {
        // SAFETY: `deserialize` must only get the compiler's output. `Compiler::compile` made `code`: with wasmtime
        // in this process, or in a child that ran `compile_as_child` and exited well, over a pipe to which nobody
        // else has an end. The caller of `Compiler::danger_in_children` guarantees that the child is this program, as
        // its documentation demands. (wasmtime itself rejects code of another major version, or of other settings.)
        #[expect(unsafe_code, reason = "the only way to load compiled code; the proof is above")]
        let load = |engine| unsafe { Component::deserialize(engine, &code) };
        let components = engines.iter().map(load).collect::<Result<Vec<_>, _>>();
        let components = components.map_err(|error| compile::refused(&error))?;
        if let Some(cache) = cache {
            cache.store(&engines[0], &name, &code);
        }
        Ok(components)
    })
    .await?
}

/// On a thread that no review waits for.
async fn off_the_path<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Crashed(error.to_string()))
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Tells an import that isn't offered and another version of the contract from a plain mismatch of types.
fn check_contract(component: &Component) -> Result<(), LoadError> {
    for (name, _) in component.component_type().imports(component.engine()) {
        let Some(rest) = name.strip_prefix(CONTRACT) else {
            return Err(LoadError::Import { import: name.to_owned() });
        };
        match rest.split_once('@') {
            Some((_, CONTRACT_VERSION)) => {}
            _ => return Err(LoadError::Version { found: name.to_owned() }),
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl From<wit::Manifest> for ManifestParts {
    fn from(stated: wit::Manifest) -> Self {
        let cluster = stated.cluster.into_iter().map(|data| match data {
            wit::ClusterData::NamespaceLabels => ClusterData::NamespaceLabels,
        });
        Self {
            name: stated.name,
            version: stated.version,
            description: stated.description,
            reads: stated.reads,
            writes: stated.writes,
            cluster: cluster.collect(),
            settings_schema: stated.settings_schema,
        }
    }
}
