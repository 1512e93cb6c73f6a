//! From JSON text to Rust types, as Kubernetes' decoder reads a typed object.
//!
//! Everything that a policy reads passes through here: parts of the document and settings. Null counts as absent in a
//! struct and as the empty value in a map or list. A list is never a struct, and nothing is converted. An error has the
//! path, the two types and the fix ([`Mismatch`]).
//!
//! One gap is serde's: it buffers the fields of `#[serde(flatten)]`, `untagged` and `tag` before it knows their types. Below
//! these, a list can still be a struct.

use std::borrow::Cow;
use std::iter::empty;

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::json::Json;
use crate::mismatch::{Fix, Mismatch, Segment, element, names};

/// Reads JSON text as a `T`.
pub(crate) fn read<'j, T: Deserialize<'j>>(text: &'j str) -> Result<T, Mismatch> {
    let mut json = Json::new(text);
    let value = T::deserialize(Shape(&mut json))?;
    if json.peek().is_none() { Ok(value) } else { Err(Mismatch::malformed()) }
}

/// The next value of the text.
struct Shape<'s, 'j>(&'s mut Json<'j>);

impl<'j> Shape<'_, 'j> {
    fn is_null(&mut self) -> bool {
        self.0.peek() == Some(b'n')
    }

    fn string(self) -> Result<Cow<'j, str>, Mismatch> {
        match self.0.peek() {
            Some(b'"') => self.0.string().ok_or_else(Mismatch::malformed),
            Some(b'n') => {
                self.0.scalar();
                Ok(Cow::Borrowed(""))
            }
            _ => Err(self.no_string()),
        }
    }

    #[cold]
    fn no_string(self) -> Mismatch {
        let fix = match self.0.peek() {
            Some(b'{' | b'[') => Fix::Other("write one value, without `- ` and without fields".into()),
            // The exponent is the host's, not the author's, who may have written digits.
            Some(b'-' | b'0'..=b'9') if self.0.value().contains(['e', 'E']) => {
                Fix::Other("put it in quotes".into())
            }
            _ => Fix::Quote(self.0.value().to_owned()),
        };
        Mismatch::of("a string", *self.0, fix)
    }

    #[cold]
    fn no_bool(self) -> Mismatch {
        let fix = match self.0.value() {
            text @ ("\"true\"" | "\"false\"") => Fix::Unquote(text.trim_matches('"').to_owned()),
            _ => Fix::Other("write `true` or `false`".into()),
        };
        Mismatch::of("`true` or `false`", *self.0, fix)
    }

    /// Reads a number. `expected` describes it, and `is_right` is whether a text can be one.
    fn number<T: Default>(
        self,
        parse: fn(&str) -> Option<T>,
        expected: impl FnOnce(&str) -> String,
    ) -> Result<T, Mismatch> {
        let start = *self.0;
        match self.0.peek() {
            Some(b'n') => {
                self.0.scalar();
                return Ok(T::default());
            }
            Some(b'-' | b'0'..=b'9') => {
                if let Some(number) = parse(self.0.scalar()) {
                    return Ok(number);
                }
            }
            _ => {}
        }
        let written = start.value();
        let expected = expected(written);
        let fix = match written.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) if parse(text).is_some() => Fix::Unquote(text.to_owned()),
            _ => Fix::Other(format!("write {expected}").into()),
        };
        Err(Mismatch::of(&expected, start, fix))
    }

    /// Describes the error of a value that should be a list. If one string would do as its element, the fix shows that.
    #[cold]
    fn no_list<V: Visitor<'j>>(self, visitor: V) -> Mismatch {
        let (mut json, written) = (*self.0, self.0.value());
        let scalar = match self.0.peek() {
            Some(b'{') => None,
            Some(b'"') => json.string(),
            _ => Some(Cow::Borrowed(written)),
        };
        let one = |text: String| visitor.visit_seq(SeqDeserializer::<_, Mismatch>::new([text].into_iter()));
        let fix = match scalar {
            Some(text) if one(text.clone().into_owned()).is_ok() => Fix::List(element(&text)),
            _ => Fix::Entries,
        };
        Mismatch::of("a list", *self.0, fix)
    }

    fn list<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.peek() {
            Some(b'[') => {}
            Some(b'n') => {
                self.0.scalar();
                return visitor.visit_seq(SeqDeserializer::<_, Mismatch>::new(empty::<()>()));
            }
            _ => return Err(self.no_list(visitor)),
        }
        if !self.0.enter(b'[') {
            return Err(Mismatch::malformed());
        }
        let mut elements = Elements { json: self.0, n: 0 };
        let value = visitor.visit_seq(&mut elements)?;
        let (more, n) = (elements.json.peek() == Some(b','), elements.n);
        if self.0.leave(b']') {
            Ok(value)
        } else if more {
            Err(Mismatch::new(
                format!("expected {n} entries, found more"),
                Fix::Other("remove the others".into()),
            ))
        } else {
            Err(Mismatch::malformed())
        }
    }

    /// Reads a list of exactly `len` entries.
    fn tuple<V: Visitor<'j>>(self, len: usize, visitor: V) -> Result<V::Value, Mismatch> {
        let start = *self.0;
        self.list(visitor).map_err(|error| {
            let found = match start.entries() {
                Some(n) if n != len => n.to_string(),
                None if start.value() == "null" => "null".to_owned(),
                _ => return error,
            };
            let entries = if len == 1 { "1 entry".to_owned() } else { format!("{len} entries") };
            let message = format!("expected {entries}, found {found}");
            Mismatch::new(message, Fix::Other(format!("write {entries}").into()))
        })
    }

    /// Reads a mapping. `fields` are those of a struct, of which null ones count as absent. It is `None` for a map, in
    /// which Go reads null as the empty value.
    fn mapping<V: Visitor<'j>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0.peek() {
            Some(b'{') => {}
            Some(b'n') => {
                self.0.scalar();
                return visitor.visit_map(Members {
                    json: None,
                    key: Cow::Borrowed(""),
                    is_first: true,
                    fields,
                });
            }
            _ => return Err(self.no_mapping(fields)),
        }
        if !self.0.enter(b'{') {
            return Err(Mismatch::malformed());
        }
        let json = &mut *self.0;
        let members = Members { json: Some(json), key: Cow::Borrowed(""), is_first: true, fields };
        let value = visitor.visit_map(members)?;
        if self.0.leave(b'}') { Ok(value) } else { Err(Mismatch::malformed()) }
    }

    #[cold]
    fn no_mapping(self, fields: Option<&'static [&'static str]>) -> Mismatch {
        let example = fields.and_then(<[_]>::first).copied().unwrap_or("name");
        let found_list = self.0.peek() == Some(b'[');
        Mismatch::of("a mapping", *self.0, Fix::Fields { example, found_list })
    }
}

