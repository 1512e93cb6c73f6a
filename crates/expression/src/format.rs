//! Numbers as text, and `string.format(list)`, as in the API server: version 2 of `ext.Strings` of cel-go, in American
//! English.
//!
//! A clause is `%[.precision]conversion`, and `%%` is a percent sign. Each clause takes the next value of the list.

use std::fmt::Write as _;

use super::fault::Fault;
use super::meter::Meter;
use super::value::Value;

/// Digits after the decimal point if a clause has no precision.
const PRECISION: usize = 6;

/// Maximum precision of a clause. The API server has no maximum.
const MAX_PRECISION: usize = 100;

/// Formats the values. Values that no clause takes are ignored.
pub(super) fn format(text: &str, values: &[Value<'_>], meter: &mut Meter) -> Result<String, Fault> {
    let mut out = Out { text: String::new(), meter };
    let mut values = values.iter();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push(before)?;
        rest = after;
        if let Some(after) = rest.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let (precision, after) = precision(rest)?;
        let mut letters = after.chars();
        let Some(conversion) = letters.next() else {
            return Err(fails("a letter is missing at the end".to_owned()));
        };
        rest = letters.as_str();
        let Some(value) = values.next() else {
            return Err(fails(format!("there is no value for `%{conversion}`")));
        };
        out.convert(conversion, precision, value)?;
    }
    out.push(rest)?;
    Ok(out.text)
}

/// Writes a double as `string(x)` and Go's `%g` do: with the fewest digits that read back as the same number.
pub(super) fn plain(double: f64) -> String {
    if let Some(text) = not_finite(double) {
        return text.to_owned();
    }
    let text = format!("{double:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(-4..6) => double.to_string(),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => text,
    }
}

