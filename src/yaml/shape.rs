//! From the tree of a document to a Rust type, as Kubernetes' decoder reads a typed object: null counts as absent, a list
//! is never a mapping, and nothing is converted. Errors name the field, the expected type in YAML's words and the fix.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::error::{Problem, Segment, YamlError, found_value};
use super::node::{Content, YamlMember, YamlNode};

/// Reads a tree as a `T`.
pub(super) fn read<T: DeserializeOwned>(node: &YamlNode) -> Result<T, YamlError> {
    T::deserialize(Shape(node)).map_err(|error| error.or_at(node.place))
}

struct Shape<'n>(&'n YamlNode);

impl Shape<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0.content {
            Content::Null => Unexpected::Unit,
            Content::Bool(value) => Unexpected::Bool(*value),
            Content::String(value) => Unexpected::Str(value),
            Content::List(_) => Unexpected::Seq,
            Content::Mapping(_) => Unexpected::Map,
            Content::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => Unexpected::Signed(value),
                (None, value) => Unexpected::Float(value.unwrap_or(f64::NAN)),
            },
        }
    }

    fn mismatch(&self, expected: &str) -> YamlError {
        let mut found = found_value(&self.unexpected());
        // The two mistakes that YAML makes easy.
        if expected == "a string" && matches!(self.0.content, Content::Bool(_) | Content::Number(_)) {
            found.push_str("; put it in quotes");
        }
        if (expected.starts_with("a whole number") && self.is_string(|text| text.parse::<i64>().is_ok()))
            || (expected == "`true` or `false`" && self.is_string(|text| text == "true" || text == "false"))
        {
            found.push_str("; remove the quotes");
        }
        YamlError::new(Problem::Type { expected: expected.to_owned(), found }, self.0.place)
    }

    fn is_string(&self, test: impl Fn(&str) -> bool) -> bool {
        matches!(&self.0.content, Content::String(text) if test(text))
    }

    fn integer<T: TryFrom<i64>>(&self, least: i64, most: i64) -> Result<T, YamlError> {
        let value = match &self.0.content {
            Content::Null => Some(0),
            Content::Number(value) => value.as_i64(),
            _ => None,
        };
        value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.mismatch(&format!("a whole number from {least} to {most}")))
    }

    fn members(&self) -> Result<&[YamlMember], YamlError> {
        match &self.0.content {
            Content::Mapping(members) => Ok(members),
            Content::Null => Ok(&[]),
            _ => Err(self.mismatch("a mapping")),
        }
    }
}

/// Implements the integer types, all of which check their range.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
            let least = i64::try_from(<$type>::MIN).unwrap_or(i64::MIN);
            let most = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
            visitor.$visit(self.integer::<$type>(least, most)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Shape<'_> {
    type Error = YamlError;

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

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::String(value) => visitor.visit_str(value),
            Content::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, Some(value)) => visitor.visit_f64(value),
                (None, None) => Err(self.mismatch("a number")),
            },
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Mapping(members) => visitor.visit_map(Members::new(members, None)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Null => visitor.visit_bool(false),
            _ => Err(self.mismatch("`true` or `false`")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::Number(value) => visitor.visit_f64(value.as_f64().unwrap_or(f64::NAN)),
            Content::Null => visitor.visit_f64(0.0),
            _ => Err(self.mismatch("a number")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::String(value) => visitor.visit_str(value),
            Content::Null => visitor.visit_str(""),
            _ => Err(self.mismatch("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        if self.0.is_null() { visitor.visit_unit() } else { Err(self.mismatch("null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Content::Null => visitor.visit_seq(Items { items: [].iter().enumerate() }),
            _ => Err(self.mismatch("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        visitor.visit_map(Members::new(self.members()?, None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        visitor.visit_map(Members::new(self.members()?, Some(fields)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        match &self.0.content {
            Content::String(value) => {
                let name: StrDeserializer<'_, YamlError> = value.as_str().into_deserializer();
                visitor.visit_enum(name).map_err(|error| error.or_at(self.0.place))
            }
            _ => {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                Err(self.mismatch(&format!("one of {}", known.join(", "))))
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { bytes byte_buf i128 u128 }
}

struct Items<'n> {
    items: std::iter::Enumerate<std::slice::Iter<'n, YamlNode>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = YamlError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, YamlError> {
        let Some((n, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Shape(item)).map(Some).map_err(|error| error.inside(Segment::Item(n), item.place))
    }
}

struct Members<'n> {
    members: std::slice::Iter<'n, YamlMember>,
    value: Option<&'n YamlMember>,
    /// The fields of a struct, of which null ones count as absent. None for a map, in which Go reads null as the empty
    /// value.
    fields: Option<&'static [&'static str]>,
}

impl<'n> Members<'n> {
    fn new(members: &'n [YamlMember], fields: Option<&'static [&'static str]>) -> Self {
        Self { members: members.iter(), value: None, fields }
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = YamlError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, YamlError> {
        let is_absent = |member: &YamlMember| {
            member.value.is_null() && self.fields.is_some_and(|fields| fields.contains(&member.key.as_str()))
        };
        let Some(member) = self.members.find(|member| !is_absent(member)) else { return Ok(None) };
        self.value = Some(member);
        let key: StrDeserializer<'_, YamlError> = member.key.as_str().into_deserializer();
        let inside = |error: YamlError| error.inside(Segment::Member(member.key.clone()), member.place);
        seed.deserialize(key).map(Some).map_err(inside)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, YamlError> {
        let Some(member) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        let inside = |error: YamlError| error.inside(Segment::Member(member.key.clone()), member.value.place);
        seed.deserialize(Shape(&member.value)).map_err(inside)
    }
}
