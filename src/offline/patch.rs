//! Checks a decision's patch with another implementation of RFC 6902, as the API server applies it.

use json_patch::jsonptr::PointerBuf;
use serde_json::Value;
use wardset_core::document::Document;
use wardset_core::patch::{self, PatchOperation};

/// A patch whose result differs from the object that `wardset review` prints.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A document or the patch is not JSON.
    #[error("failed to read the patch or the object")]
    Json(#[from] serde_json::Error),
    /// The API server would refuse the patch.
    #[error("the API server would refuse the patch")]
    Refused(#[from] json_patch::PatchError),
    /// The API server would store another object.
    #[error("after the patch, the API server would store another value at `{0}` than this review prints")]
    Differs(PointerBuf),
}

/// Applies `patch` to `manifest` and compares the result with `stored`.
pub(super) fn check(
    manifest: &Document,
    patch: &[PatchOperation],
    stored: &Document,
) -> Result<(), PatchError> {
    let mut patched: Value = serde_json::from_str(manifest.text())?;
    json_patch::patch(&mut patched, &serde_json::from_str::<json_patch::Patch>(&patch::to_json(patch))?)?;
    let printed: Value = serde_json::from_str(stored.text())?;
    match json_patch::diff(&patched, &printed).0.first() {
        None => Ok(()),
        Some(difference) => Err(PatchError::Differs(difference.path().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> Document {
        Document::parse(json).unwrap()
    }

    #[test]
    fn names_the_first_value_that_differs() {
        let (manifest, stored) = (document(r#"{"a": {"b": 1}}"#), document(r#"{"a": {"b": 1, "c": 2}}"#));
        let add = PatchOperation::Add { path: PointerBuf::parse("/a/c").unwrap(), value: "2".into() };
        assert!(check(&manifest, std::slice::from_ref(&add), &stored).is_ok());
        let error = check(&manifest, &[], &stored).unwrap_err();
        assert!(error.to_string().contains("another value at `/a/c`"), "{error}");
        let error = check(&document("{}"), &[add], &stored).unwrap_err();
        assert_eq!(error.to_string(), "the API server would refuse the patch");
    }
}