fn not_finite(double: f64) -> Option<&'static str> {
    match double {
        _ if double.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

fn fails(message: String) -> Fault {
    Fault::value(format!("`format`: {message}"))
}

/// Reads the precision of a clause.
fn precision(clause: &str) -> Result<(usize, &str), Fault> {
    let Some(rest) = clause.strip_prefix('.') else { return Ok((PRECISION, clause)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    match rest[..end].parse() {
        Ok(precision) if precision <= MAX_PRECISION => Ok((precision, &rest[end..])),
        _ => Err(fails(format!("expected a precision of 0 to {MAX_PRECISION}, found `{}`", &rest[..end]))),
    }
}

struct Out<'m> {
    text: String,
    meter: &'m mut Meter,
}

impl Out<'_> {
    fn push(&mut self, text: &str) -> Result<(), Fault> {
        self.meter.build(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    fn convert(&mut self, conversion: char, precision: usize, value: &Value<'_>) -> Result<(), Fault> {
        let text = match (conversion, value) {
            ('s', value) => return self.string(value),
            ('d', Value::Int(int)) => int.to_string(),
            ('d', Value::Uint(uint)) => uint.to_string(),
            ('f', value) if double_of(value).is_some() => {
                fixed(double_of(value).unwrap_or_default(), precision)
            }
            ('e', value) if double_of(value).is_some() => {
                scientific(double_of(value).unwrap_or_default(), precision)
            }
            ('b', Value::Bool(bool)) => u8::from(*bool).to_string(),
            ('b', Value::Int(int)) => format!("{}{:b}", sign(*int), int.unsigned_abs()),
            ('b', Value::Uint(uint)) => format!("{uint:b}"),
            ('o', Value::Int(int)) => format!("{}{:o}", sign(*int), int.unsigned_abs()),
            ('o', Value::Uint(uint)) => format!("{uint:o}"),
            ('x' | 'X', Value::Int(int)) => format!("{}{:x}", sign(*int), int.unsigned_abs()),
            ('x' | 'X', Value::Uint(uint)) => format!("{uint:x}"),
            ('x' | 'X', Value::String(text)) => self.hex(text.as_bytes())?,
            ('x' | 'X', Value::Bytes(bytes)) => self.hex(bytes)?,
            ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', value) => {
                let found = value.type_name();
                return Err(fails(format!("`%{conversion}` does not take the type `{found}`")));
            }
            (other, _) => return Err(fails(format!("there is no clause `%{other}`"))),
        };
        if conversion == 'X' { self.push(&text.to_ascii_uppercase()) } else { self.push(&text) }
    }

    fn hex(&mut self, bytes: &[u8]) -> Result<String, Fault> {
        self.meter.build(2 * bytes.len())?;
        let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
        Ok(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    fn string(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        match value {
            Value::String(text) => self.push(text),
            Value::Double(value) => self.push(&plain(*value)),
            Value::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes);
                self.push(text.map_err(|_| fails("the bytes are not UTF-8".to_owned()))?)
            }
            other => self.element(other),
        }
    }

    /// Writes a value as an element of a list, in which strings have quotes.
    fn element(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        self.meter.step(1)?;
        match value {
            Value::Null => self.push("null"),
            Value::Bool(value) => self.push(if *value { "true" } else { "false" }),
            Value::Int(value) => self.push(&value.to_string()),
            Value::Uint(value) => self.push(&value.to_string()),
            Value::Double(value) => match not_finite(*value) {
                Some(text) => self.push(&format!("\"{text}\"")),
                None => self.push(&format!("{value:.PRECISION$}")),
            },
            Value::String(text) => self.quoted(text),
            Value::Bytes(bytes) => {
                self.push("b")?;
                self.quoted(&String::from_utf8_lossy(bytes))
            }
            Value::Type(name) => self.push(name),
            Value::List(list) => {
                self.push("[")?;
                for (n, element) in list.iter().enumerate() {
                    self.push(if n == 0 { "" } else { ", " })?;
                    self.element(element)?;
                }
                self.push("]")
            }
            Value::Map(map) => {
                // Sorted by the texts of the keys. The map itself sorts keys of different types in another way.
                let mut entries = Vec::with_capacity(map.entries().len());
                for (key, value) in map.entries() {
                    let mut text = Out { text: String::new(), meter: self.meter };
                    text.element(key)?;
                    entries.push((text.text, value));
                }
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                self.push("{")?;
                for (n, (key, value)) in entries.into_iter().enumerate() {
                    self.push(if n == 0 { "" } else { ", " })?;
                    self.push(&key)?;
                    self.push(":")?;
                    self.element(value)?;
                }
                self.push("}")
            }
            Value::Optional(_) | Value::Quantity(_) => {
                Err(fails(format!("`%s` does not take the type `{}`", value.type_name())))
            }
        }
    }

    /// Writes a string with quotes and escapes, as Go's `%q`.
    fn quoted(&mut self, text: &str) -> Result<(), Fault> {
        self.meter.build(text.len() + 2)?;
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\x07' => quoted.push_str("\\a"),
                '\x08' => quoted.push_str("\\b"),
                '\x0c' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\x0b' => quoted.push_str("\\v"),
                // Writing to a String cannot fail.
                '\0'..' ' | '\x7f' => {
                    let _ = write!(quoted, "\\x{:02x}", u32::from(c));
                }
                c if c != ' ' && (c.is_control() || c.is_whitespace()) => {
                    let _ = write!(quoted, "\\u{:04x}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        // Counted again, because escapes make the text longer.
        self.meter.build(quoted.len())?;
        self.text.push_str(&quoted);
        Ok(())
    }
}

/// Returns the number that `%f` and `%e` format. Some strings are numbers, too.
fn double_of(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the sign, and the text of a number without digits.
fn special(double: f64) -> (&'static str, Option<&'static str>) {
    let sign = if double.is_sign_negative() && !double.is_nan() { "-" } else { "" };
    let text = match double {
        _ if double.is_nan() => Some("NaN"),
        _ if double.is_infinite() => Some("∞"),
        _ => None,
    };
    (sign, text)
}

/// Writes a double with groups of thousands: `1,234.50`.
fn fixed(double: f64, precision: usize) -> String {
    let (sign, text) = special(double);
    if let Some(text) = text {
        return format!("{sign}{text}");
    }
    let text = format!("{:.precision$}", double.abs());
    let whole = text.split('.').next().unwrap_or(&text).len();
    let mut grouped = sign.to_owned();
    for (n, c) in text.chars().enumerate() {
        if n > 0 && n < whole && (whole - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

/// Writes a double as `1.234000 × 10⁰⁴`, with narrow spaces. As in cel-go, the precision is the least number of
/// characters, and there are always six digits after the point.
fn scientific(double: f64, width: usize) -> String {
    let (sign, text) = special(double);
    if let Some(text) = text {
        return format!("{sign}{text}");
    }
    let text = format!("{:.PRECISION$e}", double.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (minus, digits) = exponent.strip_prefix('-').map_or(("", exponent), |digits| ("⁻", digits));
    let raised = |c: char| c.to_digit(10).and_then(|n| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(n as usize));
    let digits: String = format!("{digits:0>2}").chars().filter_map(raised).collect();
    let text = format!("{sign}{mantissa}\u{202f}×\u{202f}10{minus}{digits}");
    format!("{text:>width$}")
}

fn sign(int: i64) -> &'static str {
    if int < 0 { "-" } else { "" }
}
