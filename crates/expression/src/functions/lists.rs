//! Lists and sets.

use std::cmp::Ordering;

use super::super::compare::{equal, order};
use super::super::fault::Fault;
use super::super::meter::Meter;
use super::super::operators::BinaryOperator;
use super::super::value::Value;
use super::{Function, FunctionRefusal, global, member};

type Answer<'v> = Result<Value<'v>, FunctionRefusal>;

pub(super) const FUNCTIONS: &[Function] = &[
    global("sets.contains", (2, 2), "sets.contains(list, part)", |args, meter| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(has_all(a, b, meter)?))
    }),
    global("sets.equivalent", (2, 2), "sets.equivalent(a, b)", |args, meter| {
        let (a, b) = two(args)?;
        Ok(Value::Bool(has_all(a, b, meter)? && has_all(b, a, meter)?))
    }),
    global("sets.intersects", (2, 2), "sets.intersects(a, b)", |args, meter| {
        let (a, b) = two(args)?;
        for element in b {
            if place(a.iter(), element, meter)?.is_some() {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    member("isSorted", (0, 0), "x.isSorted()", is_sorted),
    member("max", (0, 0), "x.max()", |args, meter| extreme(Ordering::Greater, args, meter)),
    member("min", (0, 0), "x.min()", |args, meter| extreme(Ordering::Less, args, meter)),
    member("sum", (0, 0), "x.sum()", sum),
];

fn two<'a, 'v>(args: &'a [Value<'v>]) -> Result<(&'a [Value<'v>], &'a [Value<'v>]), FunctionRefusal> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(FunctionRefusal::Types),
    }
}

fn one<'a, 'v>(args: &'a [Value<'v>]) -> Result<&'a [Value<'v>], FunctionRefusal> {
    match args {
        [Value::List(list)] => Ok(list),
        _ => Err(FunctionRefusal::Types),
    }
}

/// Returns the position of the first element that equals the value.
fn place<'a, 'v: 'a>(
    elements: impl Iterator<Item = &'a Value<'v>>,
    value: &Value<'_>,
    meter: &mut Meter,
) -> Result<Option<usize>, Fault> {
    for (n, element) in elements.enumerate() {
        if equal(element, value, meter)? {
            return Ok(Some(n));
        }
    }
    Ok(None)
}

fn has_all(list: &[Value<'_>], values: &[Value<'_>], meter: &mut Meter) -> Result<bool, Fault> {
    for value in values {
        if place(list.iter(), value, meter)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn index(place: Option<usize>) -> Value<'static> {
    Value::Int(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1))
}

pub(super) fn index_of_element<'v>(
    list: &[Value<'_>],
    element: &Value<'_>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault> {
    place(list.iter(), element, meter).map(index)
}

pub(super) fn last_index_of_element<'v>(
    list: &[Value<'_>],
    element: &Value<'_>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault> {
    let from_end = place(list.iter().rev(), element, meter)?;
    Ok(index(from_end.map(|place| list.len() - 1 - place)))
}

/// Compares two elements; `None` if one of them is NaN.
fn compare(a: &Value<'_>, b: &Value<'_>, meter: &mut Meter) -> Result<Option<Ordering>, FunctionRefusal> {
    meter.step(1)?;
    order(a, b, meter)?.ok_or_else(|| {
        FunctionRefusal::Value(format!("`{}` and `{}` have no order", a.type_name(), b.type_name()))
    })
}

fn is_sorted<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    for pair in one(args)?.windows(2) {
        if compare(&pair[0], &pair[1], meter)? == Some(Ordering::Greater) {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let Some((first, rest)) = one(args)?.split_first() else { return Ok(Value::Int(0)) };
    let mut sum = first.clone();
    for element in rest {
        meter.step(1)?;
        let is_number =
            |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
        if !is_number(&sum) || sum.type_name() != element.type_name() {
            let (a, b) = (sum.type_name(), element.type_name());
            return Err(FunctionRefusal::Value(format!("`{a}` and `{b}` have no sum")));
        }
        sum = BinaryOperator::Add.apply(sum, element.clone(), meter)?;
    }
    Ok(sum)
}

fn extreme<'v>(wanted: Ordering, args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let Some((mut best, rest)) = one(args)?.split_first() else {
        return Err(FunctionRefusal::Value("the list is empty".to_owned()));
    };
    for element in rest {
        if compare(element, best, meter)? == Some(wanted) {
            best = element;
        }
    }
    Ok(best.clone())
}
