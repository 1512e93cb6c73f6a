//! Strings, as in `ext.Strings` of cel-go. Indexes count code points.

use super::super::format::format;
use super::super::meter::Meter;
use super::super::value::{TextValue, Value, list_of};
use super::lists::{index_of_element, last_index_of_element};
use super::{Function, FunctionRefusal, global, member};

type Answer<'v> = Result<Value<'v>, FunctionRefusal>;

pub(super) const FUNCTIONS: &[Function] = &[
    global("size", (1, 1), "size(x)", size),
    global("strings.quote", (1, 1), "strings.quote(x)", quote),
    member("charAt", (1, 1), "x.charAt(0)", char_at),
    member("contains", (1, 1), "x.contains('part')", |args, meter| {
        texts(args, meter, |text, part| text.contains(part))
    }),
    member("endsWith", (1, 1), "x.endsWith('end')", |args, meter| {
        texts(args, meter, |text, end| text.ends_with(end))
    }),
    member("format", (1, 1), "'%s is %d'.format([x, y])", |args, meter| match args {
        [Value::String(text), Value::List(values)] => Ok(format(text, values, meter)?.into()),
        _ => Err(FunctionRefusal::Types),
    }),
    member("indexOf", (1, 2), "x.indexOf('part')", index_of),
    member("join", (0, 1), "x.join(', ')", join),
    member("lastIndexOf", (1, 2), "x.lastIndexOf('part')", last_index_of),
    member("lowerAscii", (0, 0), "x.lowerAscii()", |args, meter| {
        map(args, meter, |text| text.to_ascii_lowercase())
    }),
    member("replace", (2, 3), "x.replace('old', 'new')", replace),
    member("reverse", (0, 0), "x.reverse()", |args, meter| {
        map(args, meter, |text| text.chars().rev().collect())
    }),
    member("size", (0, 0), "x.size()", size),
    member("split", (1, 2), "x.split(',')", split),
    member("startsWith", (1, 1), "x.startsWith('start')", |args, meter| {
        texts(args, meter, |text, start| text.starts_with(start))
    }),
    member("substring", (1, 2), "x.substring(0, 4)", substring),
    member("trim", (0, 0), "x.trim()", |args, meter| map(args, meter, |text| text.trim().to_owned())),
    member("upperAscii", (0, 0), "x.upperAscii()", |args, meter| {
        map(args, meter, |text| text.to_ascii_uppercase())
    }),
];

fn texts<'v>(args: &[Value<'v>], meter: &mut Meter, holds: fn(&str, &str) -> bool) -> Answer<'v> {
    let [Value::String(text), Value::String(part)] = args else { return Err(FunctionRefusal::Types) };
    meter.read(text.len() + part.len())?;
    Ok(Value::Bool(holds(text, part)))
}

fn map<'v>(args: &[Value<'v>], meter: &mut Meter, f: fn(&str) -> String) -> Answer<'v> {
    let [Value::String(text)] = args else { return Err(FunctionRefusal::Types) };
    meter.build(text.len())?;
    Ok(f(text).into())
}

fn size<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let size = match args {
        [Value::String(text)] => {
            meter.read(text.len())?;
            text.chars().count()
        }
        [Value::Bytes(bytes)] => bytes.len(),
        [Value::List(list)] => list.len(),
        [Value::Map(map)] => map.entries().len(),
        _ => return Err(FunctionRefusal::Types),
    };
    Ok(int(size))
}

fn int<'v>(n: usize) -> Value<'v> {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn out_of_range(index: i64) -> FunctionRefusal {
    FunctionRefusal::Value(format!("the index {index} is out of range"))
}

/// Returns the byte at which the character with this index begins, or the end of the text.
fn byte_of(text: &str, index: i64) -> Result<usize, FunctionRefusal> {
    let n = usize::try_from(index).map_err(|_| out_of_range(index))?;
    let mut starts = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    starts.nth(n).ok_or_else(|| out_of_range(index))
}

fn char_at<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let [Value::String(text), Value::Int(index)] = args else { return Err(FunctionRefusal::Types) };
    meter.read(text.len())?;
    let rest = &text[byte_of(text, *index)?..];
    Ok(rest.chars().next().map_or_else(String::new, String::from).into())
}

