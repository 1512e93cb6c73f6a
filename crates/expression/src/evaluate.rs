//! Evaluates the tree of an expression.

use std::sync::Arc;

use super::fault::Fault;
use super::functions::{FunctionRefusal, PATTERN, Run};
use super::meter::Meter;
use super::node::{Call, Element, Entry, ExprNode, Field, Loop, MacroKind};
use super::pattern::Pattern;
use super::value::{Map, TextValue, Value, is_key, list_of};

/// The values of the variables.
#[derive(Debug, Default)]
pub struct Variables<'v> {
    roots: Vec<(&'static str, Value<'v>)>,
    /// The values of `variables.NAME`, or the faults of those without a value.
    variables: Vec<(String, Result<Value<'v>, Fault>)>,
}

impl<'v> Variables<'v> {
    /// Sets a variable such as `object`.
    pub fn set(&mut self, name: &'static str, value: Value<'v>) {
        self.roots.push((name, value));
    }

    /// Returns whether a variable such as `object` has a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.roots.iter().any(|(known, _)| *known == name)
    }

    /// Sets `variables.NAME`. A fault counts only if the result of an expression depends on the variable.
    pub fn set_variable(&mut self, name: &str, value: Result<Value<'v>, Fault>) {
        self.variables.push((name.to_owned(), value));
    }

    /// Returns whether `variables.NAME` is set.
    #[must_use]
    pub fn has_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    fn root(&self, name: &str) -> Result<&Value<'v>, Fault> {
        let found = self.roots.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or_else(|| Fault::value(format!("`{name}` is unknown here")))
    }

    fn variable(&self, name: &str) -> Result<&Value<'v>, Fault> {
        match self.variables.iter().find(|(known, _)| known == name) {
            Some((_, Ok(value))) => Ok(value),
            Some((_, Err(fault))) => Err(fault.clone()),
            None => Err(Fault::value(format!("`variables.{name}` is unknown here"))),
        }
    }
}

pub(super) fn evaluate<'v>(
    node: &ExprNode,
    variables: &Variables<'v>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault> {
    Evaluation { variables, meter, locals: Vec::new(), patterns: Vec::new() }.value(node)
}

