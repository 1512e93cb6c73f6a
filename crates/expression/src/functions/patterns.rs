//! Functions with regular expressions.

use super::super::meter::Meter;
use super::super::pattern::Pattern;
use super::super::value::{TextValue, Value, list_of};
use super::{Function, FunctionRefusal, with_pattern};

type Answer<'v> = Result<Value<'v>, FunctionRefusal>;

pub(super) const FUNCTIONS: &[Function] = &[
    with_pattern("matches", false, (2, 2), "matches(x, '^a.*b$')", matches),
    with_pattern("matches", true, (1, 1), "x.matches('^a.*b$')", matches),
    with_pattern("find", true, (1, 1), "x.find('[0-9]+')", find),
    with_pattern("findAll", true, (1, 2), "x.findAll('[0-9]+')", find_all),
];

fn text<'a>(args: &'a [Value<'_>]) -> Result<&'a str, FunctionRefusal> {
    match args {
        [Value::String(text), ..] => Ok(text),
        _ => Err(FunctionRefusal::Types),
    }
}

fn matches<'v>(args: &[Value<'v>], pattern: &Pattern, meter: &mut Meter) -> Answer<'v> {
    Ok(Value::Bool(pattern.is_match(text(args)?, meter)?))
}

fn find<'v>(args: &[Value<'v>], pattern: &Pattern, meter: &mut Meter) -> Answer<'v> {
    let found = pattern.find_iter(text(args)?, 1, meter)?;
    let found = found.first().copied().unwrap_or_default();
    meter.build(found.len())?;
    Ok(found.to_owned().into())
}

fn find_all<'v>(args: &[Value<'v>], pattern: &Pattern, meter: &mut Meter) -> Answer<'v> {
    let most = match args.get(2) {
        None => usize::MAX,
        // A negative limit means no limit.
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        Some(_) => return Err(FunctionRefusal::Types),
    };
    let found = pattern.find_iter(text(args)?, most, meter)?;
    meter.elements(found.len())?;
    let mut list = Vec::with_capacity(found.len());
    for part in found {
        meter.build(part.len())?;
        list.push(Value::String(TextValue::Shared(part.into())));
    }
    Ok(list_of(list))
}
