//! From JSON to Rust types, as Kubernetes' decoder reads a typed object.
//!
//! Everything that a policy reads passes through here: parts of the document and settings. Null counts as absent in a
//! struct and as the empty value in a map or list. A list is never a struct, and nothing is converted. Errors know the
//! path, the expected type and the fix, in YAML's words.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde_json::{Map, Value};

/// Bytes of a value that an error repeats.
const MAX_FOUND: usize = 64;

/// Reads a value as a `T`.
pub(crate) fn read<'v, T: Deserialize<'v>>(value: &'v Value) -> Result<T, Mismatch> {
    T::deserialize(Shape(value))
}

/// A value of another type than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// From the innermost value outwards.
    path: Vec<Segment>,
    message: String,
    fix: Fix,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Member(String),
    Element(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fix {
    /// The scalar as it should be written.
    Quote(String),
    Unquote(String),
    /// The list with the value as its only element.
    List(Option<String>),
    Mapping,
    Other(String),
}

impl Mismatch {
    fn new(message: String, fix: Fix) -> Self {
        Self { path: Vec::new(), message, fix }
    }

    fn inside(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    /// Returns the expected and the found type.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the path as a JSON Pointer below `base`.
    pub(crate) fn pointer(&self, base: &str) -> String {
        self.path.iter().rev().fold(base.to_owned(), |pointer, segment| match segment {
            Segment::Member(key) => crate::pointer::join(&pointer, key),
            Segment::Element(n) => format!("{pointer}/{n}"),
        })
    }

    /// Returns the path in the form `tolerations[0].key`; empty for the root.
    pub(crate) fn field(&self) -> String {
        self.path.iter().rev().fold(String::new(), |field, segment| match segment {
            Segment::Member(key) if field.is_empty() => key.clone(),
            Segment::Member(key) => format!("{field}.{key}"),
            Segment::Element(n) => format!("{field}[{n}]"),
        })
    }

    /// Returns the text to type. `name` is the name of the root.
    pub(crate) fn fix(&self, name: &str) -> String {
        let (lead, name) = match self.path.first() {
            Some(Segment::Member(key)) => (format!("{key}: "), key.as_str()),
            Some(Segment::Element(_)) => ("- ".to_owned(), name),
            None => (format!("{name}: "), name),
        };
        match &self.fix {
            Fix::Quote(value) => format!("put it in quotes: `{lead}\"{value}\"`"),
            Fix::Unquote(value) => format!("remove the quotes: `{lead}{value}`"),
            Fix::List(Some(value)) => format!("write it as a list: `{lead}[{value}]`"),
            Fix::List(None) => format!("begin each entry of `{name}` with `- `"),
            Fix::Mapping => format!("write its fields as `field: value` below `{name}`, without `- `"),
            Fix::Other(fix) => fix.clone(),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), Fix::Other("change the value".to_owned()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(
            format!("expected {expected}, found {}", words(&found)),
            Fix::Other("change the value".to_owned()),
        )
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("unknown value `{}`", short(value)), suggestion(value, known))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("unknown field `{}`", short(field)), suggestion(field, known))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"), Fix::Other(format!("add `{field}: …`")))
    }
}

fn suggestion(written: &str, known: &[&str]) -> Fix {
    let nearest = known.iter().map(|name| (edits(written, name), name)).min();
    Fix::Other(match nearest {
        Some((edits, name)) if edits <= if written.len() < 5 { 1 } else { 2 } => {
            format!("did you mean `{name}`?")
        }
        Some(_) => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("write one of {}", known.join(", "))
        }
        None => "remove it".to_owned(),
    })
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

fn short(text: &str) -> String {
    if text.len() <= MAX_FOUND {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MAX_FOUND).collect::<String>())
    }
}

/// Describes a value in YAML's words.
fn words(value: &Unexpected<'_>) -> String {
    match value {
        Unexpected::Bool(value) => format!("the boolean `{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Str(value) => format!("the string `{}`", short(value)),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// A value that is read.
struct Shape<'v>(&'v Value);

impl<'v> Shape<'v> {
    fn unexpected(&self) -> Unexpected<'v> {
        match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::String(value) => Unexpected::Str(value),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
            Value::Number(value) => match value.as_i64() {
                Some(value) => Unexpected::Signed(value),
                None => Unexpected::Float(value.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    fn mismatch(&self, expected: &str, fix: Fix) -> Mismatch {
        Mismatch::new(format!("expected {expected}, found {}", words(&self.unexpected())), fix)
    }

    fn no_string(&self) -> Mismatch {
        let fix = match self.0 {
            Value::Bool(_) | Value::Number(_) => Fix::Quote(self.0.to_string()),
            _ => Fix::Other("write one value, without `- ` and without fields".to_owned()),
        };
        self.mismatch("a string", fix)
    }

    fn no_bool(&self) -> Mismatch {
        let fix = match self.0 {
            Value::String(text) if text == "true" || text == "false" => Fix::Unquote(text.clone()),
            _ => Fix::Other("write `true` or `false`".to_owned()),
        };
        self.mismatch("`true` or `false`", fix)
    }

    fn no_list(&self) -> Mismatch {
        let fix = match self.0 {
            Value::String(text) => Fix::List(Some(short(text))),
            Value::Bool(_) | Value::Number(_) => Fix::List(Some(self.0.to_string())),
            _ => Fix::List(None),
        };
        self.mismatch("a list", fix)
    }

    fn integer<T: TryFrom<i64>>(&self) -> Result<T, Mismatch> {
        let value = match self.0 {
            Value::Null => Some(0),
            Value::Number(value) => value.as_i64(),
            _ => None,
        };
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
            let fix = match self.0 {
                Value::String(text) if text.parse::<i64>().is_ok() => Fix::Unquote(text.clone()),
                _ => Fix::Other("write a whole number".to_owned()),
            };
            self.mismatch("a whole number", fix)
        })
    }
}

/// Implements the integer types, all of which check their range.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            visitor.$visit(self.integer::<$type>()?)
        }
    )*};
}

