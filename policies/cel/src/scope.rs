//! The variables of expressions, and the evaluation.

use std::sync::Arc;

use ::cel::{
    Context, Env, ExecutionError, Value,
    common::{
        types::{CelBool, CelNull, CelString},
        value::CowVal,
    },
};
use wardset_policy_sdk::{Operation, Request, Review, Stop};

use crate::{
    expression::Expression,
    settings::Named,
    value::{Boxed, Json, map_of, to_json},
};

/// Characters of an expression, or of the interpreter's message, that an error repeats.
const MAX_QUOTED: usize = 160;

/// The objects that `object` and `oldObject` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The object under review.
    New,
    /// The stored object, for both names.
    Stored,
}

/// The state of `variables.NAME`.
#[derive(Debug)]
enum State {
    Unread,
    Known,
    /// The evaluation failed, for this reason.
    Failed(String),
}

/// The variables of one review.
pub(crate) struct Scope<'r> {
    review: &'r Review,
    subject: Subject,
    context: Context<'r, 'r>,
    variables: &'r [Named],
    states: Vec<State>,
    /// The names in the context.
    known: Vec<&'static str>,
}

/// The place of an expression in the settings, with the expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) field: &'a str,
    pub(crate) text: &'a str,
}

impl Place<'_> {
    fn fails(self, problem: &str) -> Stop {
        Stop::Fail(format!("`{}` failed: {problem}: `{}`", self.field, short(self.text)))
    }
}

impl<'r> Scope<'r> {
    pub(crate) fn new(review: &'r Review, env: Arc<Env>, variables: &'r [Named], subject: Subject) -> Self {
        let states = variables.iter().map(|_| State::Unread).collect();
        Self { review, subject, context: Context::with_env(env), variables, states, known: Vec::new() }
    }

