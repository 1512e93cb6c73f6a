//! Values: JSON text to CEL, and CEL to JSON.
//!
//! A map or list of the document is shared: a macro such as `all` copies each element, and a copy costs a reference.

use std::{collections::HashMap, fmt, sync::Arc};

use ::cel::{
    ExecutionError,
    common::{
        traits::{self, Adder, Container, Indexer, Iterable, Sizer, Zeroer},
        types::{
            CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
            LIST_TYPE, MAP_TYPE, Type,
        },
        value::{Builtin, BuiltinRef, CowVal, Val},
    },
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of any type.
pub(crate) type Boxed<'v> = Box<dyn Val + 'v>;

/// A JSON value, whose strings are borrowed from the text if they have no escapes.
#[derive(Debug)]
pub(crate) struct Json<'j>(pub(crate) Boxed<'j>);

impl<'j> Deserialize<'j> for Json<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

/// A key of a JSON object.
struct Name<'j>(CelString<'j>);

impl<'j> Deserialize<'j> for Name<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AnyName).map(Self)
    }
}

struct AnyName;

impl<'j> Visitor<'j> for AnyName {
    type Value = CelString<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'j str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(text.into())
    }
}

struct AnyValue;

impl<'j> Visitor<'j> for AnyValue {
    type Value = Boxed<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        // Whole numbers are `int`, as in Kubernetes' own CEL.
        Ok(i64::try_from(value).map_or_else(
            |_| Box::new(CelUInt::from(value)) as Self::Value,
            |int| Box::new(CelInt::from(int)),
        ))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_borrowed_str<E>(self, text: &'j str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Box::new(CelString::from(text)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Box::new(CelNull))
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(list_of(list))
    }

    fn visit_map<A: MapAccess<'j>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(key), Json(value))) = entries.next_entry()? {
            // Kubernetes reads a null member as absent.
            if value.downcast_ref::<CelNull>().is_none() {
                members.push((key, value));
            }
        }
        Ok(map_of(members))
    }
}

/// Makes a shared list.
pub(crate) fn list_of(elements: Vec<Boxed<'_>>) -> Boxed<'_> {
    Box::new(SharedList(Arc::new(elements.into())))
}

/// Makes a shared map.
pub(crate) fn map_of<'v>(members: Vec<(CelString<'v>, Boxed<'v>)>) -> Boxed<'v> {
    let mut keys: Vec<CelString<'v>> = members.iter().map(|(key, _)| key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let map: HashMap<CelMapKey<'v>, Boxed<'v>> =
        members.into_iter().map(|(key, value)| (CelMapKey::String(key), value)).collect();
    Box::new(SharedMap(Arc::new(Members { map: map.into(), keys })))
}

/// A list of the document.
#[derive(Clone, Debug)]
struct SharedList<'v>(Arc<CelList<'v>>);

/// A map of the document.
#[derive(Clone, Debug)]
struct SharedMap<'v>(Arc<Members<'v>>);

#[derive(Debug)]
struct Members<'v> {
    map: CelMap<'v>,
    /// The keys in order, so that macros do not depend on hashes.
    keys: Vec<CelString<'v>>,
}

impl<'a> Val for SharedList<'a> {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = LIST_TYPE;
        &TYPE
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        self.0.as_adder()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        self.0.as_iterable()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.0.as_sizer()
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        self.0.as_zeroer()
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.0.equals(other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
    where
        Self: 'v,
    {
        BuiltinRef::List(&self.0)
    }

    fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
    where
        Self: 'v,
    {
        Some(Builtin::List(CelList::clone(&self.0)))
    }
}

impl<'a> Indexer for SharedList<'a> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.0.get(index)
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl<'a> Val for SharedMap<'a> {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static TYPE: Type = MAP_TYPE;
        &TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.map.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.0.map.as_sizer()
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        self.0.map.as_zeroer()
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.0.map.equals(other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
    where
        Self: 'v,
    {
        BuiltinRef::Map(&self.0.map)
    }

    fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
    where
        Self: 'v,
    {
        Some(Builtin::Map(self.0.map.clone()))
    }
}

impl<'a> Indexer for SharedMap<'a> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let escaped = |key: &&CelString<'_>| key.inner().starts_with("__") || key.inner().contains("__");
        match self.0.map.get(key) {
            Err(error @ ExecutionError::NoSuchKey(_)) => {
                match key.downcast_ref::<CelString>().filter(escaped) {
                    Some(escaped) => {
                        self.0.map.get(&CelString::from(unescape(escaped.inner()))).map_err(|_| error)
                    }
                    None => Err(error),
                }
            }
            found => found,
        }
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl<'a> Iterable for SharedMap<'a> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.0.keys.iter()))
    }
}

struct Keys<'b, 'v>(std::slice::Iter<'b, CelString<'v>>);

impl<'b, 'v: 'w, 'w> traits::Iterator<'b, 'w> for Keys<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|key| key as &(dyn Val + 'w))
    }
}

