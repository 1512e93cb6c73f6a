//! The file of `--trust`: which signatures modules from registries need.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wardset_signatures::{Trust, TrustRulesError};

use crate::yaml::{self, EncodingError, YamlError};

/// A file of rules that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    /// The system refuses to read the file.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another encoding than UTF-8.
    #[error("failed to read `{}`", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The encoding.
        source: EncodingError,
    },
    /// Neither YAML nor JSON.
    #[error("failed to parse `{}`", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Problem and place.
        source: YamlError,
    },
    /// Several documents, or none.
    #[error("failed to parse `{}`: expected one document, found {found}", path.display())]
    Documents {
        /// The file.
        path: PathBuf,
        /// The number of documents.
        found: usize,
    },
    /// A wrong rule.
    #[error("failed to read the rules of `{}`", path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// The rule and its problem.
        source: TrustRulesError,
    },
}

/// Reads rules. The files of keys that they name are relative to the folder of the rules.
///
/// # Errors
///
/// The file or a file that it names cannot be read, or a rule is wrong.
pub fn read(path: &Path) -> Result<Trust, TrustFileError> {
    let at = || path.to_owned();
    let bytes = std::fs::read(path).map_err(|source| TrustFileError::Read { path: at(), source })?;
    let text = yaml::decode(bytes).map_err(|source| TrustFileError::Encoding { path: at(), source })?;
    let documents: Vec<Value> =
        yaml::documents(&text).map_err(|source| TrustFileError::Shape { path: at(), source })?;
    let [rules] = documents.as_slice() else {
        return Err(TrustFileError::Documents { path: at(), found: documents.len() });
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let trust = Trust::read(rules, |named| std::fs::read_to_string(folder.join(named)));
    trust.map_err(|source| TrustFileError::Rules { path: at(), source })
}
