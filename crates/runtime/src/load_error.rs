//! The reasons why a module does not load, or rejects settings.

use std::time::Duration;

use wardset_core::manifest::ManifestError;
use wardset_core::verdict::Failure;

/// Prefix of all names in the contract.
pub(crate) const CONTRACT: &str = "wardset:policy/";

/// Version of the contract that this host implements.
pub(crate) const CONTRACT_VERSION: &str = "0.1.0";

/// Maximum size of a module in bytes. The largest modules contain the runtime of a language and have a few MiB.
pub const MAX_MODULE: usize = 16 << 20;

/// An error in a module that does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too large.
    #[error("expected a module of at most {MAX_MODULE} bytes, found {found}")]
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

/// An error in the settings of a policy.
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

/// The compiler's message about a module, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub(crate) String);
