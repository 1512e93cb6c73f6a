//! The reasons why policies cannot be loaded.

use std::path::PathBuf;
use std::sync::Arc;

use wardset_core::policy::{API_VERSION, ModuleRef, PolicyError};
use wardset_core::verdict::FailureClass;
use wardset_runtime::{LoadError, SettingsError, Unusable};

use super::module_sources::FetchError;
use crate::offline::input::InputError;
use crate::yaml::{EncodingError, YamlError};

/// An error in policies or their modules.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// The system refuses to read a file or folder.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A folder without policies.
    #[error("expected files that end in .yaml, .yml or .json, found none in `{}`", .0.display())]
    Empty(PathBuf),
    /// A file without policies: more likely a file that was cut off than a wish for none.
    #[error("expected at least one document of `kind: Policy`, found none in `{}`", .0.display())]
    EmptyFile(PathBuf),
    /// A file in another encoding than UTF-8.
    #[error("failed to read `{}`", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The encoding.
        source: EncodingError,
    },
    /// A file that is neither YAML nor JSON, or whose documents are no policies.
    #[error("failed to parse `{origin}`")]
    Shape {
        /// The file.
        origin: String,
        /// Problem and place.
        source: YamlError,
    },
    /// An entry of a folder that is named like a policy and cannot be read.
    #[error(transparent)]
    Entry(#[from] InputError),
    /// Another kind of object in the place of a policy.
    #[error("failed to parse `{origin}`: expected `kind: Policy`, found `kind: {kind}`{}", list_hint(kind))]
    Kind {
        /// The file.
        origin: String,
        /// Such as `DaemonSet`.
        kind: String,
    },
    /// A policy of another product, or of another version.
    #[error("failed to parse `{origin}`: expected `apiVersion: {API_VERSION}`, found `apiVersion: {found}`")]
    ApiVersion {
        /// The file.
        origin: String,
        /// Such as `kyverno.io/v1`.
        found: String,
    },
    /// A policy with an invalid field.
    #[error("policy `{name}` in `{origin}`")]
    Invalid {
        /// The policy.
        name: String,
        /// The file.
        origin: String,
        /// The field and its problem.
        source: Box<PolicyError>,
    },
    /// The same, if no file is known.
    #[error("policy `{name}`")]
    Rejected {
        /// The policy.
        name: String,
        /// The field and its problem.
        source: Box<PolicyError>,
    },
    /// A module that its source does not provide.
    #[error("policy `{policy}`")]
    Fetch {
        /// The policy.
        policy: Arc<str>,
        /// The cause.
        source: FetchError,
    },
    /// A module that does not load.
    #[error("policy `{policy}`: failed to load the module `{module}`")]
    Module {
        /// The policy.
        policy: Arc<str>,
        /// As the policy names it.
        module: ModuleRef,
        /// The cause, the same for all policies of the module.
        source: Arc<LoadError>,
    },
    /// Policies that exclude each other, or settings that a module rejects.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

impl PoliciesError {
    /// Returns whether the same policy may load later, although nobody changes it: a registry may answer by then, or a
    /// busy machine may have time.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.may_pass(),
            Self::Module { source, .. } => matches!(**source, LoadError::MachineBusy(_)),
            Self::Unusable(Unusable::Settings { problem: SettingsError::Failed(failure), .. }) => {
                failure.class == FailureClass::Deadline
            }
            _ => false,
        }
    }

    /// Returns why the rules of `--trust` refuse the module, in one word, if they do.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Fetch { source, .. } => source.refusal(),
            _ => None,
        }
    }
}

fn list_hint(kind: &str) -> &'static str {
    if kind.ends_with("List") {
        "; hint: write its items as documents of their own, with `---` between them"
    } else {
        ""
    }
}
