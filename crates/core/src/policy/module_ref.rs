//! The source of a policy's module: the binary, a file or a registry.

use std::fmt;
use std::str::FromStr;

use super::PolicyError;
use super::oci_reference::OciReference;

/// The source of a policy's module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleRef {
    /// `builtin:NAME`, a module inside the binary.
    Builtin(String),
    /// `file:PATH`; a relative path starts at the folder of the policy's file.
    File(String),
    /// `oci://HOST/NAME@sha256:…` or `oci://HOST/NAME:TAG`, an artifact in a registry.
    Oci(OciReference),
}

impl ModuleRef {
    /// Returns whether Wardset reads the module again if something about the policies changes: the bytes of a file can
    /// change while its name stays the same. A tag can move too, but its registry is asked only if the operator or the user
    /// wants it.
    #[must_use]
    pub fn may_change(&self) -> bool {
        match self {
            Self::Builtin(_) | Self::Oci(_) => false,
            Self::File(_) => true,
        }
    }
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Oci(reference) => write!(f, "{reference}"),
        }
    }
}

impl FromStr for ModuleRef {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let problem = match text.split_once(':') {
            Some(("builtin", name)) if !name.is_empty() => return Ok(Self::Builtin(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => return Ok(Self::File(path.to_owned())),
            Some(("oci", _)) => match text.parse() {
                Ok(reference) => return Ok(Self::Oci(reference)),
                Err(problem) => problem,
            },
            _ => {
                format!("expected `builtin:NAME`, `file:PATH` or `oci://HOST/NAME@sha256:…`, found `{text}`")
            }
        };
        Err(PolicyError::Field { field: "spec.module", problem })
    }
}