struct Evaluation<'e, 'v> {
    variables: &'e Variables<'v>,
    meter: &'e mut Meter,
    /// The variables of the macros around the node.
    locals: Vec<Value<'v>>,
    /// The most recent regular expressions that are not literals.
    patterns: Vec<(TextValue<'v>, Pattern)>,
}

/// Maximum number of computed regular expressions that an evaluation keeps.
const MAX_PATTERNS: usize = 8;

/// Steps that an absorbed fault costs, because the evaluation has composed its message.
const ABSORBED: usize = 16;

type Evaluated<'v> = Result<Value<'v>, Fault>;

impl<'v> Evaluation<'_, 'v> {
    fn value(&mut self, node: &ExprNode) -> Evaluated<'v> {
        self.meter.step(1)?;
        match node {
            ExprNode::Literal(value) => Ok(value.clone()),
            ExprNode::Root(name) => self.variables.root(name).cloned(),
            ExprNode::Variable(name) => self.variables.variable(name).cloned(),
            ExprNode::Local(place) => self.local(*place),
            ExprNode::Select { operand, fields } => {
                let operand = self.value(operand)?;
                select(&operand, fields)
            }
            ExprNode::OptionalSelect { operand, field } => {
                let operand = self.value(operand)?;
                Ok(optional_select(&operand, field))
            }
            ExprNode::Has { operand, field } => {
                let operand = self.value(operand)?;
                has(&operand, field)
            }
            ExprNode::Index { operand, key, is_optional } => {
                let operand = self.value(operand)?;
                let key = self.value(key)?;
                index(&operand, &key, *is_optional)
            }
            ExprNode::Not(operand) => {
                let operand = self.value(operand)?;
                Ok(Value::Bool(!truth(&operand)?))
            }
            ExprNode::Negate(operand) => {
                let operand = self.value(operand)?;
                negate(&operand)
            }
            ExprNode::Logical { or, left, right } => self.logical(*or, left, right),
            ExprNode::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.is_true(condition)? { yes } else { no };
                self.value(chosen)
            }
            ExprNode::Operation { operator, sides } => {
                let [left, right] = &**sides;
                let left = self.value(left)?;
                let right = self.value(right)?;
                operator.apply(left, right, self.meter)
            }
            ExprNode::List(elements) => self.list(elements),
            ExprNode::Map(entries) => self.map(entries),
            ExprNode::Call(call) => self.call(call),
            ExprNode::Otherwise { target, other, is_value } => self.otherwise(target, other, *is_value),
            ExprNode::Loop(all) => self.repeat(all),
            ExprNode::OptionalMap { target, body, is_flat } => self.optional_map(target, body, *is_flat),
            ExprNode::Bind { value, body } => {
                let value = self.value(value)?;
                self.with_local(value, body)
            }
        }
    }

    #[inline(never)]
    fn local(&self, place: usize) -> Evaluated<'v> {
        // The compiler gave each variable its position.
        self.locals.get(place).cloned().ok_or_else(|| Fault::value("a variable of a macro is missing"))
    }

    fn with_local(&mut self, value: Value<'v>, body: &ExprNode) -> Evaluated<'v> {
        let outside = self.locals.len();
        self.locals.push(value);
        let result = self.value(body);
        self.locals.truncate(outside);
        result
    }

    fn is_true(&mut self, node: &ExprNode) -> Result<bool, Fault> {
        let value = self.value(node)?;
        truth(&value)
    }

    /// Returns the fault, to be reported if nothing else decides. Fails if the budget is used up.
    #[cold]
    fn absorb(&mut self, fault: Fault) -> Result<Fault, Fault> {
        if fault.is_exhausted() {
            return Err(fault);
        }
        self.meter.step(ABSORBED)?;
        Ok(fault)
    }

    /// Evaluates `&&` and `||`: one side alone can decide, even if the other side fails.
    #[inline(never)]
    fn logical(&mut self, or: bool, left: &ExprNode, right: &ExprNode) -> Evaluated<'v> {
        let fault = match self.is_true(left) {
            Ok(left) if left == or => return Ok(Value::Bool(or)),
            Ok(_) => None,
            Err(fault) => Some(self.absorb(fault)?),
        };
        match (self.is_true(right), fault) {
            (Ok(right), _) if right == or => Ok(Value::Bool(or)),
            (Err(right), Some(left)) if !right.is_exhausted() => Err(left),
            (Ok(_), Some(fault)) | (Err(fault), _) => Err(fault),
            (Ok(right), None) => Ok(Value::Bool(right)),
        }
    }

    #[inline(never)]
    fn list(&mut self, elements: &[Element]) -> Evaluated<'v> {
        self.meter.elements(elements.len())?;
        let mut list = Vec::with_capacity(elements.len());
        for Element { value, is_optional } in elements {
            let value = self.value(value)?;
            list.extend(if *is_optional { present(value) } else { Some(value) });
        }
        Ok(list_of(list))
    }

    #[inline(never)]
    fn map(&mut self, entries: &[Entry]) -> Evaluated<'v> {
        let mut members = Vec::with_capacity(entries.len());
        for Entry { key, value, is_optional } in entries {
            let key = self.value(key)?;
            let value = self.value(value)?;
            let value = if *is_optional { present(value) } else { Some(value) };
            members.extend(value.map(|value| (key, value)));
        }
        self.map_of(members)
    }

    fn map_of(&mut self, members: Vec<(Value<'v>, Value<'v>)>) -> Evaluated<'v> {
        self.meter.elements(2 * members.len())?;
        if let Some((key, _)) = members.iter().find(|(key, _)| !is_key(key)) {
            let found = key.type_name();
            return Err(Fault::value(format!(
                "expected a string, number or boolean as a key, found `{found}`"
            )));
        }
        match Map::new(members) {
            (map, false) => Ok(Value::Map(Arc::new(map))),
            (_, true) => Err(Fault::value("the map has the same key twice")),
        }
    }

    #[inline(never)]
    fn call(&mut self, call: &Call) -> Evaluated<'v> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.value(arg)?);
        }
        let result = match call.function.run {
            Run::Values(run) => run(&args, self.meter),
            Run::Pattern(run) => {
                let pattern = self.pattern(call, &args);
                pattern.and_then(|pattern| run(&args, &pattern, self.meter))
            }
        };
        result.map_err(|refusal| call.function.fault(refusal, &args))
    }

    fn pattern(&mut self, call: &Call, args: &[Value<'v>]) -> Result<Pattern, FunctionRefusal> {
        let Some(Value::String(text)) = args.get(PATTERN) else { return Err(FunctionRefusal::Types) };
        if let Some(pattern) = call.pattern.get() {
            return Ok(pattern.clone());
        }
        if let Some((_, pattern)) = self.patterns.iter().find(|(known, _)| **known == **text) {
            return Ok(pattern.clone());
        }
        let compile = |text: &str| {
            Pattern::compile(text).map_err(|problem| {
                FunctionRefusal::Value(format!("`{text}` is not a regular expression: {problem}"))
            })
        };
        self.meter.read(text.len())?;
        let pattern = compile(text)?;
        // A literal costs the same in each evaluation, whether it is compiled already or not.
        if let Some(ExprNode::Literal(_)) = call.args.get(PATTERN) {
            return Ok(call.pattern.get_or_init(|| pattern).clone());
        }
        pattern.charge_compilation(self.meter)?;
        if self.patterns.len() == MAX_PATTERNS {
            self.patterns.remove(0);
        }
        self.patterns.push((text.clone(), pattern.clone()));
        Ok(pattern)
    }

    #[inline(never)]
    fn otherwise(&mut self, target: &ExprNode, other: &ExprNode, is_value: bool) -> Evaluated<'v> {
        let name = if is_value { "orValue" } else { "or" };
        match self.value(target)? {
            Value::Optional(Some(value)) if is_value => Ok((*value).clone()),
            found @ Value::Optional(Some(_)) => Ok(found),
            Value::Optional(None) => match self.value(other)? {
                other if is_value => Ok(other),
                other @ Value::Optional(_) => Ok(other),
                other => Err(Fault::types(name, &[Value::Optional(None), other])),
            },
            found => Err(Fault::types(name, &[found])),
        }
    }

    #[inline(never)]
    fn optional_map(&mut self, target: &ExprNode, body: &ExprNode, is_flat: bool) -> Evaluated<'v> {
        let name = if is_flat { "optFlatMap" } else { "optMap" };
        let value = match self.value(target)? {
            Value::Optional(Some(value)) => (*value).clone(),
            none @ Value::Optional(None) => return Ok(none),
            found => return Err(Fault::types(name, &[found])),
        };
        match self.with_local(value, body)? {
            result if !is_flat => Ok(Value::some(result)),
            result @ Value::Optional(_) => Ok(result),
            found => Err(Fault::types(name, &[Value::Optional(None), found])),
        }
    }

    #[inline(never)]
    fn repeat(&mut self, all: &Loop) -> Evaluated<'v> {
        let range = self.value(&all.range)?;
        let outside = self.locals.len();
        let result = self.each(all, &range);
        self.locals.truncate(outside);
        result
    }

    fn each(&mut self, all: &Loop, range: &Value<'v>) -> Evaluated<'v> {
        let outside = self.locals.len();
        let mut result = Gathered::default();
        for n in 0.. {
            let (key, value) = match range {
                Value::List(list) => match list.get(n) {
                    Some(element) => (Value::Int(i64::try_from(n).unwrap_or(i64::MAX)), element.clone()),
                    None => break,
                },
                Value::Map(map) => match map.entries().get(n) {
                    Some((key, value)) => (key.clone(), value.clone()),
                    None => break,
                },
                other => {
                    let found = other.type_name();
                    return Err(Fault::value(format!("expected a list or map for a macro, found `{found}`")));
                }
            };
            self.meter.step(1)?;
            self.locals.truncate(outside);
            match (all.has_two, range) {
                (true, _) => self.locals.extend([key.clone(), value]),
                (false, Value::Map(_)) => self.locals.push(key.clone()),
                (false, _) => self.locals.push(value),
            }
            if let Some(condition) = &all.condition
                && !self.is_true(condition)?
            {
                continue;
            }
            if let Some(decided) = self.gather(all, key, &mut result)? {
                return Ok(Value::Bool(decided));
            }
        }
        match (all.kind, result.fault) {
            (_, Some(fault)) => Err(fault),
            (MacroKind::All, None) => Ok(Value::Bool(true)),
            (MacroKind::Exists, None) => Ok(Value::Bool(false)),
            (MacroKind::ExistsOne, None) => Ok(Value::Bool(result.holds == 1)),
            (MacroKind::List, None) => Ok(list_of(result.list)),
            (MacroKind::Map, None) => self.map_of(result.entries),
        }
    }

    /// Evaluates the body for one element. Returns the result if it is known already.
    fn gather(
        &mut self,
        all: &Loop,
        key: Value<'v>,
        result: &mut Gathered<'v>,
    ) -> Result<Option<bool>, Fault> {
        match all.kind {
            MacroKind::All | MacroKind::Exists => {
                let decisive = all.kind == MacroKind::Exists;
                match self.is_true(&all.body) {
                    Ok(holds) if holds == decisive => return Ok(Some(decisive)),
                    Ok(_) => {}
                    Err(fault) => {
                        let fault = self.absorb(fault)?;
                        result.fault.get_or_insert(fault);
                    }
                }
            }
            MacroKind::ExistsOne => result.holds += usize::from(self.is_true(&all.body)?),
            MacroKind::List => {
                let value = self.value(&all.body)?;
                self.meter.elements(1)?;
                result.list.push(value);
            }
            MacroKind::Map => {
                let value = self.value(&all.body)?;
                result.entries.push((key, value));
            }
        }
        Ok(None)
    }
}