fn index_of<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (text, part, from) = match args {
        [Value::List(list), element] => return Ok(index_of_element(list, element, meter)?),
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(from)] => (text, part, *from),
        _ => return Err(FunctionRefusal::Types),
    };
    meter.read(text.len() + part.len())?;
    let length = text.chars().count();
    let start = match usize::try_from(from) {
        Ok(start) if part.is_empty() => return Ok(int(start.min(length))),
        Ok(start) if start < length => start,
        Ok(_) => return Ok(Value::Int(-1)),
        Err(_) => return Err(out_of_range(from)),
    };
    let skipped = byte_of(text, from)?;
    let found = text[skipped..].find(&**part);
    Ok(found.map_or(Value::Int(-1), |at| int(start + text[skipped..skipped + at].chars().count())))
}

fn last_index_of<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (text, part, last) = match args {
        [Value::List(list), element] => return Ok(last_index_of_element(list, element, meter)?),
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(last)] => (text, part, Some(*last)),
        _ => return Err(FunctionRefusal::Types),
    };
    meter.read(text.len() + part.len())?;
    let length = text.chars().count();
    // The match begins at this byte or before it.
    let last = match last {
        None => text.len(),
        Some(last) => match usize::try_from(last) {
            Ok(start) if part.is_empty() => return Ok(int(start.min(length))),
            Ok(start) if start < length => byte_of(text, last)?,
            Ok(_) => return Ok(Value::Int(-1)),
            Err(_) => return Err(out_of_range(last)),
        },
    };
    let end = (last + part.len()).min(text.len());
    // No match ends within a character.
    let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let found = text[..end].rfind(&**part).filter(|at| *at <= last);
    Ok(found.map_or(Value::Int(-1), |at| int(text[..at].chars().count())))
}

fn join<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return Err(FunctionRefusal::Types),
    };
    let mut text = String::new();
    for (n, element) in list.iter().enumerate() {
        let Value::String(element) = element else {
            let found = element.type_name();
            return Err(FunctionRefusal::Value(format!("expected a list of strings, found `{found}` in it")));
        };
        let separator = if n == 0 { "" } else { separator };
        meter.step(1)?;
        meter.build(separator.len() + element.len())?;
        text.push_str(separator);
        text.push_str(element);
    }
    Ok(text.into())
}

fn replace<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (text, from, to, most) = match args {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, usize::MAX),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(most)] => {
            // A negative number means no limit.
            (text, from, to, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(FunctionRefusal::Types),
    };
    meter.read(text.len() + from.len())?;
    let places = text.matches(&**from).take(most).count();
    meter.step(places)?;
    meter.build(text.len().saturating_add(places.saturating_mul(to.len())))?;
    Ok(text.replacen(&**from, to, most).into())
}

fn split<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (text, separator, most) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, usize::MAX),
        [Value::String(text), Value::String(separator), Value::Int(most)] => {
            (text, separator, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return Err(FunctionRefusal::Types),
    };
    meter.build(text.len())?;
    let mut parts = Vec::new();
    let mut push = |part: &str, meter: &mut Meter| {
        meter.elements(1)?;
        meter.step(1)?;
        parts.push(Value::String(TextValue::Shared(part.into())));
        Ok::<_, FunctionRefusal>(())
    };
    match (most, separator.is_empty()) {
        (0, _) => {}
        // An empty separator splits the text into characters.
        (most, true) => {
            let mut rest = &**text;
            for n in 1.. {
                let Some(next) = rest.chars().next() else { break };
                let (head, tail) = if n == most { (rest, "") } else { rest.split_at(next.len_utf8()) };
                push(head, meter)?;
                rest = tail;
            }
        }
        (most, false) => {
            for part in text.splitn(most, &**separator) {
                push(part, meter)?;
            }
        }
    }
    Ok(list_of(parts))
}

fn substring<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(FunctionRefusal::Types),
    };
    meter.build(text.len())?;
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(FunctionRefusal::Value(format!("the start {start} is behind the end {end}")));
    }
    let first = byte_of(text, start)?;
    let last = end.map_or(Ok(text.len()), |end| byte_of(text, end))?;
    Ok(match text {
        TextValue::Borrowed(text) => Value::String(TextValue::Borrowed(&text[first..last])),
        TextValue::Shared(text) => text[first..last].to_owned().into(),
    })
}

/// Writes the text as a string literal of CEL.
fn quote<'v>(args: &[Value<'v>], meter: &mut Meter) -> Answer<'v> {
    let [Value::String(text)] = args else { return Err(FunctionRefusal::Types) };
    meter.build(2 * text.len() + 2)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted.into())
}
