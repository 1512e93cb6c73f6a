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
    // What the library tells programmers to do about a repeated key is nothing that a user could.
    let said = |error: serde_saphyr::Error| {
        error.to_string().replace(", set DuplicateKeyPolicy in Options if acceptable", "")
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| YamlError(said(error)))
}

/// `value` as one document, members in their order.
#[must_use]
pub fn to_string(value: &impl Serialize) -> String {
    // Values come from JSON, which YAML can always write.
    serde_saphyr::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_named_with_its_place_and_no_more() {
        let error = documents::<serde_json::Value>("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.to_string(), "duplicate mapping key: a at line 3, column 1");
    }
}
