//! The functions: CEL's own, its string extension, and those that Kubernetes adds.

mod conversions;
mod lists;
mod patterns;
mod quantities;
mod strings;

use super::fault::Fault;
use super::meter::Meter;
use super::pattern::Pattern;
use super::problem::ExpressionProblem;
use super::value::Value;

/// A function, or a member function such as `x.size()`.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// An example for messages.
    pub(super) usage: &'static str,
    is_member: bool,
    /// The smallest and the largest number of arguments, without the target.
    arguments: (usize, usize),
    pub(super) run: Run,
}

/// The code of a function. The target is the first argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    Values(for<'v> fn(&[Value<'v>], &mut Meter) -> Result<Value<'v>, FunctionRefusal>),
    /// The second argument is a regular expression.
    Pattern(for<'v> fn(&[Value<'v>], &Pattern, &mut Meter) -> Result<Value<'v>, FunctionRefusal>),
}

/// The reason why a function has no result.
#[derive(Debug)]
pub(super) enum FunctionRefusal {
    /// The function does not take arguments of these types.
    Types,
    /// The function does not take these values. The message does not name the function.
    Value(String),
    Fault(Fault),
}

impl From<Fault> for FunctionRefusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The position of a regular expression among the arguments.
pub(super) const PATTERN: usize = 1;

impl Function {
    pub(super) fn check_arity(&self, found: usize) -> Result<(), ExpressionProblem> {
        let (least, most) = self.arguments;
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = match (least, most) {
            (0, 0) => "no argument".to_owned(),
            (1, 1) => "1 argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        };
        let message = format!("`{}` takes {expected}, found {found}", self.name);
        Err(ExpressionProblem::new(message, format!("write it as in `{}`", self.usage)))
    }

    /// Returns the position of the regular expression, if the function takes one.
    pub(super) fn pattern(&self) -> Option<usize> {
        matches!(self.run, Run::Pattern(_)).then_some(PATTERN)
    }

    /// Turns a refusal into the fault of an evaluation.
    #[cold]
    pub(super) fn fault(&self, refusal: FunctionRefusal, args: &[Value<'_>]) -> Fault {
        match refusal {
            FunctionRefusal::Types => Fault::types(self.name, args),
            FunctionRefusal::Value(message) => Fault::value(format!("`{}`: {message}", self.name)),
            FunctionRefusal::Fault(fault) => fault,
        }
    }
}

/// Finds a function.
pub(super) fn find(name: &str, is_member: bool) -> Option<&'static Function> {
    all().find(|function| function.is_member == is_member && function.name == name)
}

/// Returns the names of the member functions, or those of all other functions.
pub(super) fn names(is_member: bool) -> impl Iterator<Item = &'static str> {
    all().filter(move |function| function.is_member == is_member).map(|function| function.name)
}

fn all() -> impl Iterator<Item = &'static Function> {
    conversions::FUNCTIONS
        .iter()
        .chain(strings::FUNCTIONS)
        .chain(lists::FUNCTIONS)
        .chain(quantities::FUNCTIONS)
        .chain(patterns::FUNCTIONS)
}

pub(super) const fn global(
    name: &'static str,
    arguments: (usize, usize),
    usage: &'static str,
    run: for<'v> fn(&[Value<'v>], &mut Meter) -> Result<Value<'v>, FunctionRefusal>,
) -> Function {
    Function { name, usage, is_member: false, arguments, run: Run::Values(run) }
}

pub(super) const fn member(
    name: &'static str,
    arguments: (usize, usize),
    usage: &'static str,
    run: for<'v> fn(&[Value<'v>], &mut Meter) -> Result<Value<'v>, FunctionRefusal>,
) -> Function {
    Function { name, usage, is_member: true, arguments, run: Run::Values(run) }
}

pub(super) const fn with_pattern(
    name: &'static str,
    is_member: bool,
    arguments: (usize, usize),
    usage: &'static str,
    run: for<'v> fn(&[Value<'v>], &Pattern, &mut Meter) -> Result<Value<'v>, FunctionRefusal>,
) -> Function {
    Function { name, usage, is_member, arguments, run: Run::Pattern(run) }
}