/// The results of a macro's body.
#[derive(Default)]
struct Gathered<'v> {
    holds: usize,
    fault: Option<Fault>,
    list: Vec<Value<'v>>,
    entries: Vec<(Value<'v>, Value<'v>)>,
}

fn truth(value: &Value<'_>) -> Result<bool, Fault> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(Fault::value(format!("expected true or false, found `{}`", other.type_name()))),
    }
}

/// Returns the value of an element such as `[?x]`, if there is one.
fn present(value: Value<'_>) -> Option<Value<'_>> {
    match value {
        Value::Optional(value) => value.map(|value| (*value).clone()),
        other => Some(other),
    }
}

fn member<'a, 'v>(value: &'a Value<'v>, field: &Field) -> Result<Option<&'a Value<'v>>, Fault> {
    match value {
        Value::Map(map) => Ok(map
            .get_text(&field.name)
            .or_else(|| field.unescaped.as_ref().and_then(|plain| map.get_text(plain)))),
        other => {
            let (name, found) = (&field.name, other.type_name());
            Err(Fault::value(format!("expected a map with the key `{name}`, found `{found}`")))
        }
    }
}

/// Reads `value.a.b`. A member of an optional value is optional, too.
fn select<'v>(value: &Value<'v>, fields: &[Field]) -> Evaluated<'v> {
    let mut at = value;
    let mut is_optional = false;
    for field in fields {
        match at {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                is_optional = true;
                at = &**inner;
            }
            _ => {}
        }
        match member(at, field)? {
            Some(value) => at = value,
            None if is_optional => return Ok(Value::Optional(None)),
            None => return Err(Fault::Key(field.name.clone())),
        }
    }
    Ok(if is_optional { Value::some(at.clone()) } else { at.clone() })
}

