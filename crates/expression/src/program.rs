//! Expressions: parsing within limits, and the check of names.

use std::collections::BTreeSet;

use ::cel::parser::PrattParser;

use super::compile::compile;
use super::evaluate::{Variables, evaluate};
use super::fault::Fault;
use super::limits::{ExpressionLimits, KnownNames};
use super::meter::Meter;
use super::nesting::limit_nesting;
use super::node::ExprNode;
use super::pattern::Pattern;
use super::problem::ExpressionProblem;
use super::value::Value;

/// A parsed expression.
#[derive(Debug)]
pub struct Expression {
    root: ExprNode,
    /// The variables in the expression. `variables` has the names after `variables.`.
    roots: BTreeSet<String>,
    variables: BTreeSet<String>,
}

impl Expression {
    /// Parses an expression, and checks the names and the number of arguments.
    ///
    /// # Errors
    ///
    /// The reason why the expression is refused.
    pub fn parse(
        text: &str,
        limits: ExpressionLimits,
        names: KnownNames<'_>,
    ) -> Result<Self, ExpressionProblem> {
        if text.trim().is_empty() {
            return Err(ExpressionProblem::new("expected a CEL expression, found nothing", "write one"));
        }
        if text.len() > limits.length {
            let message = format!("expected at most {} bytes, found {}", limits.length, text.len());
            return Err(ExpressionProblem::new(message, limits.advice));
        }
        limit_nesting(text, limits)?;
        let parser = PrattParser::new().enable_optional_syntax(true).enable_ident_escape_syntax(true);
        let tree = parser.parse(text).map_err(|errors| match errors.errors.first() {
            Some(error) => syntax_error(text, error.pos, &error.msg),
            None => ExpressionProblem::new("the expression is not CEL", "correct it"),
        })?;
        let root = compile(&tree, limits, names)?;
        let mut parsed = Self { root, roots: BTreeSet::new(), variables: BTreeSet::new() };
        let (mut roots, mut variables) = (BTreeSet::new(), BTreeSet::new());
        for_each(&parsed.root, &mut |node| match node {
            ExprNode::Root(name) => roots.extend([name.clone()]),
            ExprNode::Variable(name) => variables.extend([name.clone()]),
            _ => {}
        });
        (parsed.roots, parsed.variables) = (roots, variables);
        Ok(parsed)
    }

    /// Checks the regular expressions that are literals. The check takes longer than the parser, so an evaluation
    /// compiles only the regular expressions that it reaches.
    ///
    /// # Errors
    ///
    /// The first invalid regular expression.
    pub fn check_patterns(&self) -> Result<(), ExpressionProblem> {
        let mut found = Ok(());
        for_each(&self.root, &mut |node| {
            if let ExprNode::Call(call) = node
                && let Some(place) = call.function.pattern()
                && let Some(ExprNode::Literal(Value::String(pattern))) = call.args.get(place)
                && found.is_ok()
            {
                found = Pattern::compile(pattern).map(|_| ()).map_err(|problem| {
                    let message = format!("`{}` is not a regular expression: {problem}", &**pattern);
                    ExpressionProblem::new(message, "correct it; docs/cel.md has the syntax")
                });
            }
        });
        found
    }

    /// Returns whether the expression uses the variable anywhere.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        self.roots.contains(variable)
    }

    /// Returns whether the expression reads `variables.NAME`.
    #[must_use]
    pub fn reads(&self, name: &str) -> bool {
        self.variables.contains(name)
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    ///
    /// The expression has no value for these variables, or needs more than the budget of the meter.
    pub fn evaluate<'v>(&self, variables: &Variables<'v>, meter: &mut Meter) -> Result<Value<'v>, Fault> {
        evaluate(&self.root, variables, meter)
    }
}

fn for_each<'n>(node: &'n ExprNode, f: &mut impl FnMut(&'n ExprNode)) {
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        f(node);
        node.for_each_part(&mut |part| pending.push(part));
    }
}

fn syntax_error(text: &str, (line, column): (isize, isize), problem: &str) -> ExpressionProblem {
    let problem = problem.strip_prefix("Syntax error: ").unwrap_or(problem).replace('\n', " ");
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let before = written.get(..column.saturating_sub(1)).unwrap_or(written);
    let mut before: String = before.chars().rev().take(24).collect::<Vec<_>>().into_iter().rev().collect();
    if before.is_empty() {
        before.push_str("the start");
    }
    ExpressionProblem::new(
        format!("the expression is not CEL: line {line}, column {column}: {problem}"),
        format!("correct it after `{before}`"),
    )
}
