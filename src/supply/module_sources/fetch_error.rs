//! The reasons why a module's bytes cannot be read.

use std::path::PathBuf;
use std::sync::Arc;

use wardset_core::text::nearest;
use wardset_signatures::{RepositoryPrefix, SignatureRefusal};

use crate::registry::RegistryError;
use crate::supply::builtin;

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
    /// The server does not take modules from the repository.
    #[error(
        "expected a module from {}, found one from `{location}`; hint: `--allow-registry` of the server names the \
         allowed registries",
        either(allowed)
    )]
    NotAllowed {
        /// `HOST/NAME`.
        location: String,
        /// The prefixes that the operator allows.
        allowed: Vec<RepositoryPrefix>,
    },
    /// The registry does not provide the module.
    #[error(transparent)]
    Registry(Arc<RegistryError>),
    /// The rules of `--trust` refuse the module.
    #[error("the module `{reference}` is not trusted")]
    Untrusted {
        /// The reference with the digest.
        reference: String,
        /// The rule and the reason.
        source: Arc<SignatureRefusal>,
    },
}

impl FetchError {
    /// Returns whether the same module may be there later, although nobody changes the policy or a file.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Registry(error) => error.may_pass(),
            // Somebody may sign it.
            Self::Untrusted { .. } => true,
            Self::NoBuiltin { .. } | Self::File { .. } | Self::NotAllowed { .. } => false,
        }
    }

    /// Returns why `--allow-registry` or the rules of `--trust` refuse the module, in one word, if they do.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Untrusted { source, .. } => Some(source.reason()),
            Self::NotAllowed { .. } => Some("RegistryNotAllowed"),
            _ => None,
        }
    }
}

/// Lists the allowed prefixes.
fn either(allowed: &[RepositoryPrefix]) -> String {
    let names: Vec<String> = allowed.iter().map(|prefix| format!("`{prefix}`")).collect();
    names.join(" or ")
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
