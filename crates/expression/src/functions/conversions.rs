//! Types, conversions and optional values.

use super::super::format::plain;
use super::super::meter::Meter;
use super::super::value::{TextValue, Value};
use super::{Function, FunctionRefusal, global, member};

type Answer<'v> = Result<Value<'v>, FunctionRefusal>;

pub(super) const FUNCTIONS: &[Function] = &[
    global("bool", (1, 1), "bool(x)", to_bool),
    global("bytes", (1, 1), "bytes(x)", to_bytes),
    global("double", (1, 1), "double(x)", to_double),
    global("dyn", (1, 1), "dyn(x)", |args, _| one(args).cloned()),
    global("int", (1, 1), "int(x)", to_int),
    global("string", (1, 1), "string(x)", to_string),
    global("type", (1, 1), "type(x)", |args, _| Ok(Value::Type(one(args)?.type_name()))),
    global("uint", (1, 1), "uint(x)", to_uint),
    global("optional.none", (0, 0), "optional.none()", |_, _| Ok(Value::Optional(None))),
    global("optional.of", (1, 1), "optional.of(x)", |args, _| Ok(Value::some(one(args)?.clone()))),
    global("optional.ofNonZeroValue", (1, 1), "optional.ofNonZeroValue(x)", |args, _| {
        let value = one(args)?;
        Ok(if value.is_zero() { Value::Optional(None) } else { Value::some(value.clone()) })
    }),
    member("hasValue", (0, 0), "x.hasValue()", |args, _| match args {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => Err(FunctionRefusal::Types),
    }),
    member("value", (0, 0), "x.value()", |args, _| match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => Err(FunctionRefusal::Value("the optional value is missing".to_owned())),
        _ => Err(FunctionRefusal::Types),
    }),
    // The compiler makes nodes of these, so the table needs only their names.
    member("or", (1, 1), "x.or(other)", |_, _| Err(FunctionRefusal::Types)),
    member("orValue", (1, 1), "x.orValue(other)", |_, _| Err(FunctionRefusal::Types)),
];

fn one<'a, 'v>(args: &'a [Value<'v>]) -> Result<&'a Value<'v>, FunctionRefusal> {
    args.first().ok_or(FunctionRefusal::Types)
}

fn to_bool<'v>(args: &[Value<'v>], _: &mut Meter) -> Answer<'v> {
    match one(args)? {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        // The spellings of Go's `strconv.ParseBool`, which CEL uses.
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            other => Err(FunctionRefusal::Value(format!("expected `true` or `false`, found `{other}`"))),
        },
        _ => Err(FunctionRefusal::Types),
    }
}

fn to_bytes<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    match one(args)? {
        Value::String(text) => {
            meter.build(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        _ => Err(FunctionRefusal::Types),
    }
}

#[expect(clippy::cast_precision_loss, reason = "CEL converts to the nearest double")]
fn to_double<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    match one(args)? {
        Value::Double(value) => Ok(Value::Double(*value)),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => {
            meter.read(text.len())?;
            text.parse().map(Value::Double).map_err(|_| expected("a number", text))
        }
        _ => Err(FunctionRefusal::Types),
    }
}

fn to_int<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    // The bounds are exclusive, as in cel-go.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let large = || FunctionRefusal::Value("the number is too large for 64 bits".to_owned());
    match one(args)? {
        Value::Int(value) => Ok(Value::Int(*value)),
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).map_err(|_| large()),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Value::Double(value) if *value > -LIMIT && *value < LIMIT => Ok(Value::Int(*value as i64)),
        Value::Double(_) => Err(large()),
        Value::String(text) => {
            meter.read(text.len())?;
            text.parse().map(Value::Int).map_err(|_| expected("a whole number", text))
        }
        _ => Err(FunctionRefusal::Types),
    }
}

fn to_uint<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let range = || FunctionRefusal::Value("the number is negative or too large for 64 bits".to_owned());
    match one(args)? {
        Value::Uint(value) => Ok(Value::Uint(*value)),
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).map_err(|_| range()),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        Value::Double(value) if *value >= 0.0 && *value < LIMIT => Ok(Value::Uint(*value as u64)),
        Value::Double(_) => Err(range()),
        Value::String(text) => {
            meter.read(text.len())?;
            text.parse().map(Value::Uint).map_err(|_| expected("a whole number", text))
        }
        _ => Err(FunctionRefusal::Types),
    }
}

fn to_string<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    Ok(match one(args)? {
        Value::String(text) => Value::String(text.clone()),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Uint(value) => value.to_string().into(),
        Value::Double(value) => plain(*value).into(),
        Value::Bytes(bytes) => {
            meter.build(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| FunctionRefusal::Value("the bytes are not UTF-8".to_owned()))?;
            Value::String(TextValue::Shared(text.into()))
        }
        _ => return Err(FunctionRefusal::Types),
    })
}

fn expected(kind: &str, found: &str) -> FunctionRefusal {
    FunctionRefusal::Value(format!("expected {kind}, found `{found}`"))
}