    /// Evaluates an expression.
    pub(crate) fn value(&mut self, place: Place<'_>) -> Result<Boxed<'r>, Stop> {
        let expression = self.prepare(place)?;
        match Value::resolve_val(&expression.tree, &self.context) {
            Ok(value) => Ok(value.into_owned()),
            Err(error) => Err(place.fails(&self.explain(&expression, &error))),
        }
    }

    /// Evaluates an expression that must be true or false.
    pub(crate) fn holds(&mut self, place: Place<'_>) -> Result<bool, Stop> {
        let value = self.value(place)?;
        match value.downcast_ref::<CelBool>() {
            Some(holds) => Ok(*holds.inner()),
            None => Err(place.fails(&format!("expected true or false, found `{}`", value.get_type().name()))),
        }
    }

    /// Evaluates an expression whose value becomes part of the object.
    pub(crate) fn json(&mut self, place: Place<'_>) -> Result<serde_json::Value, Stop> {
        let value = self.value(place)?;
        let no_json = |found| place.fails(&format!("expected a value that JSON has, found {found}"));
        to_json(value.as_ref()).map_err(no_json)
    }

    /// Evaluates an expression whose value is a text of one line; none if it fails or is empty.
    pub(crate) fn text(&mut self, place: Place<'_>) -> Option<String> {
        let value = self.value(place).ok()?;
        let text = value.downcast_ref::<CelString<'_>>()?.inner().trim().to_owned();
        (!text.is_empty() && !text.contains('\n')).then_some(text)
    }

    /// Parses the expression and reads the variables that it uses.
    fn prepare(&mut self, place: Place<'_>) -> Result<Expression, Stop> {
        let expression = Expression::parse(place.text).map_err(|problem| place.fails(&problem.message))?;
        self.read(&expression)?;
        Ok(expression)
    }

    /// Reads the names that the expression uses.
    fn read(&mut self, expression: &Expression) -> Result<(), Stop> {
        if expression.mentions("variables") {
            self.read_variables(expression)?;
        }
        self.read_roots(expression)
    }

    fn read_roots(&mut self, expression: &Expression) -> Result<(), Stop> {
        for name in ["object", "oldObject", "request", "namespaceObject"] {
            if !self.known.contains(&name) && expression.mentions(name) {
                let value = self.root(name)?;
                self.context.add_variable_as_val(name, value);
                self.known.push(name);
            }
        }
        Ok(())
    }

    /// Evaluates the variables that the expression needs, once each and without recursion. The error of a variable
    /// counts only if the result of an expression depends on it: `variables.a || true` is true.
    fn read_variables(&mut self, expression: &Expression) -> Result<(), Stop> {
        let variables = self.variables;
        let mut needed: Vec<bool> = variables.iter().map(|named| expression.reads(&named.name)).collect();
        let mut parsed = Vec::new();
        // A variable uses only those above it.
        for (n, named) in variables.iter().enumerate().rev() {
            if !needed[n] || !matches!(self.states[n], State::Unread) {
                continue;
            }
            let field = format!("variables.{}", named.name);
            let place = Place { field: &field, text: &named.expression };
            let expression =
                Expression::parse(place.text).map_err(|problem| place.fails(&problem.message))?;
            if expression.mentions("variables") {
                for (above, is_needed) in needed.iter_mut().enumerate().take(n) {
                    *is_needed |= expression.reads(&variables[above].name);
                }
            }
            parsed.push((n, field, expression));
        }
        for (n, field, expression) in parsed.into_iter().rev() {
            self.read_roots(&expression)?;
            let result = Value::resolve_val(&expression.tree, &self.context).map(CowVal::into_owned);
            self.states[n] = match result {
                Ok(value) => {
                    self.context.add_variable_as_val(field, value);
                    State::Known
                }
                Err(error) => {
                    let (problem, text) = (self.explain(&expression, &error), &variables[n].expression);
                    State::Failed(format!("`{field}`: {problem}: `{}`", short(text)))
                }
            };
        }
        Ok(())
    }

    fn root(&self, name: &str) -> Result<Boxed<'r>, Stop> {
        Ok(match (name, self.subject) {
            ("object", Subject::New) => value_of(self.review.object::<Json<'r>>("")?),
            ("object" | "oldObject", _) => value_of(self.review.old_object::<Json<'r>>("")?),
            ("request", _) => request(self.review.request()),
            _ => self.namespace()?,
        })
    }

    fn namespace(&self) -> Result<Boxed<'r>, Stop> {
        let Some(labels) = self.review.namespace_labels()? else {
            let message = "`namespaceObject` is unknown: the host does not know the namespace's labels";
            return Err(Stop::Fail(message.to_owned()));
        };
        let labels = labels.into_iter().map(|(key, value)| (key.into(), string(value))).collect();
        let name = string(self.review.request().namespace.clone());
        let metadata = map_of(vec![("name".into(), name), ("labels".into(), map_of(labels))]);
        Ok(map_of(vec![("metadata".into(), metadata)]))
    }

    /// Describes an error of the interpreter in our words.
    fn explain(&self, expression: &Expression, error: &ExecutionError) -> String {
        match error {
            // A variable that failed is not in the context.
            ExecutionError::UndeclaredReference(name) if name.as_str() == "variables" => {
                let failed = self.variables.iter().zip(&self.states).find_map(|(named, state)| match state {
                    State::Failed(reason) if expression.reads(&named.name) => Some(reason.clone()),
                    _ => None,
                });
                failed.unwrap_or_else(|| "a variable is missing".to_owned())
            }
            ExecutionError::NoSuchKey(key) => {
                format!("no such key `{}`; ask for it first: `has(….{})`", short(key), short(key))
            }
            ExecutionError::IndexOutOfBounds(_) => "the list has no element with that index".to_owned(),
            ExecutionError::NoSuchOverload(overload) => format!(
                "`{}` does not take the types {}",
                short(overload.function()),
                overload.argument_types().join(", ")
            ),
            ExecutionError::FunctionError { function, message } => {
                format!("`{}`: {}", short(function), short(message))
            }
            other => short(&other.to_string()),
        }
    }
}

fn value_of(json: Option<Json<'_>>) -> Boxed<'_> {
    json.map_or_else(|| Box::new(CelNull) as Boxed<'_>, |json| json.0)
}

fn string<'v>(text: String) -> Boxed<'v> {
    Box::new(CelString::from(text))
}

/// Makes `request` with the fields of an AdmissionRequest that the host sends.
fn request<'v>(request: &Request) -> Boxed<'v> {
    let text = |text: &str| string(text.to_owned());
    let map = |members: Vec<(&'static str, Boxed<'v>)>| {
        map_of(members.into_iter().map(|(key, value)| (CelString::from(key), value)).collect())
    };
    let operation = match request.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
    };
    let group = || vec![("group", text("apps")), ("version", text("v1"))];
    let mut kind = group();
    kind.push(("kind", text(&request.kind)));
    let mut resource = group();
    resource.push(("resource", text("daemonsets")));
    map(vec![
        ("operation", text(operation)),
        ("kind", map(kind)),
        ("resource", map(resource)),
        ("name", text(&request.name)),
        ("namespace", text(&request.namespace)),
        ("userInfo", map(vec![("username", text(&request.user))])),
        ("dryRun", Box::new(CelBool::from(request.dry_run))),
    ])
}

/// Returns the beginning of a text, on one line.
pub(crate) fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
