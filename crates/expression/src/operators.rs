//! The operators with two sides.

use std::cmp::Ordering;

use super::compare::{equal, order};
use super::fault::Fault;
use super::meter::Meter;
use super::value::{TextValue, Value, list_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl BinaryOperator {
    /// Returns the operator that has this name in the parser.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "_+_" => Self::Add,
            "_-_" => Self::Subtract,
            "_*_" => Self::Multiply,
            "_/_" => Self::Divide,
            "_%_" => Self::Remainder,
            "_==_" => Self::Equal,
            "_!=_" => Self::NotEqual,
            "_<_" => Self::Less,
            "_<=_" => Self::LessOrEqual,
            "_>_" => Self::Greater,
            "_>=_" => Self::GreaterOrEqual,
            "@in" => Self::In,
            _ => return None,
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
        }
    }

    pub(super) fn apply<'v>(self, a: Value<'v>, b: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault> {
        let is = |holds: fn(Ordering) -> bool, meter: &mut Meter| match order(&a, &b, meter)? {
            Some(order) => Ok(Value::Bool(order.is_some_and(holds))),
            None => Err(self.refuses(&a, &b)),
        };
        match self {
            Self::Equal => Ok(Value::Bool(equal(&a, &b, meter)?)),
            Self::NotEqual => Ok(Value::Bool(!equal(&a, &b, meter)?)),
            Self::Less => is(Ordering::is_lt, meter),
            Self::LessOrEqual => is(Ordering::is_le, meter),
            Self::Greater => is(Ordering::is_gt, meter),
            Self::GreaterOrEqual => is(Ordering::is_ge, meter),
            Self::In => Ok(Value::Bool(self.contains(&b, &a, meter)?)),
            Self::Add => self.add(a, b, meter),
            Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => self.compute(&a, &b),
        }
    }

    #[cold]
    fn refuses(self, a: &Value<'_>, b: &Value<'_>) -> Fault {
        Fault::types(self.symbol(), &[a.clone(), b.clone()])
    }

    fn contains(self, container: &Value<'_>, value: &Value<'_>, meter: &mut Meter) -> Result<bool, Fault> {
        match container {
            Value::List(list) => {
                for element in list.iter() {
                    if equal(element, value, meter)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => Ok(map.get(value).is_some()),
            _ => Err(self.refuses(value, container)),
        }
    }

    fn add<'v>(self, a: Value<'v>, b: Value<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault> {
        match (&a, &b) {
            (Value::String(left), Value::String(right)) => {
                meter.build(left.len() + right.len())?;
                let mut text = String::with_capacity(left.len() + right.len());
                text.push_str(left);
                text.push_str(right);
                Ok(Value::String(TextValue::Shared(text.into())))
            }
            (Value::Bytes(left), Value::Bytes(right)) => {
                meter.build(left.len() + right.len())?;
                Ok(Value::Bytes(left.iter().chain(right.iter()).copied().collect()))
            }
            (Value::List(left), Value::List(right)) => {
                meter.elements(left.len() + right.len())?;
                Ok(list_of(left.iter().chain(right.iter()).cloned().collect()))
            }
            _ => self.compute(&a, &b),
        }
    }

    fn compute<'v>(self, a: &Value<'_>, b: &Value<'_>) -> Result<Value<'v>, Fault> {
        let overflow =
            || Fault::value(format!("the result of `{}` is too large for the type", self.symbol()));
        match (a, b) {
            (Value::Int(a), Value::Int(b)) => {
                self.refuse_zero(*b == 0)?;
                let result = match self {
                    Self::Add => a.checked_add(*b),
                    Self::Subtract => a.checked_sub(*b),
                    Self::Multiply => a.checked_mul(*b),
                    Self::Divide => a.checked_div(*b),
                    _ => a.checked_rem(*b),
                };
                result.map(Value::Int).ok_or_else(overflow)
            }
            (Value::Uint(a), Value::Uint(b)) => {
                self.refuse_zero(*b == 0)?;
                let result = match self {
                    Self::Add => a.checked_add(*b),
                    Self::Subtract => a.checked_sub(*b),
                    Self::Multiply => a.checked_mul(*b),
                    Self::Divide => a.checked_div(*b),
                    _ => a.checked_rem(*b),
                };
                result.map(Value::Uint).ok_or_else(overflow)
            }
            (Value::Double(a), Value::Double(b)) if self != Self::Remainder => {
                Ok(Value::Double(match self {
                    Self::Add => a + b,
                    Self::Subtract => a - b,
                    Self::Multiply => a * b,
                    _ => a / b,
                }))
            }
            _ => Err(self.refuses(a, b)),
        }
    }

    fn refuse_zero(self, is_zero: bool) -> Result<(), Fault> {
        if is_zero && matches!(self, Self::Divide | Self::Remainder) {
            return Err(Fault::value(format!("`{}` by zero", self.symbol())));
        }
        Ok(())
    }
}
