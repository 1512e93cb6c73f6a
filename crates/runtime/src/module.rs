//! A policy module: compiles and links bytes, so that an instance starts within microseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wardset_core::manifest::{Manifest, ManifestError, ManifestParts};
use wardset_core::policy::{Limits, Policy};
use wardset_core::verdict::Failure;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::compile::{self, CompileError, Compiler};
use crate::engine::Engine;
use crate::sandbox::{self, Sandbox};
use crate::shape;
use crate::worlds::wardset::{Guest, PREFIX, VERSION};

/// Maximum size of a module in bytes. The largest modules contain the runtime of a language and have a few MiB.
pub const MAX_MODULE: usize = 16 << 20;

/// Wall-clock time for a manifest, and for each check of settings. No review waits for either, so a busy machine gets more
/// than the policy's own limit.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// A module, compiled and linked, its manifest read.
pub struct Module {
    pub(crate) guest: Arc<Guest>,
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
        "the module imports `{import}`, which no policy gets; a policy may import only `{PREFIX}…@{VERSION}`"
    )]
    Import {
        /// The import's name.
        import: String,
    },
    /// The module was built against another version of the contract.
    #[error("the module was built against `{found}`; this host speaks version {VERSION}")]
    Version {
        /// The import or export with its version.
        found: String,
    },
    /// The module lacks an export, or one has another type.
    #[error("the module does not implement the world `wardset:policy/policy@{VERSION}`")]
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
    pub async fn load(engine: &Arc<Engine>, bytes: &[u8], cache: Option<&Cache>) -> Result<Self, LoadError> {
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
        engine: &Arc<Engine>,
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
        let component = component(compiler, engine, &digest, bytes, cache).await?;
        let guest = Arc::new(Guest::link(&engine.linker, &component)?);
        let stated = state(engine, &guest).await?;
        if state(engine, &guest).await? != stated {
            return Err(LoadError::Differs);
        }
        Ok(Self { guest, manifest: Arc::new(Manifest::try_from(stated)?), digest })
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
    /// If the module rejects them, with its own message; if it exceeds its limits; if its two answers differ.
    pub async fn validate_settings(
        &self,
        engine: &Arc<Engine>,
        policy: &Policy,
    ) -> Result<(), SettingsError> {
        let first = self.ask_about_settings(engine, policy).await.map_err(SettingsError::Failed)?;
        if self.ask_about_settings(engine, policy).await.map_err(SettingsError::Failed)? != first {
            return Err(SettingsError::Differs);
        }
        first.map_err(SettingsError::Refused)
    }

    async fn ask_about_settings(
        &self,
        engine: &Arc<Engine>,
        policy: &Policy,
    ) -> Result<Result<(), String>, Failure> {
        let (settings, memory) = (Arc::clone(&policy.settings), policy.limits.memory);
        let ask = async move |sandbox: Sandbox| sandbox.validate_settings(&settings).await;
        loading(engine, &self.guest, memory, ask).await
    }
}

/// Asks a fresh instance for its manifest.
async fn state(engine: &Arc<Engine>, guest: &Arc<Guest>) -> Result<ManifestParts, LoadError> {
    let stated = loading(engine, guest, Limits::default().memory, Sandbox::manifest).await;
    stated.map_err(LoadError::Start)
}

/// Starts a guest on the engine's threads and makes one call, while no review waits.
async fn loading<T, C>(
    engine: &Arc<Engine>,
    guest: &Arc<Guest>,
    memory: u64,
    call: impl FnOnce(Sandbox) -> C + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    C: Future<Output = Result<T, Failure>> + Send,
{
    let work = {
        let (engine, guest) = (Arc::clone(engine), Arc::clone(guest));
        async move {
            let _permit = engine.permit().await;
            let limits = sandbox::limits(LOAD_TIMEOUT, memory, far_away());
            call(Sandbox::start(&engine, &guest, None, limits).await?).await
        }
    };
    engine.threads.run(work).await
}

/// Returns the compiled code, from the cache or from the compiler.
async fn component(
    compiler: &Compiler,
    engine: &Engine,
    digest: &str,
    bytes: &[u8],
    cache: Option<&Cache>,
) -> Result<Component, LoadError> {
    let name: Arc<str> = digest.into();
    let wasmtime = engine.wasmtime.clone();
    if let Some(cache) = cache.cloned() {
        let (wasmtime, name) = (wasmtime.clone(), Arc::clone(&name));
        if let Some(component) = blocking(move || cache.load(&wasmtime, &name)).await? {
            return Ok(component);
        }
    }
    shape::check(bytes)?;
    let code = compiler.compile(&wasmtime, bytes.into()).await?;
    let cache = cache.cloned();
    blocking(move || {
        // SAFETY: `deserialize` must only get the compiler's output. `Compiler::compile` made `code`: with wasmtime
        // in this process, or in a child that ran `compile_as_child` and exited well, over a pipe to which nobody
        // else has an end. The caller of `Compiler::danger_in_children` guarantees that the child is this program, as
        // its documentation demands. (wasmtime itself rejects code of another major version, or of other settings.)
        #[expect(unsafe_code, reason = "the only way to load compiled code; the proof is above")]
        let component = unsafe { Component::deserialize(&wasmtime, &code) };
        let component = component.map_err(|error| compile::refused(&error))?;
        if let Some(cache) = cache {
            cache.store(&wasmtime, &name, &code);
        }
        Ok(component)
    })
    .await?
}

/// Runs slow work on a thread that blocks no review.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Crashed(error.to_string()))
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
