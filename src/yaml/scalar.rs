//! What a scalar means: the words of YAML 1.1, as `go.yaml.in/yaml/v2` (`resolve.go`) reads them for kubectl.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Number;

/// The meaning of a scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    /// An integer beyond [`i64`].
    Unsigned(u64),
    Float(f64),
    String(String),
}

/// A scalar that its tag does not fit, such as `!!int high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch;

const TAG: &str = "tag:yaml.org,2002:";

/// Returns the meaning of a scalar. `plain` is false for a scalar in quotes or in a block (`|`, `>`).
///
/// # Errors
///
/// A scalar that its tag does not fit. Tags that are not YAML's own make a string, as in Go.
pub(super) fn resolve(tag: Option<&str>, text: &str, plain: bool) -> Result<Scalar, Mismatch> {
    let string = || Scalar::String(text.to_owned());
    let Some(tag) = tag else { return Ok(if plain { untagged(text) } else { string() }) };
    let resolved = untagged(text);
    match (tag.strip_prefix(TAG), resolved) {
        (Some("null"), Scalar::Null) => Ok(Scalar::Null),
        (Some("bool"), Scalar::Bool(value)) => Ok(Scalar::Bool(value)),
        (Some("int" | "float"), Scalar::Float(value)) if tag.ends_with("float") => Ok(Scalar::Float(value)),
        (Some("int"), value @ (Scalar::Integer(_) | Scalar::Unsigned(_))) => Ok(value),
        #[expect(clippy::cast_precision_loss, reason = "that is what the tag asks for")]
        (Some("float"), Scalar::Integer(value)) => Ok(Scalar::Float(value as f64)),
        (Some("null" | "bool" | "int" | "float"), _) => Err(Mismatch),
        (Some("binary"), _) => {
            let bytes = STANDARD.decode(text.split_whitespace().collect::<String>()).map_err(|_| Mismatch)?;
            String::from_utf8(bytes).map(Scalar::String).map_err(|_| Mismatch)
        }
        _ => Ok(string()),
    }
}

fn untagged(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    };
    number.unwrap_or_else(|| Scalar::String(text.to_owned()))
}

/// Reads an integer as Go's `strconv.ParseInt` and `ParseUint` do with base 0.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // A second sign is no digit.
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(value).map(Scalar::Integer);
    }
    match i64::try_from(value) {
        Ok(value) => Some(Scalar::Integer(value)),
        // `ParseUint` takes no sign.
        Err(_) if text.starts_with('+') => None,
        Err(_) => Some(Scalar::Unsigned(value)),
    }
}

/// Reads `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`. A number beyond the range of a float is a string.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_fits =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    let value: f64 = if mantissa_fits && exponent_fits { text.parse().ok()? } else { return None };
    value.is_finite().then_some(Scalar::Float(value))
}

/// Returns the number that kubectl puts on the wire: `300.0` and `3e2` go out as `300`, and an integer beyond 64 bits
/// with sign as a float. `None` for the numbers that JSON has not (`.nan`, `.inf`).
pub(super) fn number(scalar: &Scalar) -> Option<Number> {
    match *scalar {
        Scalar::Integer(value) => Some(value.into()),
        #[expect(clippy::cast_precision_loss, reason = "as Go does, which knows no larger integer here")]
        Scalar::Unsigned(value) => Number::from_f64(value as f64),
        #[expect(clippy::cast_possible_truncation, reason = "only whole numbers within the range are cast")]
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() < i64::MAX as f64 => {
            Some((value as i64).into())
        }
        Scalar::Float(value) => Number::from_f64(value),
        _ => None,
    }
}

/// The same for a number of a JSON file.
pub(super) fn as_kubectl_sends(value: Number) -> Number {
    let scalar = match (value.as_i64(), value.as_u64(), value.as_f64()) {
        (Some(value), ..) => Scalar::Integer(value),
        (None, Some(value), _) => Scalar::Unsigned(value),
        (None, None, Some(value)) => Scalar::Float(value),
        (None, None, None) => return value,
    };
    number(&scalar).unwrap_or(value)
}

/// Returns the text of a key that is no string, as `sigs.k8s.io/yaml` writes it; `None` for null.
pub(super) fn key(scalar: Scalar) -> Option<String> {
    match scalar {
        Scalar::Null | Scalar::Unsigned(_) => None,
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Integer(value) => Some(value.to_string()),
        Scalar::Float(value) if value.is_nan() => Some(".nan".to_owned()),
        #[expect(clippy::cast_possible_truncation, reason = "keys are written with 32 bits there")]
        Scalar::Float(value) => Some(match value as f32 {
            f32::INFINITY => ".inf".to_owned(),
            f32::NEG_INFINITY => "-.inf".to_owned(),
            value => general(value),
        }),
        Scalar::String(value) => Some(value),
    }
}

/// Writes a float as Go's `strconv.FormatFloat(value, 'g', -1, 32)`.
fn general(value: f32) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}

/// Whether a plain scalar with this text would be read as something else than this string, here or by readers that
/// know dates and numbers to the base of 60.
pub(super) fn needs_quotes(text: &str) -> bool {
    let is_string = untagged(text) == Scalar::String(text.to_owned());
    let looks_like_a_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first))
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.:_eETZ ".contains(&byte));
    !is_string || looks_like_a_number || matches!(text, "<<" | "=")
}
