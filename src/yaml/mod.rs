//! YAML as kubectl reads and writes it.
//!
//! ```text
//! bytes ─► text (UTF-8) ─► documents (split at `---`, as kubectl splits) ─► tree ─► JSON value, or a Rust type
//! ```
//!
//! A file that begins with `{` is read as JSON first. Kubernetes' rules decide: `k8s.io/apimachinery`'s decoder splits a
//! file, and `sigs.k8s.io/yaml` reads a document. Stricter than kubectl in one point: duplicate keys are errors.

mod error;
mod limits;
mod node;
mod parse;
mod scalar;
mod shape;
mod text;
mod write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wardset_core::document::{self, SyntaxProblem};

pub use error::YamlError;
use error::{MAX_DOCUMENTS, Problem};
use node::YamlNode;
pub use text::{EncodingError, decode};

/// One document of a file.
#[derive(Debug, Clone)]
pub struct YamlDocument<'t> {
    /// The separator line before it, if there is one, with its line break.
    pub separator: &'t str,
    /// The text between the separators, byte for byte.
    pub text: &'t str,
    is_json: bool,
    /// None for comments and blank lines.
    tree: Option<YamlNode>,
}

impl YamlDocument<'_> {
    /// Returns the value in JSON's terms; `None` if the document is empty or null.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        self.content().map(YamlNode::to_value)
    }

    /// Reads the document as a `T`.
    ///
    /// # Errors
    ///
    /// A value of another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Option<Result<T, YamlError>> {
        self.content().map(shape::read)
    }

    /// Whether the text is YAML, and not one of several JSON objects in a row.
    #[must_use]
    pub fn is_yaml(&self) -> bool {
        !self.is_json
    }

    fn content(&self) -> Option<&YamlNode> {
        self.tree.as_ref().filter(|tree| !tree.is_null())
    }
}

/// Returns all documents of a file, the empty ones too.
///
/// # Errors
///
/// Text that is neither YAML nor JSON, duplicate keys, and the limits: 10,000 documents, 1,000,000 values, 127 levels. The
/// aliases of a file may repeat 16 MiB of text.
pub fn parse(text: &str) -> Result<Vec<YamlDocument<'_>>, YamlError> {
    // A byte order mark is no content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with('{') {
        return yaml(text).map_err(|error| explain(error, text));
    }
    // A flow mapping of YAML begins with a brace, too; only JSON continues with a quote.
    let is_json = text.trim_start()[1..].trim_start().starts_with('"')
        && !text.lines().any(|line| line.starts_with("---"));
    json(text).or_else(|problem| {
        // kubectl reads JSON as YAML only if its syntax is wrong.
        if problem.is_final() {
            return Err(problem);
        }
        yaml(text).map_err(|error| explain(if error.is_syntax() && is_json { problem } else { error }, text))
    })
}

/// Reads each document that is not empty as a `T`.
///
/// # Errors
///
/// As [`parse`], and a document of another shape.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    parse(text)?.iter().filter_map(YamlDocument::read).collect()
}

/// Returns `value` as one document, members in their order.
#[must_use]
pub fn to_string(value: &impl Serialize) -> String {
    // Objects come from JSON or from our own types, which have no keys but strings.
    let value = serde_json::to_value(value).unwrap_or_default();
    let bytes = write::document(&value).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Returns `value` as JSON text, as kubectl sends it to the API server.
#[must_use]
pub fn to_json(value: &Value) -> String {
    // All keys are strings, so it can be written.
    String::from_utf8(write::json(value).unwrap_or_default()).unwrap_or_default()
}

fn yaml(text: &str) -> Result<Vec<YamlDocument<'_>>, YamlError> {
    let mut budget = parse::Budget::of_a_file();
    let mut documents = Vec::new();
    for chunk in text::split(text)? {
        if documents.len() == MAX_DOCUMENTS {
            let place = node::Place { line: chunk.first_line, column: 1 };
            return Err(YamlError::at(Problem::TooManyDocuments, place));
        }
        let tree = parse::document(chunk.text, chunk.first_line, &mut budget)?;
        documents.push(YamlDocument { separator: chunk.separator, text: chunk.text, is_json: false, tree });
    }
    Ok(documents)
}

/// Reads JSON objects, one after the other.
fn json(text: &str) -> Result<Vec<YamlDocument<'_>>, YamlError> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&serde_json::value::RawValue>();
    let mut begin = 0;
    while let Some(raw) = values.next() {
        let raw = raw.map_err(|error| YamlError::new(Problem::Json(error.to_string()), None))?;
        if documents.len() == MAX_DOCUMENTS {
            return Err(YamlError::new(Problem::TooManyDocuments, None));
        }
        let end = values.byte_offset();
        // `serde_json` keeps the last of two equal keys; a document refuses them.
        if let Err(error) = document::Document::parse(raw.get()) {
            if error.problem == SyntaxProblem::Number {
                let at = node::Place::of(text, end - raw.get().len() + error.offset);
                return Err(YamlError::at(Problem::OutOfRange(error.problem.to_string()), at));
            }
            return Err(YamlError::new(Problem::Json(error.to_string()), None));
        }
        let value: Value = serde_json::from_str(raw.get())
            .map_err(|error| YamlError::new(Problem::Json(error.to_string()), None))?;
        documents.push(YamlDocument {
            separator: "",
            text: &text[begin..end],
            is_json: true,
            tree: Some(value.into()),
        });
        begin = end;
    }
    Ok(documents)
}

/// A template that was not rendered breaks the syntax in many ways, none of which tells what is wrong.
fn explain(error: YamlError, text: &str) -> YamlError {
    let is_template = text.lines().any(|line| line.contains("{{") && line.contains("}}"));
    if error.is_syntax() && is_template { error.into_template() } else { error }
}

#[cfg(test)]
mod tests;
