//! JSON text to values, and values to JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fault::Fault;
use super::meter::Meter;
use super::value::{TextValue, Value, list_of, map_of};

impl<'v> Deserialize<'v> for Value<'v> {
    fn deserialize<D: Deserializer<'v>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// A key of a JSON object.
struct Name<'v>(TextValue<'v>);

impl<'v> Deserialize<'v> for Name<'v> {
    fn deserialize<D: Deserializer<'v>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AnyName).map(Self)
    }
}

struct AnyName;

impl<'v> Visitor<'v> for AnyName {
    type Value = TextValue<'v>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'v str) -> Result<TextValue<'v>, E> {
        Ok(TextValue::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<TextValue<'v>, E> {
        Ok(TextValue::Shared(text.into()))
    }
}

struct AnyValue;

impl<'v> Visitor<'v> for AnyValue {
    type Value = Value<'v>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'v>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'v>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'v>, E> {
        // Whole numbers are `int`, as in Kubernetes' own CEL.
        Ok(i64::try_from(value).map_or(Value::Uint(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'v>, E> {
        Ok(Value::Double(value))
    }

    fn visit_borrowed_str<E>(self, text: &'v str) -> Result<Value<'v>, E> {
        Ok(Value::String(TextValue::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'v>, E> {
        Ok(Value::String(TextValue::Shared(text.into())))
    }

    fn visit_unit<E>(self) -> Result<Value<'v>, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value<'v>, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'v>>(self, mut elements: A) -> Result<Value<'v>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(list_of(list))
    }

    fn visit_map<A: MapAccess<'v>>(self, mut entries: A) -> Result<Value<'v>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(key), value)) = entries.next_entry()? {
            // Kubernetes reads a null member as absent.
            if !matches!(value, Value::Null) {
                members.push((key, value));
            }
        }
        Ok(map_of(members))
    }
}

/// Converts a value to JSON.
///
/// # Errors
///
/// JSON lacks the type, or the budget is used up, because a value can contain a shared part many times.
pub fn to_json(value: &Value<'_>, meter: &mut Meter) -> Result<serde_json::Value, Fault> {
    let lacks = |found: &str| Fault::value(format!("expected a value that JSON has, found {found}"));
    meter.step(1)?;
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Uint(value) => (*value).into(),
        Value::Double(value) => serde_json::Number::from_f64(*value)
            .ok_or_else(|| lacks(&format!("the number `{value}`")))?
            .into(),
        Value::String(text) => {
            meter.build(text.len())?;
            (**text).into()
        }
        Value::List(list) => {
            meter.elements(list.len())?;
            list.iter().map(|element| to_json(element, meter)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Map(map) => {
            meter.elements(map.entries().len())?;
            let mut object = serde_json::Map::new();
            for (key, value) in map.entries() {
                let Value::String(key) = key else {
                    return Err(lacks(&format!("a map with a key of the type `{}`", key.type_name())));
                };
                meter.build(key.len())?;
                object.insert((**key).to_owned(), to_json(value, meter)?);
            }
            object.into()
        }
        Value::Bytes(_) | Value::Optional(_) | Value::Quantity(_) | Value::Type(_) => {
            return Err(lacks(&format!("`{}`", value.type_name())));
        }
    })
}
