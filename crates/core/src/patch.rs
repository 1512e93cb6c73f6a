//! RFC 6902 operations whose values stay JSON text.

use std::fmt::Write as _;

use jsonptr::{Pointer, PointerBuf};

/// One change to a document. There is no `move`, `copy` or `test`, because policies don't need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchOperation {
    /// Adds a value to an existing object or array. In an object, it replaces an existing member.
    Add {
        /// The path; `-` appends to an array.
        path: PointerBuf,
        /// JSON text.
        value: String,
    },
    /// Replaces an existing value.
    Replace {
        /// The path.
        path: PointerBuf,
        /// JSON text.
        value: String,
    },
    /// Removes a value.
    Remove {
        /// The path.
        path: PointerBuf,
    },
}

impl PatchOperation {
    /// Returns the path of the operation.
    #[must_use]
    pub fn path(&self) -> &Pointer {
        match self {
            Self::Add { path, .. } | Self::Replace { path, .. } | Self::Remove { path } => path,
        }
    }

    /// Returns the name of the operation in RFC 6902.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Replace { .. } => "replace",
            Self::Remove { .. } => "remove",
        }
    }

    /// Returns the JSON text to put at the path, if the operation has one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } => Some(value),
            Self::Remove { .. } => None,
        }
    }
}

/// Returns the operations as an RFC 6902 document.
#[must_use]
pub fn to_json(operations: &[PatchOperation]) -> String {
    let mut json = String::with_capacity(16 + operations.iter().map(room).sum::<usize>());
    json.push('[');
    for (n, operation) in operations.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let path = crate::text::quoted(operation.path().as_str());
        // Writing to a String can't fail.
        let _ = write!(json, r#"{comma}{{"op":"{}","path":{path}"#, operation.name());
        if let Some(value) = operation.value() {
            let _ = write!(json, r#","value":{value}"#);
        }
        json.push('}');
    }
    json.push(']');
    json
}

fn room(operation: &PatchOperation) -> usize {
    operation.path().len() + operation.value().map_or(0, str::len) + 40
}

/// Returns whether `path` is `prefix` or lies below it, compared by whole tokens.
#[must_use]
pub fn is_within(path: &Pointer, prefix: &Pointer) -> bool {
    path.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
