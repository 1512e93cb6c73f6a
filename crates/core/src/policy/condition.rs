//! CEL conditions, the `matchConditions` of a policy.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr};
use cel::objects::{Key, Map};
use cel::{Context, IdedExpr, Program, Value};

use super::NamedExpression;

/// Limit of an expression, in bytes.
const MAX_LENGTH: usize = 4096;

/// Limit of the nesting of an expression's tree, in levels. `a + b + c` nests two levels deep, a macro several.
///
/// The interpreter uses a stack frame per level, and a stack overflow aborts the process.
const MAX_NESTING: usize = 100;

/// The variables that a condition may use.
const VARIABLES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];

/// A parsed condition.
#[derive(Clone)]
pub struct Condition {
    name: Arc<str>,
    program: Arc<Program>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The reason why a condition is invalid, or gave neither true nor false.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// The expression is not CEL.
    #[error("condition `{name}` is not a CEL expression: {problem}")]
    Syntax {
        /// The condition.
        name: String,
        /// The parser's message, in one line.
        problem: String,
    },
    /// The expression is longer or nests deeper than can be evaluated safely.
    #[error("condition `{name}`: expected at most {MAX_LENGTH} bytes, nested at most {MAX_NESTING} deep")]
    TooLarge {
        /// The condition.
        name: String,
    },
    /// The expression uses an unknown variable.
    #[error(
        "condition `{name}`: no variable `{variable}`; expected one of object, oldObject, request, namespaceObject"
    )]
    Variable {
        /// The condition.
        name: String,
        /// The variable.
        variable: String,
    },
    /// The expression could not be evaluated on this review.
    #[error("condition `{name}` could not be evaluated")]
    Execution {
        /// The condition.
        name: String,
        /// The evaluator's message.
        source: cel::ExecutionError,
    },
    /// The result of the expression is not a boolean.
    #[error("condition `{name}`: expected true or false, found `{found}`")]
    NotBool {
        /// The condition.
        name: String,
        /// The type that was found.
        found: String,
    },
}

impl TryFrom<NamedExpression> for Condition {
    type Error = ConditionError;

    fn try_from(typed: NamedExpression) -> Result<Self, ConditionError> {
        let NamedExpression { name, expression } = typed;
        if expression.len() > MAX_LENGTH {
            return Err(ConditionError::TooLarge { name });
        }
        let program = Program::compile(&expression).map_err(|errors| ConditionError::Syntax {
            name: name.clone(),
            problem: errors.errors.first().map_or_else(String::new, |error| error.msg.replace('\n', " ")),
        })?;
        if nests_deeper(program.expression(), MAX_NESTING) {
            return Err(ConditionError::TooLarge { name });
        }
        if let Some(variable) = unknown_variable(program.expression(), &mut Vec::new()) {
            return Err(ConditionError::Variable { name, variable: variable.to_owned() });
        }
        Ok(Self { name: name.into(), program: Arc::new(program) })
    }
}

/// The values of [`VARIABLES`] in one review, built once for all conditions of all policies.
pub(super) struct Variables {
    values: [Value; 4],
}

impl Variables {
    pub(super) fn new(values: [&serde_json::Value; 4]) -> Self {
        Self { values: values.map(to_cel) }
    }
}

impl Condition {
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(super) fn holds(&self, variables: &Variables) -> Result<bool, ConditionError> {
        let mut context = Context::default();
        for (name, value) in VARIABLES.into_iter().zip(&variables.values) {
            context.add_variable_from_value(name, value.clone());
        }
        let name = || self.name.to_string();
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ConditionError::NotBool { name: name(), found: other.type_of().to_string() }),
            Err(source) => Err(ConditionError::Execution { name: name(), source }),
        }
    }
}

/// Returns the first name that is neither one of [`VARIABLES`] nor bound by a macro around it, such as `all(c, …)`.
/// `bound` holds the bound names.
fn unknown_variable<'e>(expression: &'e IdedExpr, bound: &mut Vec<&'e str>) -> Option<&'e str> {
    match &expression.expr {
        Expr::Ident(name) => {
            let known =
                name.starts_with('@') || VARIABLES.contains(&name.as_str()) || bound.contains(&name.as_str());
            (!known).then_some(name)
        }
        Expr::Comprehension(all) => unknown_variable(&all.iter_range, bound).or_else(|| {
            let outside = bound.len();
            bound.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
            bound.extend(all.iter_var2.as_deref());
            let inside = [&all.accu_init, &all.loop_cond, &all.loop_step, &all.result];
            let unknown = inside.into_iter().find_map(|part| unknown_variable(part, bound));
            bound.truncate(outside);
            unknown
        }),
        _ => parts(expression).into_iter().find_map(|part| unknown_variable(part, bound)),
    }
}

/// Returns whether an expression nests deeper than `most` levels.
///
/// It does not recurse, because it protects recursive functions from a stack overflow.
fn nests_deeper(expression: &IdedExpr, most: usize) -> bool {
    let mut pending = vec![(expression, 1)];
    while let Some((expression, depth)) = pending.pop() {
        if depth > most {
            return true;
        }
        pending.extend(parts(expression).into_iter().map(|part| (part, depth + 1)));
    }
    false
}

fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    fn entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
        match entry {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(member) => vec![&member.key, &member.value],
        }
    }
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(map) => map.entries.iter().flat_map(|one| entry(&one.expr)).collect(),
        Expr::Struct(fields) => fields.entries.iter().flat_map(|one| entry(&one.expr)).collect(),
        Expr::Comprehension(all) => {
            vec![&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
        }
    }
}

/// Converts JSON to a CEL value.
///
/// Whole numbers become `int`, as in Kubernetes' own CEL, so that `object.spec.minReadySeconds > 5` works.
fn to_cel(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(*bool),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(values) => Value::List(Arc::new(values.iter().map(to_cel).collect())),
        serde_json::Value::Object(members) => Value::Map(Map {
            map: Arc::new(
                members.iter().map(|(key, value)| (Key::from(key.as_str()), to_cel(value))).collect(),
            ),
        }),
    }
}
