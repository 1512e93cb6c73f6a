//! The error of a value that has another type than expected: its path, the two types and the fix, in YAML's words.

use std::{borrow::Cow, fmt};

use serde::de::{self, Expected, Unexpected};

use crate::json::Json;

/// Bytes of a value that an error repeats.
const MAX_FOUND: usize = 64;

/// A value of another type than expected.
///
/// It is boxed, because a `Result` with a large error costs each read, and most reads succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    /// From the innermost value outwards.
    path: Vec<Segment>,
    message: String,
    fix: Fix,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Member(String),
    Element(usize),
}

/// The change to the author's text that corrects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// The scalar, which needs quotes.
    Quote(String),
    /// The text of the string, which must not have quotes.
    Unquote(String),
    /// The list whose only element is this scalar.
    List(String),
    /// A list of other values.
    Entries,
    /// A mapping, with the name of one of its fields. The found value is a list or not.
    Fields { example: &'static str, found_list: bool },
    /// Any other advice.
    Other(Cow<'static, str>),
}

impl Mismatch {
    #[cold]
    pub(crate) fn new(message: String, fix: Fix) -> Self {
        Self(Box::new(Parts { path: Vec::new(), message, fix }))
    }

    #[cold]
    pub(crate) fn of(expected: &str, found: Json<'_>, fix: Fix) -> Self {
        Self::new(format!("expected {expected}, found {}", words(found.value())), fix)
    }

    /// The host promises valid JSON.
    #[cold]
    pub(crate) fn malformed() -> Self {
        Self::new("malformed or too deeply nested JSON".to_owned(), Fix::Other("simplify the value".into()))
    }

    #[cold]
    pub(crate) fn inside(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }

    /// Returns the expected and the found type.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the path as a JSON Pointer below `base`.
    pub(crate) fn pointer(&self, base: &str) -> String {
        self.0.path.iter().rev().fold(base.to_owned(), |pointer, segment| match segment {
            Segment::Member(key) => crate::pointer::join(&pointer, key),
            Segment::Element(n) => format!("{pointer}/{n}"),
        })
    }

    /// Returns the path in the form `tolerations[0].key`; empty for the root.
    pub(crate) fn field(&self) -> String {
        self.0.path.iter().rev().fold(String::new(), |field, segment| match segment {
            Segment::Member(key) if field.is_empty() => key.clone(),
            Segment::Member(key) => format!("{field}.{key}"),
            Segment::Element(n) => format!("{field}[{n}]"),
        })
    }

    /// Returns the text to type. `root` is the name of the root.
    pub(crate) fn fix(&self, root: &str) -> String {
        let path = &self.0.path;
        let nearest = path.iter().find_map(|segment| match segment {
            Segment::Member(key) => Some(key.as_str()),
            Segment::Element(_) => None,
        });
        let name = nearest.unwrap_or(root);
        let is_entry = matches!(path.first(), Some(Segment::Element(_)));
        let lead = if is_entry { "- ".to_owned() } else { format!("{name}: ") };
        match &self.0.fix {
            Fix::Quote(value) => format!("put it in quotes: `{lead}{}`", quoted(value)),
            Fix::Unquote(value) => format!("remove the quotes: `{lead}{value}`"),
            Fix::List(value) => format!("write it as a list: `{lead}[{value}]`"),
            Fix::Entries => format!("begin each entry of `{name}` with `- `"),
            Fix::Fields { example, .. } if is_entry => {
                format!("write the entry of `{name}` as fields: `- {example}: …`")
            }
            Fix::Fields { example, found_list: true } => {
                format!("write fields below `{name}`, without `- `: `{example}: …`")
            }
            Fix::Fields { example, .. } => format!("write fields below `{name}`: `{example}: …`"),
            Fix::Other(fix) => fix.clone().into_owned(),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), change())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", unexpected(&found)), change())
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("unknown value `{}`", short(value)), suggestion(value, known))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field `{}`", short(field)), suggestion(field, known))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"), Fix::Other(format!("add `{field}: …`").into()))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate key `{field}`"), Fix::Other("remove one of the two".into()))
    }
}

fn change() -> Fix {
    Fix::Other("change the value".into())
}

/// Returns the names as `` `a`, `b` ``.
pub(crate) fn names(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn suggestion(written: &str, known: &[&str]) -> Fix {
    Fix::Other(advice(written, known).into())
}

/// Returns the advice to the author of an unknown name: the known one that looks alike, or all.
pub(crate) fn advice(written: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (edits(written, name), name)).min();
    match nearest {
        Some((edits, name)) if edits <= if written.len() < 5 { 1 } else { 2 } => {
            format!("did you mean `{name}`?")
        }
        Some(_) => format!("write one of {}", names(known)),
        None => "remove it".to_owned(),
    }
}

/// Returns the number of letters to insert, delete or replace, upper and lower case being the same (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().take(MAX_FOUND).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Returns the beginning of a text, with `…` for the rest.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    cut(text, MAX_FOUND)
}

/// Returns the first `most` characters of a text, with `…` for the rest.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Returns a scalar as an element of a YAML list `[…]`, with quotes if YAML would read it as something else.
pub(crate) fn element(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_name)
        && !words.contains(&&*text.to_lowercase());
    if is_plain { short(text).into_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", short(text).replace('\\', "\\\\").replace('"', "\\\""))
}

/// Describes JSON text in YAML's words.
fn words(value: &str) -> String {
    match value.as_bytes().first() {
        Some(b'{') => "a mapping".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b'"') => {
            format!("the string `{}`", short(&Json::new(value).string().unwrap_or_default()))
        }
        Some(b't' | b'f') => format!("the boolean `{value}`"),
        Some(b'n') => "null".to_owned(),
        Some(_) => format!("the number `{}`", short(value)),
        None => "nothing".to_owned(),
    }
}

/// Describes a value that a type's own code refused.
fn unexpected(value: &Unexpected<'_>) -> String {
    match value {
        Unexpected::Bool(value) => format!("the boolean `{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Str(value) => format!("the string `{}`", short(value)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_get_the_one_that_was_meant() {
        assert_eq!((edits("efect", "effect"), edits("Exist", "exists"), edits("abc", "xyz")), (1, 1, 3));
        let fix = |written, known: &[&str]| Mismatch::new(String::new(), suggestion(written, known)).fix("x");
        assert_eq!(fix("NoExecte", &["NoSchedule", "NoExecute"]), "did you mean `NoExecute`?");
        assert_eq!(fix("other", &["deny", "warn"]), "write one of `deny`, `warn`");
        assert_eq!(fix("any", &[]), "remove it");
    }

    #[test]
    fn elements_get_quotes_if_yaml_would_read_something_else() {
        for (text, written) in [
            ("ssd", "ssd"),
            ("topology.io/zone-a", "topology.io/zone-a"),
            ("true", "\"true\""),
            ("No", "\"No\""),
            ("7", "\"7\""),
            ("", "\"\""),
            ("x: y", "\"x: y\""),
            ("a, b", "\"a, b\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
        ] {
            assert_eq!(element(text), written);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "ä".repeat(200);
        assert_eq!(short(&long).chars().count(), MAX_FOUND + 1);
        assert_eq!(short("ä"), "ä");
    }
}
