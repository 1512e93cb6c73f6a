//! The tree of one document: values, and the place at which each begins.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

/// A place in a file, counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// Returns the place of a byte of a file.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct YamlNode {
    /// None for JSON files, whose parser does not tell.
    pub(super) place: Option<Place>,
    pub(super) content: Content,
}

/// A value. Lists and mappings are shared, so that an anchor and its aliases cost no copy of the tree.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Arc<Vec<YamlNode>>),
    Mapping(Arc<Vec<YamlMember>>),
}

/// The size of a tree that an alias repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Number of values, keys not counted.
    pub(super) values: usize,
    /// Bytes of all strings and keys.
    pub(super) bytes: usize,
    /// Number of lists and mappings inside each other at the deepest place.
    pub(super) depth: usize,
}

/// A member of a mapping.
#[derive(Debug, Clone)]
pub(super) struct YamlMember {
    pub(super) key: String,
    pub(super) place: Option<Place>,
    pub(super) value: YamlNode,
}

impl YamlNode {
    /// Returns the size of the tree.
    pub(super) fn size(&self) -> Size {
        let scalar = |bytes| Size { values: 1, bytes, depth: 0 };
        let empty = Size { values: 1, bytes: 0, depth: 1 };
        let add = |sum: Size, key: usize, value: &Self| {
            let size = value.size();
            Size {
                values: sum.values.saturating_add(size.values),
                bytes: sum.bytes.saturating_add(key).saturating_add(size.bytes),
                depth: sum.depth.max(1 + size.depth),
            }
        };
        match &self.content {
            Content::Null | Content::Bool(_) | Content::Number(_) => scalar(0),
            Content::String(text) => scalar(text.len()),
            Content::List(items) => items.iter().fold(empty, |sum, item| add(sum, 0, item)),
            Content::Mapping(members) => {
                members.iter().fold(empty, |sum, member| add(sum, member.key.len(), &member.value))
            }
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(value) => Value::Number(value.clone()),
            Content::String(value) => Value::String(value.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Mapping(members) => {
                let members = members.iter().map(|member| (member.key.clone(), member.value.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<Value> for YamlNode {
    fn from(value: Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => Content::Bool(value),
            Value::Number(value) => Content::Number(super::scalar::as_kubectl_sends(value)),
            Value::String(value) => Content::String(value),
            Value::Array(items) => Content::List(Arc::new(items.into_iter().map(Self::from).collect())),
            Value::Object(members) => {
                let member =
                    |(key, value): (String, Value)| YamlMember { key, place: None, value: value.into() };
                Content::Mapping(Arc::new(members.into_iter().map(member).collect()))
            }
        };
        Self { place: None, content }
    }
}
