//! Helpers that several targets share: a parser of edits, and lookups in trees of values.

pub mod chain;
#[path = "../../src/yaml/mod.rs"]
pub mod yaml;

use serde_json::Value;
use wardset_core::Pointer;
use wardset_core::document::Document;
use wardset_core::verdict::Edit;

/// Parses an edit from a line: `+POINTER VALUE`, `=POINTER VALUE` or `-POINTER`.
///
/// People can read this form, and the fuzzer can vary it.
#[must_use]
pub fn edit(line: &str) -> Option<Edit> {
    let with_value = |rest: &str| {
        let (path, value) = rest.split_once(' ')?;
        Some((path.to_owned(), value.to_owned()))
    };
    Some(match line.split_at_checked(1)? {
        ("+", rest) => with_value(rest).map(|(path, value)| Edit::Add { path, value })?,
        ("=", rest) => with_value(rest).map(|(path, value)| Edit::Replace { path, value })?,
        ("-", rest) => Edit::Remove { path: rest.to_owned() },
        _ => return None,
    })
}

/// Returns the depth of the deepest nesting of containers.
#[must_use]
pub fn depth(value: &Value) -> usize {
    let mut deepest = 0;
    let mut pending = vec![(value, 0)];
    while let Some((value, outside)) = pending.pop() {
        match value {
            Value::Array(elements) => {
                deepest = deepest.max(outside + 1);
                pending.extend(elements.iter().map(|element| (element, outside + 1)));
            }
            Value::Object(members) => {
                deepest = deepest.max(outside + 1);
                pending.extend(members.values().map(|member| (member, outside + 1)));
            }
            _ => {}
        }
    }
    deepest
}

/// Returns the value at a pointer of a document, as a tree.
///
/// # Panics
///
/// If the document holds malformed JSON.
#[must_use]
pub fn at(document: &Document, pointer: &str) -> Option<Value> {
    let pointer = Pointer::parse(pointer).expect("a pointer of a target's own");
    document
        .get(pointer)
        .map(|text| serde_json::from_str(text).expect("JSON, since it is part of a document"))
}

/// Checks that a text for a log, a header or an author is one line, not empty, and at most `most` bytes long.
///
/// # Panics
///
/// If the text is not such a line.
pub fn assert_line(text: &str, most: usize) {
    assert!(!text.trim().is_empty(), "nothing is said");
    assert!(text.len() <= most, "{} bytes, expected at most {most}: {text}", text.len());
    assert!(!text.contains(char::is_control), "more than a line: {text:?}");
}
