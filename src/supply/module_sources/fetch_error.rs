//! The reasons why a module's bytes cannot be read.

use std::path::PathBuf;
use std::sync::Arc;

use wardset_core::text::nearest;

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
    /// The registry does not provide the module.
    #[error(transparent)]
    Registry(Arc<RegistryError>),
}

impl FetchError {
    /// Returns whether the same module may be there later, although nobody changes the policy or a file.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Registry(error) if error.may_pass())
    }
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