impl<'v> Deserializer<'v> for Shape<'v> {
    type Error = Mismatch;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Number(value) => match (value.as_i64(), value.as_u64()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, Some(value)) => visitor.visit_u64(value),
                (None, None) => visitor.visit_f64(value.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(members) => visitor.visit_map(Members::new(Some(members), None)),
        }
    }

    fn deserialize_bool<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.no_bool()),
        }
    }

    fn deserialize_f64<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Number(value) => visitor.visit_f64(value.as_f64().unwrap_or(f64::NAN)),
            Value::Null => visitor.visit_f64(0.0),
            _ => Err(self.mismatch("a number", Fix::Other("write a number".to_owned()))),
        }
    }

    fn deserialize_f32<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Null => visitor.visit_borrowed_str(""),
            _ => Err(self.no_string()),
        }
    }

    fn deserialize_string<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let elements = match self.0 {
            Value::Array(elements) => elements.as_slice(),
            Value::Null => &[],
            _ => return Err(self.no_list()),
        };
        visitor.visit_seq(Elements(elements.iter().enumerate()))
    }

    fn deserialize_tuple<V: Visitor<'v>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Members::new(self.members()?, None))
    }

    fn deserialize_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Members::new(self.members()?, Some(fields)))
    }

    fn deserialize_enum<V: Visitor<'v>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::String(value) => visitor.visit_enum(BorrowedStrDeserializer::new(value)),
            _ => {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                let known = format!("one of {}", known.join(", "));
                Err(self.mismatch(&known, Fix::Other("write one of them".to_owned())))
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { <W: Visitor<'v>> bytes byte_buf i128 u128 }
}

impl<'v> Shape<'v> {
    fn members(&self) -> Result<Option<&'v Map<String, Value>>, Mismatch> {
        match self.0 {
            Value::Object(members) => Ok(Some(members)),
            Value::Null => Ok(None),
            _ => Err(self.mismatch("a mapping", Fix::Mapping)),
        }
    }
}

struct Elements<'v>(std::iter::Enumerate<std::slice::Iter<'v, Value>>);

impl<'v> SeqAccess<'v> for Elements<'v> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'v>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some((n, element)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Shape(element)).map(Some).map_err(|error| error.inside(Segment::Element(n)))
    }
}

struct Members<'v> {
    members: Option<serde_json::map::Iter<'v>>,
    value: Option<(&'v str, &'v Value)>,
    /// The fields of a struct, of which null ones count as absent. None for a map, in which Go reads null as the empty
    /// value.
    fields: Option<&'static [&'static str]>,
}

