//! What a scalar means: the words of YAML 1.1, as `go.yaml.in/yaml/v2` (`resolve.go`) reads them for kubectl.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
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
pub(super) struct TagMismatch;

const TAG: &str = "tag:yaml.org,2002:";

/// Base64 as Go reads it, which ignores the bits behind the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Returns the meaning of a scalar. `plain` is false for a scalar in quotes or in a block (`|`, `>`).
///
/// # Errors
///
/// A scalar that its tag does not fit. Tags that are not YAML's own make a string, as in Go.
pub(super) fn resolve(tag: Option<&str>, text: &str, plain: bool) -> Result<Scalar, TagMismatch> {
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
        (Some("timestamp"), _) if is_timestamp(text) => Ok(string()),
        (Some("null" | "bool" | "int" | "float" | "timestamp"), _) => Err(TagMismatch),
        (Some("binary"), _) => {
            // Go ignores line breaks, and no other blanks.
            let bytes = BASE64.decode(text.replace(['\r', '\n'], "")).map_err(|_| TagMismatch)?;
            String::from_utf8(bytes).map(Scalar::String).map_err(|_| TagMismatch)
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
        Some(b'.') if separates_digits(text) => float(&text.replace('_', "")),
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

/// Whether each `_` has a digit on both sides, as Go's `strconv.ParseFloat` wants it.
fn separates_digits(text: &str) -> bool {
    let is_digit = |at: Option<usize>| {
        at.and_then(|at| text.as_bytes().get(at)).is_some_and(|byte| byte.is_ascii_digit())
    };
    text.match_indices('_').all(|(at, _)| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)))
}

/// Whether Go reads the text as a timestamp: a date, or date and time with a zone after `T` and without one after a
/// blank.
fn is_timestamp(text: &str) -> bool {
    let number = |text: &str, most: usize| {
        let is_right = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_right.then(|| text.parse::<u32>().ok()).flatten()
    };
    let within = |text: &str, range: std::ops::RangeInclusive<u32>| {
        number(text, 2).is_some_and(|number| range.contains(&number))
    };
    let is_date = |text: &str| {
        let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return false };
        let Some(year) = number(year, 4).filter(|_| year.len() == 4) else { return false };
        let Some(month) = number(month, 2) else { return false };
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            _ => return false,
        };
        within(day, 1..=days)
    };
    let is_time = |text: &str| {
        let [hour, minute, seconds] = text.split(':').collect::<Vec<_>>()[..] else { return false };
        let (second, has_fraction) = match seconds.split_once(['.', ',']) {
            Some((second, fraction)) => {
                (second, !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()))
            }
            None => (seconds, true),
        };
        within(hour, 0..=23) && within(minute, 0..=59) && within(second, 0..=59) && has_fraction
    };
    let is_zone = |text: &str| {
        text.split_once(':').is_some_and(|(hours, minutes)| {
            hours.len() == 2 && minutes.len() == 2 && within(hours, 0..=24) && within(minutes, 0..=60)
        })
    };
    if let Some((date, time)) = text.split_once(' ') {
        return is_date(date) && is_time(time.trim_start_matches(' '));
    }
    let Some((date, rest)) = text.split_once(['T', 't']) else { return is_date(text) };
    let (time, has_zone) = match (rest.strip_suffix('Z'), rest.rfind(['+', '-'])) {
        (Some(time), _) => (time, true),
        (None, Some(at)) => (&rest[..at], is_zone(&rest[at + 1..])),
        (None, None) => return false,
    };
    is_date(date) && is_time(time) && has_zone
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
        Scalar::Float(value) if value.is_finite() => {
            // Go writes the shortest digits that mean this float, and reads them again as an integer.
            let whole = if value == 0.0 { Some(0) } else { float_text(value).parse::<i64>().ok() };
            whole.map(Number::from).or_else(|| Number::from_f64(value))
        }
        _ => None,
    }
}

/// Writes a number as Go's `encoding/json` does: the shortest digits, with an exponent from 1e21 and below 1e-6.
pub(super) fn number_text(value: &Number) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() => float_text(float),
        _ => value.to_string(),
    }
}

/// Writes a float as [`number_text`] does. The digits are `serde_json`'s. Of two texts that are equally short and close,
/// it takes the even one, as Go does; Rust's own formatting does not.
pub(super) fn float_text(value: f64) -> String {
    let text = Number::from_f64(value).map(|number| number.to_string()).unwrap_or_default();
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text.as_str()), |unsigned| ("-", unsigned));
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    // The number is `0.DIGITS` times ten to the power of `point`.
    let point = exponent.parse::<i32>().unwrap_or(0) + length(whole) - (length(&all) - length(digits));
    let digits = digits.trim_end_matches('0');
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let unsigned = match (digits.chars().next(), point - 1) {
        (None, _) => "0".to_owned(),
        (Some(first), exponent) if !(-6..21).contains(&exponent) => {
            let more = &digits[1..];
            let dot = if more.is_empty() { "" } else { "." };
            format!("{first}{dot}{more}e{exponent:+}")
        }
        _ if point <= 0 => format!("0.{}{digits}", zeros(-point)),
        _ => match usize::try_from(point).ok().and_then(|point| digits.split_at_checked(point)) {
            None | Some((_, "")) => format!("{digits}{}", zeros(point - length(digits))),
            Some((whole, fraction)) => format!("{whole}.{fraction}"),
        },
    };
    format!("{sign}{unsigned}")
}

fn length(digits: &str) -> i32 {
    i32::try_from(digits.len()).unwrap_or(i32::MAX)
}

/// Returns a number of a JSON file as kubectl sends it.
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
