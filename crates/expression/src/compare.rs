//! Equality and order of values.

use std::cmp::Ordering;

use super::fault::Fault;
use super::meter::Meter;
use super::value::Value;

/// Returns whether two values are equal. Numbers of different types are compared by value; other types are not equal.
pub(super) fn equal(a: &Value<'_>, b: &Value<'_>, meter: &mut Meter) -> Result<bool, Fault> {
    meter.step(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            meter.read(a.len().min(b.len()))?;
            **a == **b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.read(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.entries().len() != b.entries().len() {
                return Ok(false);
            }
            // Both are in the order of their keys.
            for ((a_key, a_value), (b_key, b_value)) in a.entries().iter().zip(b.entries()) {
                if !equal(a_key, b_key, meter)? || !equal(a_value, b_value, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b, meter)?,
            (None, None) => true,
            _ => false,
        },
        (Value::Quantity(a), Value::Quantity(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        _ => numbers(a, b) == Some(Some(Ordering::Equal)),
    })
}

/// Returns the order of two values: `None` if their types have no order, `Some(None)` if one is NaN.
pub(super) fn order(
    a: &Value<'_>,
    b: &Value<'_>,
    meter: &mut Meter,
) -> Result<Option<Option<Ordering>>, Fault> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(Some(a.cmp(b))),
        (Value::String(a), Value::String(b)) => {
            meter.read(a.len().min(b.len()))?;
            Some(Some((**a).cmp(&**b)))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.read(a.len().min(b.len()))?;
            Some(Some(a.cmp(b)))
        }
        (Value::Quantity(a), Value::Quantity(b)) => Some(Some(a.cmp(b))),
        _ => numbers(a, b),
    })
}

/// Returns the order of two numbers: `None` if one is not a number, `Some(None)` if one is NaN.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    enum Number {
        Whole(i128),
        Double(f64),
    }
    let number = |value: &Value<'_>| match value {
        Value::Int(int) => Some(Number::Whole((*int).into())),
        Value::Uint(uint) => Some(Number::Whole((*uint).into())),
        Value::Double(double) => Some(Number::Double(*double)),
        _ => None,
    };
    Some(match (number(a)?, number(b)?) {
        (Number::Whole(a), Number::Whole(b)) => Some(a.cmp(&b)),
        (Number::Double(a), Number::Double(b)) => a.partial_cmp(&b),
        (Number::Whole(a), Number::Double(b)) => whole_with_double(a, b),
        (Number::Double(a), Number::Whole(b)) => whole_with_double(b, a).map(Ordering::reverse),
    })
}

/// Compares exactly, because a double of 64 bits cannot represent each integer of 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "doubles outside the range of 128 bits saturate, as they should"
)]
fn whole_with_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    let truncated = double.trunc();
    let of_whole = whole.cmp(&(truncated as i128));
    Some(of_whole.then_with(|| truncated.partial_cmp(&double).unwrap_or(Ordering::Equal)))
}
