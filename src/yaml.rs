//! YAML as Kubernetes' tools read and write it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a text is no YAML of the wanted shape. Names the line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(String);

/// Each document of `text` that is not empty.
///
/// # Errors
///
/// Text that is no YAML, a key that stands twice, a document of another shape.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    // `0644` is octal, as for kubectl: YAML 1.2 would make it six hundred and forty-four.
    let options = serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| YamlError(error.to_string()))
}

/// `value` as one document, members in their order.
#[must_use]
pub fn to_string(value: &impl Serialize) -> String {
    // Values come from JSON, which YAML can always write.
    serde_saphyr::to_string(value).unwrap_or_default()
}
