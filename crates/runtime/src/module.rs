//! A policy module: from bytes to something that can be started quickly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wardset_core::manifest::{Manifest, ManifestError, ManifestParts};
use wardset_core::policy::{ClusterData, Limits, Policy};
use wardset_core::verdict::Failure;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::contract::{GuestPre, wit};
use crate::engine::Engine;
use crate::host::Host;
use crate::sandbox::{self, Sandbox};

/// The most bytes of a module. The largest real ones, language runtimes included, are a few MiB.
pub const MAX_MODULE: usize = 16 << 20;

/// The time that a module has to state its manifest.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The prefix of everything in the contract, and the version that this host speaks.
const CONTRACT: &str = "wardset:policy/";
const CONTRACT_VERSION: &str = "0.1.0";

/// A module, compiled and linked, its manifest read.
pub struct Module {
    pub(crate) guest: GuestPre<Host>,
    /// What the module says of itself.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of the module's bytes, in hexadecimal.
    pub digest: String,
}

/// Why a module can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too large.
    #[error("the module has {found} bytes; at most {MAX_MODULE} are taken")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not WebAssembly.
    #[error("the module is no WebAssembly: expected a binary component, which begins with `\\0asm`")]
    NotWasm,
    /// A core module, which is what a compiler makes.
    #[error(
        "the module is a core module: make it a component, in this repository by `cargo xtask component CORE OUT`"
    )]
    CoreModule,
    /// Not a component, or a broken one.
    #[error("the module is no WebAssembly component that can be compiled")]
    Compile(#[source] wasmtime::Error),
    /// The compiler panicked.
    #[error("the compiler broke down over the module; what it printed is in the log")]
    Crashed,
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
}

/// Why a policy's settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The module refuses them.
    #[error("`spec.settings`: {0}")]
    Refused(String),
    /// The module could not say.
    #[error("the module could not validate the settings ({0})")]
    Failed(Failure),
}

impl Module {
    /// Compiles `bytes`, or takes the compiled code from `cache`, links it and asks it for its manifest.
    ///
    /// Compiling takes about a second for each MiB, on all cores; call it off the path of a review.
    ///
    /// # Errors
    ///
    /// Bytes that are no module of this contract's version, and a module whose manifest can't be had.
    pub async fn load(engine: &Engine, bytes: &[u8], cache: Option<&Cache>) -> Result<Self, LoadError> {
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
        let component = match cache {
            Some(cache) => cache.load_or_compile(&engine.wasmtime, &digest, bytes),
            None => Component::from_binary(&engine.wasmtime, bytes),
        };
        let component = component.map_err(LoadError::Compile)?;
        check_contract(&engine.wasmtime, &component)?;
        let linked = engine.linker.instantiate_pre(&component).map_err(LoadError::World)?;
        let guest = GuestPre::new(linked).map_err(LoadError::World)?;
        let limits = sandbox::limits(MANIFEST_TIMEOUT, Limits::default().memory, far_away());
        let _slot = engine.slot().await;
        let sandbox = Sandbox::start(engine, &guest, None, limits).await.map_err(LoadError::Start)?;
        let stated = sandbox.manifest().await.map_err(LoadError::Start)?;
        let manifest = Arc::new(Manifest::try_from(ManifestParts::from(stated))?);
        Ok(Self { guest, manifest, digest })
    }

    /// SHA-256 of a module's bytes, in hexadecimal: what tells modules apart.
    #[must_use]
    pub fn digest_of(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    /// Asks the module whether it can work with a policy's settings.
    ///
    /// # Errors
    ///
    /// Where it can't, with the module's own words, or where it doesn't answer within the policy's limits.
    pub async fn validate_settings(&self, engine: &Engine, policy: &Policy) -> Result<(), SettingsError> {
        let limits = sandbox::limits(policy.limits.timeout, policy.limits.memory, far_away());
        let _slot = engine.slot().await;
        let sandbox =
            Sandbox::start(engine, &self.guest, None, limits).await.map_err(SettingsError::Failed)?;
        let answer = sandbox.validate_settings(&policy.settings).await.map_err(SettingsError::Failed)?;
        answer.map_err(SettingsError::Refused)
    }
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Tells an import that isn't offered and another version of the contract from a plain mismatch of types.
fn check_contract(engine: &wasmtime::Engine, component: &Component) -> Result<(), LoadError> {
    for (name, _) in component.component_type().imports(engine) {
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