/// Whether a text that no integer type accepts is a whole number outside the range.
///
/// Integers beyond 64 bits arrive in the form `1e+20`. Parsing them as a float would add 18 KB to each module.
fn is_large(written: &str) -> bool {
    match written.split_once(['e', 'E']) {
        Some((_, exponent)) => exponent.parse::<i16>().is_ok_and(|exponent| exponent >= 18),
        None => written.strip_prefix('-').unwrap_or(written).bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Implements the integer types, all of which check their range.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let expected = |written: &str| {
                if is_large(written) {
                    format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX)
                } else {
                    "a whole number".to_owned()
                }
            };
            visitor.$visit(self.number(|text| text.parse::<$type>().ok(), expected)?)
        }
    )*};
}

/// Forwards methods that read the same.
macro_rules! same_as {
    ($($method:ident $as:ident;)*) => {$(
        fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.$as(visitor)
        }
    )*};
}

impl<'j> Deserializer<'j> for Shape<'_, 'j> {
    type Error = Mismatch;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    same_as! {
        deserialize_string deserialize_str;
        deserialize_char deserialize_str;
        deserialize_identifier deserialize_str;
        deserialize_bytes deserialize_any;
        deserialize_byte_buf deserialize_any;
        deserialize_f32 deserialize_f64;
        deserialize_unit deserialize_ignored_any;
        deserialize_seq list;
    }

    fn deserialize_any<V: Visitor<'j>>(mut self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'{') => self.mapping(None, visitor),
            Some(b'[') => self.list(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            Some(b'-' | b'0'..=b'9') => {
                let text = self.0.value();
                match (text.parse::<u64>(), text.parse::<i64>()) {
                    (Ok(_), _) => self.deserialize_u64(visitor),
                    (_, Ok(_)) => self.deserialize_i64(visitor),
                    _ => self.deserialize_f64(visitor),
                }
            }
            _ if self.is_null() => self.deserialize_ignored_any(visitor),
            _ => Err(Mismatch::malformed()),
        }
    }

    fn deserialize_bool<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.peek() {
            Some(b't' | b'f' | b'n') => visitor.visit_bool(self.0.scalar() == "true"),
            _ => Err(self.no_bool()),
        }
    }

    fn deserialize_f64<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_f64(self.number(|text| text.parse().ok(), |_| "a number".to_owned())?)
    }

    fn deserialize_str<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'j>>(mut self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.is_null() {
            self.0.scalar();
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_ignored_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.skip() { visitor.visit_unit() } else { Err(Mismatch::malformed()) }
    }

    fn deserialize_unit_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_ignored_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'j>>(self, len: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.mapping(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.mapping(Some(fields), visitor)
    }

    /// Reads `variant`, or `variant: value` if it has one.
    fn deserialize_enum<V: Visitor<'j>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0.peek() {
            Some(b'"') => {
                let name = self.0.string().ok_or_else(Mismatch::malformed)?;
                visitor.visit_enum(Variant { name, json: None })
            }
            Some(b'{') if self.0.enter(b'{') => {
                let Some(name) = self.0.string().filter(|_| self.0.eat(b':')) else {
                    return Err(Mismatch::new(
                        format!("expected one of {}, found an empty mapping", names(known)),
                        Fix::Other("write one of them".into()),
                    ));
                };
                let value = visitor.visit_enum(Variant { name, json: Some(&mut *self.0) })?;
                if self.0.leave(b'}') {
                    return Ok(value);
                }
                let message = format!("expected one of {}, found several", names(known));
                Err(Mismatch::new(message, Fix::Other("keep one of them".into())))
            }
            _ => {
                let expected = format!("one of {}", names(known));
                Err(Mismatch::of(&expected, *self.0, Fix::Other("write one of them".into())))
            }
        }
    }
}