/// Undoes the escapes of field names in ValidatingAdmissionPolicies: `__dash__` is `-`, `__namespace__` is `namespace`.
fn unescape(name: &str) -> String {
    const ESCAPES: [(&str, &str); 4] =
        [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__")];
    let word = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| RESERVED.contains(word)) {
        return word.to_owned();
    }
    let (mut plain, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(next) = rest.chars().next() {
        match ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, text)) => {
                plain.push_str(text);
                rest = &rest[escape.len()..];
            }
            None => {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    plain
}

/// The words that CEL reserves.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
];

/// Converts a value to JSON. The error names the type that JSON does not have.
pub(crate) fn to_json(value: &dyn Val) -> Result<serde_json::Value, String> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Ok(text.inner().into());
    }
    if let Some(value) = value.downcast_ref::<CelBool>() {
        return Ok((*value.inner()).into());
    }
    if let Some(value) = value.downcast_ref::<CelInt>() {
        return Ok((*value.inner()).into());
    }
    if let Some(value) = value.downcast_ref::<CelUInt>() {
        return Ok((*value.inner()).into());
    }
    if let Some(value) = value.downcast_ref::<CelDouble>() {
        let number = serde_json::Number::from_f64(*value.inner());
        return number.map(Into::into).ok_or_else(|| format!("the number `{}`", value.inner()));
    }
    if value.downcast_ref::<CelNull>().is_some() {
        return Ok(serde_json::Value::Null);
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        return list.inner().iter().map(|element| to_json(element.as_ref())).collect();
    }
    if let Some(map) = value.downcast_ref::<CelMap>() {
        let member = |(key, value): (&CelMapKey<'_>, &Boxed<'_>)| match key {
            CelMapKey::String(key) => Ok((key.inner().to_owned(), to_json(value.as_ref())?)),
            other => Err(format!("a map with the key `{}`, which is no string", text_of(other.inner()))),
        };
        return map.inner().iter().map(member).collect();
    }
    if value.downcast_ref::<CelBytes>().is_some() {
        return Err("`bytes`".to_owned());
    }
    Err(format!("`{}`", value.get_type().name()))
}

fn text_of(value: &dyn Val) -> String {
    to_json(value).map_or_else(|found| found, |json| json.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Boxed<'_> {
        serde_json::from_str::<Json<'_>>(text).expect("is JSON").0
    }

    #[test]
    fn json_comes_back_as_it_was_without_null_members() {
        let text = r#"{"a":[1,-2,2.5,"x\n",true,null,{"b":{}}],"n":null,"u":18446744073709551615}"#;
        let expected = serde_json::json!({"a": [1, -2, 2.5, "x\n", true, null, {"b": {}}], "u": u64::MAX});
        assert_eq!(to_json(read(text).as_ref()), Ok(expected));
    }

    #[test]
    fn a_shared_value_equals_a_value_of_the_interpreter() {
        let (shared, own) = (
            read("[1,2]"),
            CelList::from(vec![Box::new(CelInt::from(1)) as Boxed<'_>, Box::new(CelInt::from(2))]),
        );
        assert!(shared.equals(&own) && own.equals(shared.as_ref()));
        let (shared, copy) = (read(r#"{"a":1}"#), read(r#"{"a":1}"#).clone_as_boxed());
        assert!(shared.equals(copy.as_ref()) && !shared.equals(read(r#"{"a":2}"#).as_ref()));
    }

    #[test]
    fn a_map_finds_escaped_names_and_iterates_in_order() {
        let map = read(r#"{"b":1,"a":2,"namespace":3,"x-y":4,"p__q":5}"#);
        let get = |key: &str| {
            let found = map.as_indexer().expect("a map").get(&CelString::from(key));
            found.ok().and_then(|value| value.downcast_ref::<CelInt>().map(|int| *int.inner()))
        };
        for (key, found) in [
            ("b", Some(1)),
            ("__namespace__", Some(3)),
            ("x__dash__y", Some(4)),
            ("p__underscores__q", Some(5)),
            ("p__q", Some(5)),
            ("__other__", None),
        ] {
            assert_eq!(get(key), found, "{key}");
        }
        let mut keys = map.as_iterable().expect("a map").iter();
        let mut found = Vec::new();
        while let Some(key) = keys.next() {
            found.push(text_of(key));
        }
        assert_eq!(found, [r#""a""#, r#""b""#, r#""namespace""#, r#""p__q""#, r#""x-y""#]);
    }

    #[test]
    fn says_which_type_json_lacks() {
        let error = to_json(&CelBytes::from(vec![1_u8])).expect_err("bytes");
        assert_eq!(error, "`bytes`");
        let key = CelMapKey::Int(CelInt::from(7));
        let map = CelMap::from(HashMap::from([(key, Box::new(CelNull) as Boxed<'_>)]));
        assert_eq!(to_json(&map), Err("a map with the key `7`, which is no string".to_owned()));
    }
}