impl<'v> Members<'v> {
    fn new(members: Option<&'v Map<String, Value>>, fields: Option<&'static [&'static str]>) -> Self {
        Self { members: members.map(Map::iter), value: None, fields }
    }
}

impl<'v> MapAccess<'v> for Members<'v> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'v>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let is_absent = |key: &str, value: &Value| {
            value.is_null() && self.fields.is_some_and(|fields| fields.contains(&key))
        };
        let found =
            self.members.as_mut().and_then(|members| members.find(|(key, value)| !is_absent(key, value)));
        let Some((key, value)) = found else { return Ok(None) };
        self.value = Some((key, value));
        let inside = |error: Mismatch| error.inside(Segment::Member(key.clone()));
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some).map_err(inside)
    }

    fn next_value_seed<V: DeserializeSeed<'v>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        seed.deserialize(Shape(value)).map_err(|error| error.inside(Segment::Member(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{LabelSelector, Labels, Requirement, Toleration};

    /// Returns pointer, message and fix of the error.
    fn error<'v, T: Deserialize<'v> + fmt::Debug>(value: &'v Value) -> (String, String, String) {
        let error = read::<T>(value).expect_err("another type");
        (error.pointer("/list"), error.message().to_owned(), error.fix("list"))
    }

    fn expected(pointer: &str, message: &str, fix: &str) -> (String, String, String) {
        (pointer.to_owned(), message.to_owned(), fix.to_owned())
    }

    #[test]
    fn an_error_points_at_the_field_and_says_what_to_type() {
        for (value, pointer, message, fix) in [
            (
                json!([{"key": "a"}, {"value": true}]),
                "/list/1/value",
                "expected a string, found the boolean `true`",
                "put it in quotes: `value: \"true\"`",
            ),
            (
                json!([{"key": 1.5}]),
                "/list/0/key",
                "expected a string, found the number `1.5`",
                "put it in quotes: `key: \"1.5\"`",
            ),
            (
                json!([{"tolerationSeconds": "300"}]),
                "/list/0/tolerationSeconds",
                "expected a whole number, found the string `300`",
                "remove the quotes: `tolerationSeconds: 300`",
            ),
            (
                json!([{"tolerationSeconds": "soon"}]),
                "/list/0/tolerationSeconds",
                "expected a whole number, found the string `soon`",
                "write a whole number",
            ),
            (
                json!({"key": "a"}),
                "/list",
                "expected a list, found a mapping",
                "begin each entry of `list` with `- `",
            ),
            (json!("a"), "/list", "expected a list, found the string `a`", "write it as a list: `list: [a]`"),
            (
                json!(["a"]),
                "/list/0",
                "expected a mapping, found the string `a`",
                "write its fields as `field: value` below `list`, without `- `",
            ),
            (
                json!([{"key": ["a"]}]),
                "/list/0/key",
                "expected a string, found a list",
                "write one value, without `- ` and without fields",
            ),
        ] {
            assert_eq!(error::<Vec<Toleration<'_>>>(&value), expected(pointer, message, fix), "{value}");
        }
        let labels = json!({"a": "b", "c/d": 1});
        assert_eq!(
            error::<Labels<'_>>(&labels),
            expected(
                "/list/c~1d",
                "expected a string, found the number `1`",
                "put it in quotes: `c/d: \"1\"`"
            )
        );
        let values = json!([{"key": "a", "operator": "In", "values": [true]}]);
        assert_eq!(
            error::<Vec<Requirement<'_>>>(&values),
            expected(
                "/list/0/values/0",
                "expected a string, found the boolean `true`",
                "put it in quotes: `- \"true\"`"
            )
        );
    }

    #[test]
    fn a_list_is_never_a_struct() {
        let positional = json!([["a", "Exists", "", "NoSchedule", null]]);
        assert_eq!(error::<Vec<Toleration<'_>>>(&positional).1, "expected a mapping, found a list");
        assert_eq!(
            error::<LabelSelector<'_>>(&json!([{"a": "b"}, []])).1,
            "expected a mapping, found a list"
        );
        assert_eq!(error::<BTreeMap<String, String>>(&json!([])).1, "expected a mapping, found a list");
    }

    #[test]
    fn null_is_absent_in_a_struct_and_empty_in_a_map_or_list() {
        let toleration = json!({"key": null, "operator": "Exists", "value": null, "effect": null, "tolerationSeconds": null});
        let read_toleration: Toleration<'_> = read(&toleration).expect("a toleration");
        assert_eq!(read_toleration, Toleration { operator: "Exists".into(), ..Toleration::default() });
        assert_eq!(read::<Vec<Toleration<'_>>>(&json!([null])), Ok(vec![Toleration::default()]));
        assert_eq!(read::<Vec<Toleration<'_>>>(&Value::Null), Ok(vec![]));
        let labels = json!({"team": null});
        let labels: Labels<'_> = read(&labels).expect("labels");
        assert_eq!(labels.get("team").map(|value| &**value), Some(""));
        let requirement = json!({"key": "a", "operator": "In", "values": [null, "b"]});
        let requirement: Requirement<'_> = read(&requirement).expect("a requirement");
        assert_eq!(requirement.values, ["".into(), "b".into()]);
        // The API server refuses a requirement without an operator.
        assert_eq!(error::<Requirement<'_>>(&json!({"key": "a"})).1, "missing field `operator`");
        let selector = json!({"matchLabels": {"a": null}, "matchExpressions": null});
        let selector: LabelSelector<'_> = read(&selector).expect("a selector");
        assert_eq!((selector.match_labels.len(), selector.match_expressions.len()), (1, 0));
    }

    #[test]
    fn unknown_names_get_the_one_that_was_meant() {
        assert_eq!((edits("efect", "effect"), edits("Exist", "exists"), edits("abc", "xyz")), (1, 1, 3));
        let fix = |written, known: &[&str]| Mismatch::new(String::new(), suggestion(written, known)).fix("x");
        assert_eq!(fix("NoExecte", &["NoSchedule", "NoExecute"]), "did you mean `NoExecute`?");
        assert_eq!(fix("other", &["deny", "warn"]), "write one of `deny`, `warn`");
        assert_eq!(fix("any", &[]), "remove it");
    }
}