fn optional_select<'v>(value: &Value<'v>, field: &Field) -> Value<'v> {
    let value = match value {
        Value::Optional(None) => return Value::Optional(None),
        Value::Optional(Some(inner)) => &**inner,
        other => other,
    };
    match member(value, field) {
        Ok(Some(found)) => Value::some(found.clone()),
        _ => Value::Optional(None),
    }
}

/// Null, numbers and strings have no fields, so `has(oldObject.spec)` is false on a create. A list is an error (`refQualify`
/// in cel-go).
fn has<'v>(value: &Value<'v>, field: &Field) -> Evaluated<'v> {
    let value = match value {
        Value::Optional(None) => return Ok(Value::Bool(false)),
        Value::Optional(Some(inner)) => &**inner,
        other => other,
    };
    match value {
        Value::Map(_) | Value::List(_) => Ok(Value::Bool(member(value, field)?.is_some())),
        _ => Ok(Value::Bool(false)),
    }
}

fn index<'v>(value: &Value<'v>, key: &Value<'v>, is_optional: bool) -> Evaluated<'v> {
    let (value, is_optional) = match value {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => (&**inner, true),
        other => (other, is_optional),
    };
    let found = match (value, place(key)) {
        (Value::List(list), Some(place)) => place.and_then(|place| list.get(place)),
        (Value::Map(map), _) => map.get(key),
        _ if is_optional => None,
        _ => return Err(Fault::types("x[…]", &[value.clone(), key.clone()])),
    };
    match (found, is_optional) {
        (Some(found), true) => Ok(Value::some(found.clone())),
        (None, true) => Ok(Value::Optional(None)),
        (Some(found), false) => Ok(found.clone()),
        (None, false) => Err(match (value, key) {
            (Value::Map(_), Value::String(key)) => Fault::Key((**key).to_owned()),
            (Value::Map(_), _) => Fault::value("the map has no such key; ask for it first: `key in map`"),
            _ => Fault::value("the list has no element with that index"),
        }),
    }
}

/// Returns the index that a number stands for: `None` if it is not a number, `Some(None)` if no list is that long.
fn place(key: &Value<'_>) -> Option<Option<usize>> {
    match key {
        Value::Int(n) => Some(usize::try_from(*n).ok()),
        Value::Uint(n) => Some(usize::try_from(*n).ok()),
        _ => None,
    }
}

fn negate<'v>(value: &Value<'_>) -> Evaluated<'v> {
    match value {
        Value::Int(int) => {
            let negated = int.checked_neg();
            negated.map(Value::Int).ok_or_else(|| Fault::value("the result of `-` is too large for the type"))
        }
        Value::Double(double) => Ok(Value::Double(-double)),
        other => Err(Fault::types("-", std::slice::from_ref(other))),
    }
}
