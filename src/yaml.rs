//! YAML as Kubernetes' tools read and write it.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};
use wardset_core::text::one_line;

/// The most bytes of a path that an error names.
const MAX_FIELD: usize = 256;
/// The most bytes of an error.
const MAX_SAID: usize = 1024;

/// Why a text is no YAML of the wanted shape. Names the field and the line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(String);

/// Each document of `text` that is not empty.
///
/// # Errors
///
/// Text that is no YAML, a key that stands twice, a document of another shape.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    parse(text).map_err(|error| {
        let said = error.render_with_formatter(&Words);
        // A field's name is a stranger's text, as long as they like.
        let said = match field::<T>(text) {
            Some(field) => format!("`{}`: {said}", one_line(&field, MAX_FIELD)),
            None => said,
        };
        YamlError(one_line(&said, MAX_SAID))
    })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    // `0644` is octal, as for kubectl: YAML 1.2 would make it six hundred and forty-four.
    let options = serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options)
}

/// Where in its document that is on which `text` fails; none where it is in no member of it.
fn field<T: DeserializeOwned>(text: &str) -> Option<String> {
    // A second parse, since an error of serde carries its words or the path, not both.
    let error = parse::<Tracked<T>>(text).err()?;
    let message = UserMessageFormatter.format_message(&error);
    // Else it is what the library says of a text that it can't read as documents at all.
    let path = message.strip_prefix(AT)?;
    // A question mark is a segment that nobody knows, a dot the whole document.
    let known = path.strip_suffix(".?").unwrap_or(path);
    (known != "?" && known != ".").then(|| known.to_owned())
}

/// Begins the path of a [`Tracked`].
const AT: &str = "at the field ";

/// Fails with the path at which a `T` fails.
struct Tracked<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Tracked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_path_to_error::deserialize(deserializer)
            .map(Self)
            .map_err(|error| D::Error::custom(format_args!("{AT}{}", error.path())))
    }
}

/// What the library says to those who write manifests, without the names of Rust's types.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::InvalidScalar { ty: "boolean", .. } => "expected `true` or `false`".into(),
            Error::InvalidScalar { ty: "i32", .. } => {
                format!("expected a whole number from {} to {}", i32::MIN, i32::MAX).into()
            }
            Error::Unexpected { expected: "mapping start", .. } => "expected a mapping".into(),
            Error::Unexpected { expected: "sequence start", .. } => "expected a list".into(),
            Error::Unexpected { expected: "string scalar", .. } => {
                "expected one value, no list and no mapping".into()
            }
            Error::Budget { breach, .. } => match breach {
                BudgetBreach::Documents { .. } => {
                    "the file has too many documents: at most 1,024 are taken".into()
                }
                BudgetBreach::Nodes { .. } => {
                    "the file has too many values: at most 250,000 are taken".into()
                }
                BudgetBreach::Depth { .. } => {
                    "the values are nested too deeply: at most 64 levels are taken".into()
                }
                _ => UserMessageFormatter.format_message(error),
            },
            _ => UserMessageFormatter.format_message(error),
        }
    }
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

    /// What is said of a text that should be such documents.
    fn said(text: &str) -> String {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "nothing of this shape is read")]
        struct Shape {
            spec: Spec,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "nothing of this shape is read")]
        struct Spec {
            order: i32,
            #[serde(default)]
            on: bool,
            #[serde(default)]
            names: Vec<String>,
        }
        documents::<Shape>(text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_field_what_was_expected_and_the_line() {
        for (text, expected) in [
            (
                "spec: {order: high}",
                "`spec.order`: expected a whole number from -2147483648 to 2147483647 at line 1, column 15",
            ),
            (
                "spec: {order: 1}\n---\nspec: {order: 1, on: maybe}",
                "`spec.on`: expected `true` or `false` at line 3, column 22",
            ),
            ("spec: {order: 1, names: {}}", "`spec.names`: expected a list at line 1, column 25"),
            (
                "spec: {order: 1, names: [a, {}]}",
                "`spec.names[1]`: expected one value, no list and no mapping at line 1, column 29",
            ),
            ("spec: 3", "`spec`: expected a mapping at line 1, column 7"),
            ("spec: {}", "`spec`: missing field `order` at line 1, column 7"),
            (
                "spec: {order: 1, oder: 1}",
                "`spec.oder`: unknown field `oder`, expected one of order, on, names at line 1, column 18",
            ),
            ("- a", "expected a mapping at line 1, column 1"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_named_with_its_place_and_no_more() {
        assert_eq!(
            said("spec:\n  order: 1\n  order: 2\n"),
            "`spec`: duplicate mapping key `order` is not allowed here at line 3, column 3"
        );
    }

    #[test]
    fn an_error_is_one_short_line_whatever_the_names_are() {
        let named = said("spec: {order: 1, \"a\\nb\\e[31mc\": 1}");
        assert!(named.starts_with("`spec.a b [31mc`: unknown field"), "{named:?}");
        let long = said(&format!("spec: {{order: 1, {}: 1}}", "k".repeat(900)));
        assert!(long.len() <= MAX_SAID && long.contains("…`: unknown field"), "{long:?}");
        for text in [named, long] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_of_no_field() {
        for (text, expected) in [
            ("spec: {order: 1}\n---\n{broken", "unclosed bracket '{' at line 3, column 1"),
            ("%YAML 9.9\n---\nspec: {order: 1}\n", "unsupported YAML major version at line 1, column 1"),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
        let many = said(&"---\nspec: {order: 1}\n".repeat(1025));
        assert!(many.starts_with("the file has too many documents: at most 1,024 are taken"), "{many}");
    }
}
