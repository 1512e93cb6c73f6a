//! A policy module: compiles and links bytes, so that an instance starts within microseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wardset_core::manifest::{Manifest, ManifestParts};
use wardset_core::policy::{Policy, PolicyLimits};
use wardset_core::verdict::Failure;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::compile::{self, Compiler};
use crate::engine::Engine;
use crate::load_error::{LoadError, MAX_MODULE, SettingsError};
use crate::sandbox::{self, Sandbox};
use crate::shape;
use crate::worlds::wardset::Guest;

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
        Self::load_and_tell(compiler, engine, bytes, cache, || {}).await
    }

    /// [`Module::load_by`] that calls `compiles` before it compiles. If the code is in the cache, it does not.
    ///
    /// # Errors
    ///
    /// As [`Module::load_by`].
    pub async fn load_and_tell(
        compiler: &Compiler,
        engine: &Arc<Engine>,
        bytes: &[u8],
        cache: Option<&Cache>,
        compiles: impl FnOnce() + Send,
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
        let component = component(compiler, engine, &digest, bytes, cache, compiles).await?;
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

    /// Returns the names of the interfaces that a component imports, as far as its bytes can be read.
    #[must_use]
    pub fn imports_of(bytes: &[u8]) -> Vec<String> {
        interfaces_of(bytes).0
    }

    /// Returns the names of the interfaces that a component exports, as far as its bytes can be read.
    #[must_use]
    pub fn exports_of(bytes: &[u8]) -> Vec<String> {
        interfaces_of(bytes).1
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
    let stated = loading(engine, guest, PolicyLimits::default().memory, Sandbox::manifest).await;
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

/// Returns the compiled code, from the cache or from the compiler. Calls `compiles` before the latter.
async fn component(
    compiler: &Compiler,
    engine: &Engine,
    digest: &str,
    bytes: &[u8],
    cache: Option<&Cache>,
    compiles: impl FnOnce() + Send,
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
    compiles();
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

/// Returns the names of the interfaces that a component imports and exports.
fn interfaces_of(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    // Types beside interfaces have plain names.
    let is_interface = |name: &str| name.contains(':');
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        match payload {
            wasmparser::Payload::Version { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            wasmparser::Payload::ComponentImportSection(section) if depth == 1 => {
                let names = section.into_iter().map_while(Result::ok).map(|import| import.name.name);
                imports.extend(names.filter(|name| is_interface(name)).map(str::to_owned));
            }
            wasmparser::Payload::ComponentExportSection(section) if depth == 1 => {
                let names = section.into_iter().map_while(Result::ok).map(|export| export.name.name);
                exports.extend(names.filter(|name| is_interface(name)).map(str::to_owned));
            }
            _ => {}
        }
    }
    (imports, exports)
}
