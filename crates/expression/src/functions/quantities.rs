//! Functions on quantities of Kubernetes.

use std::sync::Arc;

use super::super::quantity::Quantity;
use super::super::value::Value;
use super::{Function, FunctionRefusal, global, member};

type Answer<'v> = Result<Value<'v>, FunctionRefusal>;

pub(super) const FUNCTIONS: &[Function] = &[
    global("quantity", (1, 1), "quantity('100m')", |args, meter| {
        let [Value::String(text)] = args else { return Err(FunctionRefusal::Types) };
        meter.read(text.len())?;
        Quantity::parse(text).map(of).ok_or_else(|| {
            FunctionRefusal::Value(format!(
                "expected a quantity such as `100m` or `1Gi`, found `{}`",
                &**text
            ))
        })
    }),
    global("isQuantity", (1, 1), "isQuantity('100m')", |args, meter| {
        let [Value::String(text)] = args else { return Err(FunctionRefusal::Types) };
        meter.read(text.len())?;
        Ok(Value::Bool(Quantity::parse(text).is_some()))
    }),
    member("add", (1, 1), "quantity('1').add(quantity('500m'))", |args, _| compute(args, Quantity::add)),
    member("asApproximateFloat", (0, 0), "quantity('1').asApproximateFloat()", |args, _| {
        Ok(Value::Double(one(args)?.as_float()))
    }),
    member("asInteger", (0, 0), "quantity('1').asInteger()", |args, _| {
        let integer = one(args)?.as_integer();
        integer
            .map(Value::Int)
            .ok_or_else(|| FunctionRefusal::Value("the quantity is not a 64-bit integer".to_owned()))
    }),
    member("compareTo", (1, 1), "quantity('1').compareTo(quantity('2'))", |args, _| {
        let (a, b) = two(args)?;
        Ok(Value::Int(a.cmp(b) as i64))
    }),
    member("isGreaterThan", (1, 1), "quantity('2').isGreaterThan(quantity('1'))", |args, _| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(a > b))
    }),
    member("isInteger", (0, 0), "quantity('1').isInteger()", |args, _| {
        Ok(Value::Bool(one(args)?.as_integer().is_some()))
    }),
    member("isLessThan", (1, 1), "quantity('1').isLessThan(quantity('2'))", |args, _| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(a < b))
    }),
    member("sign", (0, 0), "quantity('1').sign()", |args, _| Ok(Value::Int(one(args)?.sign()))),
    member("sub", (1, 1), "quantity('1').sub(quantity('500m'))", |args, _| compute(args, Quantity::sub)),
];

fn of<'v>(quantity: Quantity) -> Value<'v> {
    Value::Quantity(Arc::new(quantity))
}

fn one<'a>(args: &'a [Value<'_>]) -> Result<&'a Quantity, FunctionRefusal> {
    match args {
        [Value::Quantity(quantity)] => Ok(quantity),
        _ => Err(FunctionRefusal::Types),
    }
}

fn two<'a>(args: &'a [Value<'_>]) -> Result<(&'a Quantity, &'a Quantity), FunctionRefusal> {
    match args {
        [Value::Quantity(a), Value::Quantity(b)] => Ok((a, b)),
        _ => Err(FunctionRefusal::Types),
    }
}

/// Computes with a quantity and a second operand, which is a quantity or an integer.
fn compute<'v>(args: &[Value<'v>], f: fn(Quantity, Quantity) -> Option<Quantity>) -> Answer<'v> {
    let result = match args {
        [Value::Quantity(a), Value::Quantity(b)] => f(**a, **b),
        [Value::Quantity(a), Value::Int(b)] => f(**a, Quantity::from_integer(*b)),
        _ => return Err(FunctionRefusal::Types),
    };
    result.map(of).ok_or_else(|| FunctionRefusal::Value("the result is too large for a quantity".to_owned()))
}
