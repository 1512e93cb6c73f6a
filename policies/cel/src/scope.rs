//! The variables of expressions, and the evaluation.

use wardset_policy_sdk::{Operation, Request, Review, Stop};

use crate::{
    expression::{
        Expression, ExpressionLimits, ExpressionProblem, KnownNames, Meter, StepBudget, TextValue, Value,
        Variables, map_of, to_json,
    },
    settings::Named,
};

/// Limits of an expression. A level needs at most 1.5 KiB of the guest's stack of 64 KiB.
const LIMITS: ExpressionLimits =
    ExpressionLimits { length: 4096, levels: 28, chain: 64, advice: "move parts of it into `variables`" };

/// The budget of each expression, the same as for the conditions of `match`. The limits of the policy bound all
/// expressions together.
const BUDGET: StepBudget = StepBudget::EXPRESSION;

/// The variables of each expression, beside `variables.NAME`.
const VARIABLES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];

/// Characters of an expression that an error repeats.
const MAX_QUOTED: usize = 160;

/// Parses an expression. `variables` are the names that may follow `variables.`.
pub(crate) fn parse(text: &str, variables: &[&str]) -> Result<Expression, ExpressionProblem> {
    Expression::parse(text, LIMITS, KnownNames { roots: &VARIABLES, variables: Some(variables) })
}

/// The objects that `object` and `oldObject` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The object under review.
    New,
    /// The stored object, for both names.
    Stored,
}

/// The variables of one review.
pub(crate) struct Scope<'r> {
    review: &'r Review,
    subject: Subject,
    variables: &'r [Named],
    names: Vec<&'r str>,
    /// Those that an expression has read.
    values: Variables<'r>,
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
    pub(crate) fn new(review: &'r Review, variables: &'r [Named], subject: Subject) -> Self {
        let names = variables.iter().map(|named| named.name.as_str()).collect();
        Self { review, subject, variables, names, values: Variables::default() }
    }

    /// Evaluates an expression.
    fn value(&mut self, place: Place<'_>) -> Result<Value<'r>, Stop> {
        let expression = self.parse(place)?;
        self.read_variables(&expression)?;
        self.read_roots(&expression)?;
        let value = expression.evaluate(&self.values, &mut Meter::new(BUDGET));
        value.map_err(|fault| place.fails(&fault.to_string()))
    }

    /// Evaluates an expression that must be true or false.
    pub(crate) fn holds(&mut self, place: Place<'_>) -> Result<bool, Stop> {
        match self.value(place)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(place.fails(&format!("expected true or false, found `{}`", other.type_name()))),
        }
    }

    /// Evaluates an expression whose value becomes part of the object.
    pub(crate) fn json(&mut self, place: Place<'_>) -> Result<serde_json::Value, Stop> {
        let value = self.value(place)?;
        to_json(&value, &mut Meter::new(BUDGET)).map_err(|fault| place.fails(&fault.to_string()))
    }

    /// Evaluates an expression whose value is a text of one line; none if it fails or is empty.
    pub(crate) fn text(&mut self, place: Place<'_>) -> Option<String> {
        let Ok(Value::String(text)) = self.value(place) else { return None };
        let text = text.trim();
        (!text.is_empty() && !text.contains('\n')).then(|| text.to_owned())
    }

    fn parse(&self, place: Place<'_>) -> Result<Expression, Stop> {
        parse(place.text, &self.names).map_err(|problem| place.fails(&problem.message))
    }

    fn read_roots(&mut self, expression: &Expression) -> Result<(), Stop> {
        for name in VARIABLES {
            if !self.values.has(name) && expression.mentions(name) {
                let value = self.root(name)?;
                self.values.set(name, value);
            }
        }
        Ok(())
    }

    /// Evaluates the variables that the expression needs, once each and without recursion. The fault of a variable
    /// counts only if the result of an expression depends on it: `variables.a || true` is true.
    fn read_variables(&mut self, expression: &Expression) -> Result<(), Stop> {
        let variables = self.variables;
        let mut needed: Vec<bool> = variables.iter().map(|named| expression.reads(&named.name)).collect();
        let mut parsed = Vec::new();
        // A variable uses only those above it.
        for (n, named) in variables.iter().enumerate().rev() {
            if !needed[n] || self.values.has_variable(&named.name) {
                continue;
            }
            let field = format!("variables.{}", named.name);
            let expression = self.parse(Place { field: &field, text: &named.expression })?;
            for (above, is_needed) in needed.iter_mut().enumerate().take(n) {
                *is_needed |= expression.reads(&variables[above].name);
            }
            parsed.push((named, expression));
        }
        for (named, expression) in parsed.into_iter().rev() {
            self.read_roots(&expression)?;
            let value = expression.evaluate(&self.values, &mut Meter::new(BUDGET));
            let value = value.map_err(|fault| fault.of_variable(&named.name, &named.expression));
            self.values.set_variable(&named.name, value);
        }
        Ok(())
    }

    fn root(&self, name: &str) -> Result<Value<'r>, Stop> {
        let null = Value::Null;
        Ok(match (name, self.subject) {
            ("object", Subject::New) => self.review.object("")?.unwrap_or(null),
            ("object" | "oldObject", _) => self.review.old_object("")?.unwrap_or(null),
            ("request", _) => request(self.review.request()),
            _ => self.namespace()?,
        })
    }

    fn namespace(&self) -> Result<Value<'r>, Stop> {
        let Some(labels) = self.review.namespace_labels()? else {
            let message = "`namespaceObject` is unknown: the host does not know the namespace's labels";
            return Err(Stop::Fail(message.to_owned()));
        };
        let labels = labels.into_iter().map(|(key, value)| (TextValue::from(key), Value::from(value)));
        let name = Value::from(self.review.request().namespace.clone());
        let metadata = map([("name", name), ("labels", map_of(labels))]);
        Ok(map([("metadata", metadata)]))
    }
}

fn map<'r, const N: usize>(members: [(&'static str, Value<'r>); N]) -> Value<'r> {
    map_of(members.map(|(key, value)| (TextValue::Borrowed(key), value)))
}

/// Makes `request` with the fields of an AdmissionRequest that the host sends.
fn request(request: &Request) -> Value<'_> {
    let operation = match request.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
    };
    let of_apps = |field, value| map([("group", "apps".into()), ("version", "v1".into()), (field, value)]);
    map([
        ("operation", operation.into()),
        ("kind", of_apps("kind", request.kind.as_str().into())),
        ("resource", of_apps("resource", "daemonsets".into())),
        ("name", request.name.as_str().into()),
        ("namespace", request.namespace.as_str().into()),
        ("userInfo", map([("username", request.user.as_str().into())])),
        ("dryRun", Value::Bool(request.dry_run)),
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
