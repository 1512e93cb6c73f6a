//! The reasons why a module does not load, or rejects settings.

use std::time::Duration;

use wardset_core::manifest::ManifestError;
use wardset_core::verdict::Failure;

/// Prefix of all names in the contract.
pub(crate) const CONTRACT: &str = "wardset:policy/";

/// Version of the contract that this host implements.
pub(crate) const CONTRACT_VERSION: &str = "0.1.1";

/// Whether the host runs modules of this version of the contract: the same `0.y`, and the same or a lower patch version.
pub(crate) fn is_compatible(version: &str) -> bool {
    let parts = |version: &str| {
        let (minor, patch) = version.rsplit_once('.')?;
        Some((minor.to_owned(), patch.parse::<u32>().ok()?))
    };
    let (Some((minor, patch)), Some((own_minor, own_patch))) = (parts(version), parts(CONTRACT_VERSION))
    else {
        return false;
    };
    minor == own_minor && patch <= own_patch
}

/// Maximum size of a module in bytes. The largest real modules contain CPython and have 18 MB.
pub const MAX_MODULE: usize = 32 << 20;

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
        "expected a component, found a core module; hint: `wardset policy build` makes components from sources, and \
         `wasm-tools component new CORE -o OUT` makes one of a core module"
    )]
    CoreModule,
    /// It exceeds a limit on the number or size of its parts.
    #[error("expected at most {most} {what}, found {found}")]
    Shape {
        /// The kind of part.
        what: &'static str,
        /// How much of it was counted, up to the limit and the next.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// Not a component, or a broken one.
    #[error("failed to compile the module as a WebAssembly component")]
    Compile(#[source] CompileError),
    /// The compiler used up its processor time.
    #[error(
        "compiling the module took more than {0:?} of processor time per thread; hint: `--compile-seconds` allows more"
    )]
    TooSlow(Duration),
    /// The compiler did not get its processor time, or waited for something else.
    #[error(
        "compiling the module did not end within {0:?}, because the machine is busy; \
         hint: `wardset serve` tries again; `--compile-seconds` allows more time"
    )]
    MachineBusy(Duration),
    /// The compiler reached the limit of its memory.
    #[error("the compiled code of the module exceeds the limit for one module")]
    TooMuchCode,
    /// The compiler panicked, or used up its memory or stack.
    #[error("the compiler crashed on the module ({0}); hint: `--compile-memory` allows more memory")]
    Crashed(String),
    /// The compiler could not be started, or the connection to it broke.
    #[error("failed to run the compiler")]
    NoCompiler(#[source] std::io::Error),
    /// The module imports something that is not in the contract.
    #[error(
        "expected imports from `{CONTRACT}…@{CONTRACT_VERSION}` only, found `{import}`{}",
        remedy(import)
    )]
    Import {
        /// The import's name.
        import: String,
    },
    /// The module was built against an incompatible version of the contract.
    #[error(
        "expected version {CONTRACT_VERSION} of the contract or an earlier one with the same minor version, found `{found}`; \
         hint: rebuild the module, or update Wardset"
    )]
    Version {
        /// The import or export with its version.
        found: String,
    },
    /// The module lacks an export, or one has another type.
    #[error("the module does not implement the world `wardset:policy/policy@{CONTRACT_VERSION}`")]
    World(#[source] wasmtime::Error),
    /// The module failed before it returned its manifest.
    #[error("the module failed to return its manifest ({0})")]
    Start(Failure),
    /// The manifest is invalid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The module answers the same question in two ways.
    #[error("the module returned two different manifests")]
    Differs,
}

/// Returns the fix for an import that is not in the contract, if it is known.
fn remedy(import: &str) -> &'static str {
    if import.starts_with("wasi") {
        "; hint: a policy has no files, clock or network. `wardset policy build` closes WASI at build time"
    } else {
        ""
    }
}

/// An error in the settings of a policy.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The module refuses them.
    #[error("`spec.settings`: {0}")]
    Refused(String),
    /// The module failed to validate them.
    #[error("the module failed to validate the settings ({0})")]
    Failed(Failure),
    /// The module answers the same question in two ways.
    #[error("the module gave two different answers for the same settings")]
    Differs,
}

/// The compiler's message about a module, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_modules_of_the_same_minor_version_are_compatible() {
        for version in ["0.1.0", CONTRACT_VERSION] {
            assert!(is_compatible(version), "{version}");
        }
        for version in ["0.1.2", "0.0.1", "0.2.0", "1.1.0", "0.1", "0.1.x", "0.1.-1", ""] {
            assert!(!is_compatible(version), "{version}");
        }
    }
}
