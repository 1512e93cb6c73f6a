//! The values whose type no policy may change, because later policies rely on it.
//!
//! If a policy set the labels to a string, the API server would reject the object. But later policies would fail
//! before that, and be blamed for it.

use jsonptr::Pointer;

use crate::decision::Applied;
use crate::document::Document;
use crate::patch::is_within;
use crate::verdict::{Failure, FailureClass};

/// The required type of a value, unless it is missing or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    Object,
    List,
    /// An object whose members are strings.
    Strings,
}

/// The values that several policies use, and their types.
const KINDS: [(&Pointer, ValueKind); 17] = [
    (Pointer::from_static("/metadata"), ValueKind::Object),
    (Pointer::from_static("/metadata/labels"), ValueKind::Strings),
    (Pointer::from_static("/metadata/annotations"), ValueKind::Strings),
    (Pointer::from_static("/spec"), ValueKind::Object),
    (Pointer::from_static("/spec/updateStrategy"), ValueKind::Object),
    (Pointer::from_static("/spec/template"), ValueKind::Object),
    (Pointer::from_static("/spec/template/metadata"), ValueKind::Object),
    (Pointer::from_static("/spec/template/metadata/labels"), ValueKind::Strings),
    (Pointer::from_static("/spec/template/metadata/annotations"), ValueKind::Strings),
    (Pointer::from_static("/spec/template/spec"), ValueKind::Object),
    (Pointer::from_static("/spec/template/spec/affinity"), ValueKind::Object),
    (Pointer::from_static("/spec/template/spec/affinity/nodeAffinity"), ValueKind::Object),
    (Pointer::from_static("/spec/template/spec/nodeSelector"), ValueKind::Strings),
    (Pointer::from_static("/spec/template/spec/tolerations"), ValueKind::List),
    (Pointer::from_static("/spec/template/spec/containers"), ValueKind::List),
    (Pointer::from_static("/spec/template/spec/initContainers"), ValueKind::List),
    (Pointer::from_static("/spec/template/spec/volumes"), ValueKind::List),
];

/// Checks the type of each shared value that the changes may have affected.
///
/// It ignores a value that already had the wrong type, because that is the author's mistake.
pub(super) fn stay(before: &Document, after: &Document, applied: &[Applied]) -> Result<(), Failure> {
    for (pointer, kind) in KINDS {
        let touches = |change: &Applied| {
            let path = change.operation.path();
            is_within(path, pointer) || is_within(pointer, path)
        };
        if !applied.iter().any(touches) {
            continue;
        }
        if let Some(now) = after.get(pointer)
            && !kind.fits(now, || after.holds_strings(pointer))
            && before.get(pointer) != Some(now)
        {
            let detail = format!("a change of `{pointer}`, which must stay {}", kind.words());
            return Err(Failure::new(FailureClass::Patch, &detail));
        }
    }
    Ok(())
}

impl ValueKind {
    fn fits(self, json: &str, holds_strings: impl FnOnce() -> bool) -> bool {
        json == "null"
            || match self {
                Self::Object => json.starts_with('{'),
                Self::List => json.starts_with('['),
                Self::Strings => holds_strings(),
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Strings => "an object of strings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_values_of_the_required_type_and_null() {
        let samples = ["null", "{}", r#"{"a":"b"}"#, r#"{"a":1}"#, "[]", "\"text\"", "1", "true"];
        let fits = |kind: ValueKind, json: &str| {
            let document = Document::parse(json).unwrap();
            kind.fits(json, || document.holds_strings(Pointer::root()))
        };
        let fitting = |kind| samples.into_iter().filter(|json| fits(kind, json)).collect::<Vec<_>>();
        assert_eq!(fitting(ValueKind::Object), ["null", "{}", r#"{"a":"b"}"#, r#"{"a":1}"#]);
        assert_eq!(fitting(ValueKind::Strings), ["null", "{}", r#"{"a":"b"}"#]);
        assert_eq!(fitting(ValueKind::List), ["null", "[]"]);
    }
}
