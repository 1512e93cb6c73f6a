//! Why a file is not YAML, or not YAML of the expected shape, in the words of people who write manifests.

use std::fmt;

use serde::de::{self, Expected, Unexpected};
use wardset_core::text::{nearest, one_line};

use super::limits::{MAX_ALIAS_BYTES, MAX_DEPTH, MAX_VALUES};
use super::node::Place;

/// Bytes of a field's path that an error repeats.
const MAX_PATH: usize = 256;
/// Bytes of one name that an error repeats.
const MAX_NAME: usize = 128;
/// Bytes of an error.
const MAX_ERROR: usize = 1024;

/// Why a file is not YAML of the expected shape. Names the field, the problem and the place; always one short line.
#[derive(Debug)]
pub struct YamlError {
    /// From the outermost field to the innermost, reversed.
    path: Vec<Segment>,
    problem: Box<Problem>,
    place: Option<Place>,
}

#[derive(Debug, Clone)]
pub(super) enum Segment {
    Member(String),
    Item(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The text breaks the syntax of YAML, in the parser's words.
    Syntax {
        problem: &'static str,
        context: Option<(&'static str, Place)>,
    },
    Tab,
    /// The parser itself failed.
    Parser,
    /// `{{ … }}` in a text that is not YAML.
    Template,
    /// A separator line with something behind `---`.
    Separator(String),
    SecondDocument,
    Duplicate(String),
    /// A key that is not a string, number or boolean.
    Key(&'static str),
    /// `<<` with something else than mappings.
    Merge,
    Alias(String),
    Tag(String),
    NotFinite,
    TooManyDocuments,
    TooManyValues,
    TooManyAliasBytes,
    TooDeep,
    /// The text begins like JSON and is neither JSON nor YAML.
    Json(String),
    /// A number of a JSON text that Go cannot read, although the syntax is right.
    OutOfRange(String),
    /// A value of another type than expected.
    Type {
        expected: String,
        found: String,
    },
    UnknownField {
        field: String,
        known: &'static [&'static str],
    },
    UnknownValue {
        value: String,
        known: &'static [&'static str],
    },
    MissingField(&'static str),
    Other(String),
}

/// The most documents of one file.
pub(super) const MAX_DOCUMENTS: usize = 10_000;

impl YamlError {
    pub(super) fn new(problem: Problem, place: Option<Place>) -> Self {
        Self { path: Vec::new(), problem: Box::new(problem), place }
    }

    pub(super) fn at(problem: Problem, place: Place) -> Self {
        Self::new(problem, Some(place))
    }

    /// Whether the text is not YAML at all.
    pub(super) fn is_syntax(&self) -> bool {
        matches!(
            *self.problem,
            Problem::Syntax { .. } | Problem::Tab | Problem::Key(_) | Problem::Separator(_)
        )
    }

    /// Whether another reading of the text would hide the error.
    pub(super) fn is_final(&self) -> bool {
        matches!(*self.problem, Problem::OutOfRange(_))
    }

    /// Adds where in the tree the error is; called from the innermost value outwards.
    pub(super) fn inside(mut self, segment: Segment, place: Option<Place>) -> Self {
        self.path.push(segment);
        self.place = self.place.or(place);
        self
    }

    pub(super) fn or_at(mut self, place: Option<Place>) -> Self {
        self.place = self.place.or(place);
        self
    }

    pub(super) fn into_template(self) -> Self {
        Self { problem: Box::new(Problem::Template), ..self }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            match segment {
                Segment::Item(n) => path.push_str(&format!("[{n}]")),
                Segment::Member(name) => {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(name);
                }
            }
        }
        path
    }
}

impl std::error::Error for YamlError {}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        if !self.path.is_empty() {
            line.push_str(&format!("`{}`: ", one_line(&self.path(), MAX_PATH)));
        }
        line.push_str(&self.problem.to_string());
        if let Some(place) = self.place {
            line.push_str(&format!(" at {place}"));
        }
        f.write_str(&one_line(&line, MAX_ERROR))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { problem, context: Some((context, place)) } => {
                write!(f, "{problem} ({context} that begins at {place})")
            }
            Self::Syntax { problem, context: None } => f.write_str(problem),
            Self::Tab => f.write_str("expected spaces, found a tab: YAML allows no tabs in indentation"),
            Self::Parser => f.write_str(
                "failed to parse the document: a defect of the YAML parser; hint: put a blank between a tag and a \
                 comma, as in `[!x , 1]`; the document begins",
            ),
            Self::Template => f.write_str(
                "expected YAML, found template syntax `{{ … }}`: render it first, for example \
                 `helm template CHART | wardset review -f -`",
            ),
            Self::Separator(found) => write!(
                f,
                "expected `---` alone on its line, found `{}`: put a line break after `---`",
                one_line(found, MAX_NAME)
            ),
            Self::SecondDocument => f.write_str(
                "expected `---` between two documents, found `...`: kubectl ignores what follows it",
            ),
            Self::Duplicate(key) => {
                write!(f, "duplicate key `{}`: remove one of the two", one_line(key, MAX_NAME))
            }
            Self::Key(found) => write!(
                f,
                "expected a string as key, found {found}: put a text with braces or brackets in quotes"
            ),
            Self::Merge => f.write_str("expected a mapping or a list of mappings after `<<`"),
            Self::Alias(anchor) => {
                write!(f, "expected an anchor `&{0}` before the alias `*{0}`", one_line(anchor, MAX_NAME))
            }
            Self::Tag(tag) => write!(f, "the value does not fit its tag `{}`", one_line(tag, MAX_NAME)),
            Self::NotFinite => f.write_str("expected a finite number: JSON has no infinity and no NaN"),
            Self::TooManyDocuments => {
                write!(f, "limit exceeded: a file may have at most {MAX_DOCUMENTS} documents")
            }
            Self::TooManyValues => write!(
                f,
                "limit exceeded: a file may have at most {MAX_VALUES} values, aliased ones counted each time"
            ),
            Self::TooManyAliasBytes => write!(
                f,
                "limit exceeded: the aliases of a file may repeat at most {} MiB of text",
                MAX_ALIAS_BYTES >> 20
            ),
            Self::TooDeep => {
                write!(
                    f,
                    "limit exceeded: at most {MAX_DEPTH} lists and mappings may stand inside each other"
                )
            }
            Self::Json(problem) => write!(f, "expected JSON: {problem}"),
            Self::OutOfRange(problem) => {
                write!(f, "{problem}; hint: write a smaller number, or put it in quotes")
            }
            Self::Type { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownField { field, known } => {
                write!(f, "unknown field `{}`", one_line(field, MAX_NAME))?;
                suggest(f, field, known)
            }
            Self::UnknownValue { value, known } => {
                write!(f, "unknown value `{}`", one_line(value, MAX_NAME))?;
                suggest(f, value, known)
            }
            Self::MissingField(field) => write!(f, "missing field `{field}`"),
            Self::Other(problem) => f.write_str(problem),
        }
    }
}

/// Writes the known name that was probably meant, or all of them.
fn suggest(f: &mut fmt::Formatter<'_>, written: &str, known: &[&str]) -> fmt::Result {
    if let Some(name) = nearest(written, known.iter().copied()) {
        return write!(f, "; did you mean `{name}`?");
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    if known.is_empty() { Ok(()) } else { write!(f, ", expected one of {}", known.join(", ")) }
}

impl de::Error for YamlError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(Problem::Other(problem.to_string()), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = found_value(&found);
        Self::new(Problem::Type { expected: expected.to_string(), found }, None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownValue { value: value.to_owned(), known }, None)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownField { field: field.to_owned(), known }, None)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::MissingField(field), None)
    }
}

/// Says in YAML's words what a value is.
pub(super) fn found_value(value: &Unexpected<'_>) -> String {
    match value {
        Unexpected::Bool(value) => format!("the boolean `{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Str(value) => format!("the string `{}`", one_line(value, MAX_FOUND)),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// Bytes of a value that an error repeats.
const MAX_FOUND: usize = 64;
