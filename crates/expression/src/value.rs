//! The values of expressions.
//!
//! Lists, maps and built strings are shared, so a copy is only a reference. Strings of the document are borrowed.

use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

use super::quantity::Quantity;

/// A value. `'v` is the document's text.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// `null`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(TextValue<'v>),
    /// `bytes`.
    Bytes(Arc<[u8]>),
    /// `list`.
    List(Arc<Vec<Value<'v>>>),
    /// `map`.
    Map(Arc<Map<'v>>),
    /// `optional_type`.
    Optional(Option<Arc<Value<'v>>>),
    /// A quantity of Kubernetes.
    Quantity(Arc<Quantity>),
    /// `type`, by its name.
    Type(&'static str),
}

/// A string: borrowed from the document, or built.
#[derive(Clone)]
pub enum TextValue<'v> {
    /// A part of the document.
    Borrowed(&'v str),
    /// A built string.
    Shared(Arc<str>),
}

/// A map, in the order of its keys.
#[derive(Clone, Debug, Default)]
pub struct Map<'v> {
    entries: Vec<(Value<'v>, Value<'v>)>,
}

impl<'v> Value<'v> {
    /// Returns the name of the type, as `type(x)` gives it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Type(_) => "type",
        }
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// Returns whether the value is the zero value of its type.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Null | Self::Optional(None) => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.entries.is_empty(),
            Self::Optional(Some(_)) | Self::Quantity(_) | Self::Type(_) => false,
        }
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(TextValue::Shared(text.into()))
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::String(TextValue::Borrowed(text))
    }
}

impl From<String> for TextValue<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl Deref for TextValue<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for TextValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'v> Map<'v> {
    /// Creates a map of entries whose keys [`key_order`] can compare. If two keys are equal, the first entry
    /// counts, and the second result is true.
    pub(super) fn new(mut entries: Vec<(Value<'v>, Value<'v>)>) -> (Self, bool) {
        if !entries.is_sorted_by(|(a, _), (b, _)| key_order(a, b) == Ordering::Less) {
            entries.sort_by(|(a, _), (b, _)| key_order(a, b));
        }
        let before = entries.len();
        entries.dedup_by(|(a, _), (b, _)| key_order(a, b) == Ordering::Equal);
        let has_duplicates = entries.len() < before;
        (Self { entries }, has_duplicates)
    }

    pub(super) fn get(&self, key: &Value<'_>) -> Option<&Value<'v>> {
        // A double finds the entry of the equal integer.
        let whole;
        let key = match key {
            Value::Double(double) => {
                whole = whole_of(*double)?;
                &whole
            }
            key => key,
        };
        let place = self.entries.binary_search_by(|(own, _)| key_order(own, key)).ok()?;
        self.entries.get(place).map(|(_, value)| value)
    }

    pub(super) fn get_text(&self, key: &str) -> Option<&Value<'v>> {
        let place = self.entries.binary_search_by(|(own, _)| match own {
            Value::String(own) => (**own).cmp(key),
            // The order has strings last.
            _ => Ordering::Less,
        });
        self.entries.get(place.ok()?).map(|(_, value)| value)
    }

    pub(super) fn entries(&self) -> &[(Value<'v>, Value<'v>)] {
        &self.entries
    }
}

/// Returns whether a value can be a key of a map.
pub(super) fn is_key(value: &Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_))
}

/// Orders keys: booleans, then numbers, then strings.
fn key_order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    fn rank(key: &Value<'_>) -> u8 {
        match key {
            Value::Bool(_) => 0,
            Value::Int(_) | Value::Uint(_) => 1,
            Value::String(_) => 2,
            _ => 3,
        }
    }
    fn number(key: &Value<'_>) -> i128 {
        match key {
            Value::Int(int) => (*int).into(),
            Value::Uint(uint) => (*uint).into(),
            _ => 0,
        }
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)).then_with(|| number(a).cmp(&number(b))),
    }
}

/// Returns the integer that a double equals.
fn whole_of<'v>(double: f64) -> Option<Value<'v>> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    let whole = (double.fract() == 0.0 && (-LIMIT..LIMIT).contains(&double)).then_some(double as i64);
    whole.map(Value::Int)
}

/// Creates a list.
#[must_use]
pub fn list_of(elements: Vec<Value<'_>>) -> Value<'_> {
    Value::List(Arc::new(elements))
}

/// Creates a map with strings as keys. If two keys are equal, the first entry counts.
#[must_use]
pub fn map_of<'v>(members: impl IntoIterator<Item = (TextValue<'v>, Value<'v>)>) -> Value<'v> {
    let entries = members.into_iter().map(|(key, value)| (Value::String(key), value)).collect();
    Value::Map(Arc::new(Map::new(entries).0))
}