struct Elements<'s, 'j> {
    json: &'s mut Json<'j>,
    n: usize,
}

impl<'j> SeqAccess<'j> for &mut Elements<'_, 'j> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'j>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let n = self.n;
        if self.json.peek() == Some(b']') {
            return Ok(None);
        }
        if n > 0 && !self.json.eat(b',') {
            return Err(Mismatch::malformed());
        }
        self.n += 1;
        seed.deserialize(Shape(self.json)).map(Some).map_err(|error| error.inside(Segment::Element(n)))
    }
}

struct Members<'s, 'j> {
    /// None for null, which has no members.
    json: Option<&'s mut Json<'j>>,
    key: Cow<'j, str>,
    is_first: bool,
    fields: Option<&'static [&'static str]>,
}

impl<'j> Members<'_, 'j> {
    /// Moves past the next key and its colon, and past members that count as absent. False at the end.
    fn advance(&mut self) -> Result<bool, Mismatch> {
        let Some(json) = &mut self.json else { return Ok(false) };
        loop {
            if json.peek() == Some(b'}') {
                return Ok(false);
            }
            if !self.is_first && !json.eat(b',') {
                return Err(Mismatch::malformed());
            }
            self.is_first = false;
            self.key = json.string().filter(|_| json.eat(b':')).ok_or_else(Mismatch::malformed)?;
            let is_absent = json.peek() == Some(b'n')
                && self.fields.is_some_and(|fields| fields.contains(&self.key.as_ref()));
            if !is_absent {
                return Ok(true);
            }
            json.scalar();
        }
    }
}

impl<'j> MapAccess<'j> for Members<'_, 'j> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'j>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        if !self.advance()? {
            return Ok(None);
        }
        let key = seed.deserialize(Key(self.key.clone()));
        key.map(Some).map_err(|error| error.inside(Segment::Member(self.key.to_string())))
    }

    fn next_value_seed<V: DeserializeSeed<'j>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let Some(json) = &mut self.json else { return Err(Mismatch::malformed()) };
        seed.deserialize(Shape(json)).map_err(|error| error.inside(Segment::Member(self.key.to_string())))
    }
}

/// The key of a map: text, which JSON also has for numbers.
struct Key<'j>(Cow<'j, str>);

macro_rules! integer_keys {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            match self.0.parse::<$type>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'j> Deserializer<'j> for Key<'j> {
    type Error = Mismatch;

    integer_keys! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'j>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0 {
            Cow::Borrowed(text) => BorrowedStrDeserializer::new(text).deserialize_enum(name, known, visitor),
            Cow::Owned(text) => {
                let text: StringDeserializer<Mismatch> = text.into_deserializer();
                text.deserialize_enum(name, known, visitor)
            }
        }
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'j>>
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// The name of an enum's variant, and its value if it has one.
struct Variant<'s, 'j> {
    name: Cow<'j, str>,
    json: Option<&'s mut Json<'j>>,
}

impl<'s, 'j> EnumAccess<'j> for Variant<'s, 'j> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'j>>(self, seed: V) -> Result<(V::Value, Self), Mismatch> {
        Ok((seed.deserialize(Key(self.name.clone()))?, self))
    }
}

impl<'j> Variant<'_, 'j> {
    /// Reads the value after the name.
    fn value<T>(self, read: impl FnOnce(Shape<'_, 'j>) -> Result<T, Mismatch>) -> Result<T, Mismatch> {
        let Some(json) = self.json else {
            let name = &self.name;
            let message = format!("expected a value for `{name}`, found none");
            return Err(Mismatch::new(message, Fix::Other(format!("write `{name}: …`").into())));
        };
        read(Shape(json)).map_err(|error| error.inside(Segment::Member(self.name.into_owned())))
    }
}

impl<'j> VariantAccess<'j> for Variant<'_, 'j> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        if self.json.is_none() {
            return Ok(());
        }
        let name = &self.name;
        let message = format!("expected `{name}` without a value, found one");
        Err(Mismatch::new(message, Fix::Other(format!("write `{name}` alone").into())))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'j>>(self, seed: T) -> Result<T::Value, Mismatch> {
        self.value(|value| seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'j>>(self, len: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.value(|value| value.tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'j>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.value(|value| value.mapping(Some(fields), visitor))
    }
}

#[cfg(test)]
mod tests;
