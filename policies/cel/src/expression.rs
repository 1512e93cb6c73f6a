//! Expressions: parsing within limits, and the check of names.
//!
//! Parser and interpreter use stack frames for each level, and the stack of a guest is small. So an expression that
//! nests too deeply is refused before it is parsed, and again before it is evaluated.

use ::cel::{
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, StructExpr,
        operators,
    },
    parser::{
        PrattParser,
        pratt_parser::{Lexer, TokenKind},
    },
};
use wardset_policy_sdk::settings::suggest;

use crate::functions::{GLOBAL, MEMBER, compile};

/// Bytes of an expression.
pub(crate) const MAX_LENGTH: usize = 4096;

/// Levels that the interpreter may nest. A level needs at most 1.5 KiB of the guest's stack of 64 KiB.
pub(crate) const MAX_LEVELS: usize = 28;

/// Levels of brackets and of conditions that the parser may nest, and links of one chain such as `a.b[0] + c`.
const MAX_PARSED: usize = 28;
const MAX_CHAIN: usize = 64;

/// The variables of each expression, beside `variables.NAME`.
pub(crate) const VARIABLES: [&str; 5] = ["object", "oldObject", "request", "namespaceObject", "variables"];

/// Names of types, which an expression compares with `type(x)`.
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint"];

/// The name to which `optMap` binds its target.
const TARGET: &str = "@target";

/// The first part of functions' names such as `optional.of`.
const NAMESPACES: [&str; 3] = ["optional", "sets", "strings"];

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) tree: IdedExpr,
}

/// The reason why an expression is refused, and the step to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Problem {
    fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }

    fn too_deep(levels: usize) -> Self {
        Self::new(
            format!("the expression nests more than {levels} levels deep"),
            "move parts of it into `variables`",
        )
    }
}

impl Expression {
    /// Parses an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            return Err(Problem::new("expected a CEL expression, found nothing", "write one"));
        }
        if text.len() > MAX_LENGTH {
            let message = format!("expected at most {MAX_LENGTH} bytes, found {}", text.len());
            return Err(Problem::new(message, "move parts of the expression into `variables`"));
        }
        limit_nesting(text)?;
        let parser = PrattParser::new().enable_optional_syntax(true).enable_ident_escape_syntax(true);
        let mut tree = parser.parse(text).map_err(|errors| match errors.errors.first() {
            Some(error) => {
                let problem = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
                let problem = problem.replace('\n', " ");
                syntax_error(text, error.pos, &problem)
            }
            None => Problem::new("the expression is not CEL", "correct it"),
        })?;
        let limit = |tree: &IdedExpr| match levels(tree, MAX_LEVELS) {
            Some(_) => Ok(()),
            None => Err(Problem::too_deep(MAX_LEVELS)),
        };
        limit(&tree)?;
        if text.contains("optMap") || text.contains("optFlatMap") {
            expand(&mut tree)?;
            limit(&tree)?;
        }
        Ok(Self { tree })
    }

    /// Checks that each name is known. `variables` are the names that may follow `variables.`.
    pub(crate) fn check_names(&self, variables: &[&str]) -> Result<(), Problem> {
        Names { variables, bound: Vec::new() }.check(&self.tree)
    }

    /// Whether the expression mentions the variable, at any place.
    pub(crate) fn mentions(&self, variable: &str) -> bool {
        any(&self.tree, &mut |expression| matches!(&expression.expr, Expr::Ident(name) if name == variable))
    }

    /// Whether the expression reads `variables.NAME`.
    pub(crate) fn reads(&self, name: &str) -> bool {
        any(&self.tree, &mut |expression| variable_of(expression) == Some(name))
    }
}

fn syntax_error(text: &str, (line, column): (isize, isize), problem: &str) -> Problem {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let before = written.get(..column.saturating_sub(1)).unwrap_or(written);
    let mut before: String = before.chars().rev().take(24).collect::<Vec<_>>().into_iter().rev().collect();
    if before.is_empty() {
        before.push_str("the start");
    }
    Problem::new(
        format!("the expression is not CEL: line {line}, column {column}: {problem}"),
        format!("correct it after `{before}`"),
    )
}

/// Refuses an expression that the parser would nest too deeply.
///
/// The parser nests at each opening bracket and at each `?:`. A chain of operators, members and indexes makes a tree
/// that is as deep as the chain is long.
fn limit_nesting(text: &str) -> Result<(), Problem> {
    #[derive(Clone, Copy, Default)]
    struct Level {
        conditions: usize,
        links: usize,
    }
    let mut lexer = Lexer::new(text);
    let (mut levels, mut conditions) = (vec![Level::default()], 0_usize);
    let mut last = TokenKind::TokEnd;
    loop {
        let token = lexer.lex();
        let kind = token.kind;
        let is_inside = levels.len() > 1;
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match kind {
            // The parser reports the error.
            TokenKind::TokEnd | TokenKind::TokError => return Ok(()),
            TokenKind::TokWhitespace | TokenKind::TokComment => continue,
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace => {
                level.links += 1;
                levels.push(Level::default());
            }
            TokenKind::TokRightParen | TokenKind::TokRightBracket | TokenKind::TokRightBrace if is_inside => {
                conditions -= levels.pop().map_or(0, |level| level.conditions);
            }
            TokenKind::TokComma => {
                conditions -= level.conditions;
                *level = Level::default();
            }
            // `.?`, `[?`, `{?` and `, ?` are the optional syntax.
            TokenKind::TokQuestion
                if !matches!(
                    last,
                    TokenKind::TokDot
                        | TokenKind::TokLeftBracket
                        | TokenKind::TokLeftBrace
                        | TokenKind::TokComma
                ) =>
            {
                level.conditions += 1;
                level.links = 0;
                conditions += 1;
            }
            // The parser balances these.
            TokenKind::TokLogicalAnd | TokenKind::TokLogicalOr => level.links = 0,
            TokenKind::TokDot
            | TokenKind::TokMinus
            | TokenKind::TokPlus
            | TokenKind::TokAsterisk
            | TokenKind::TokSlash
            | TokenKind::TokPercent
            | TokenKind::TokExclamation
            | TokenKind::TokEqualEqual
            | TokenKind::TokExclamationEqual
            | TokenKind::TokLess
            | TokenKind::TokLessEqual
            | TokenKind::TokGreater
            | TokenKind::TokGreaterEqual
            | TokenKind::TokIn => level.links += 1,
            _ => {}
        }
        if levels.len() + conditions > MAX_PARSED {
            return Err(Problem::too_deep(MAX_PARSED));
        }
        if levels.last().is_some_and(|level| level.links > MAX_CHAIN) {
            let message =
                format!("the expression has more than {MAX_CHAIN} operators or members in one chain");
            return Err(Problem::new(message, "move parts of it into `variables`"));
        }
        last = kind;
    }
}

/// Returns the levels that the interpreter nests; none if they are more than `most`. It does not recurse.
fn levels(tree: &IdedExpr, most: usize) -> Option<usize> {
    let (mut pending, mut deepest) = (vec![(tree, 1)], 0);
    while let Some((expression, depth)) = pending.pop() {
        if depth > most {
            return None;
        }
        deepest = deepest.max(depth);
        // The interpreter reads a name such as `object.spec.template` in one step.
        if name_of(expression).is_none() {
            pending.extend(parts(expression).into_iter().map(|part| (part, depth + 1)));
        }
    }
    Some(deepest)
}

/// Returns the root of a name such as `object.spec.template`; none if the expression is something else.
fn name_of(expression: &IdedExpr) -> Option<&str> {
    let mut part = expression;
    loop {
        match &part.expr {
            Expr::Ident(name) => return Some(name),
            Expr::Select(select) => part = &select.operand,
            _ => return None,
        }
    }
}

/// Returns the name behind `variables.`, if the expression is such a variable.
fn variable_of(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) if name == "variables" => Some(&select.field),
            _ => None,
        },
        _ => None,
    }
}

fn any(expression: &IdedExpr, is_wanted: &mut impl FnMut(&IdedExpr) -> bool) -> bool {
    is_wanted(expression) || parts(expression).into_iter().any(|part| any(part, is_wanted))
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

/// Replaces the macros `x.optMap(v, e)` and `x.optFlatMap(v, e)`, which the parser does not know.
///
/// The first one becomes `x.hasValue() ? optional.of(e) : optional.none()`, where `v` is `x.value()`, and `x` is
/// evaluated once.
fn expand(tree: &mut IdedExpr) -> Result<(), Problem> {
    for_each_part(tree, &mut expand)?;
    let Expr::Call(call) = &mut tree.expr else { return Ok(()) };
    let wraps = match call.func_name.as_str() {
        "optMap" => true,
        "optFlatMap" => false,
        _ => return Ok(()),
    };
    let Some(target) = call.target.take() else { return Ok(()) };
    let (Some(result), Some(name), 0) = (call.args.pop(), call.args.pop(), call.args.len()) else {
        let message = format!("`{}` takes a name and an expression", call.func_name);
        return Err(Problem::new(message, "write it as in `a.?b.optMap(x, x + 1)`"));
    };
    let Expr::Ident(name) = name.expr else {
        let message = format!("`{}` takes a name first", call.func_name);
        return Err(Problem::new(message, "write it as in `a.?b.optMap(x, x + 1)`"));
    };
    let id = tree.id;
    let node = |expr: Expr| IdedExpr { id, expr };
    let call = |target: IdedExpr, name: &str, args: Vec<IdedExpr>| {
        node(Expr::Call(CallExpr { func_name: name.to_owned(), target: Some(Box::new(target)), args }))
    };
    let ident = |name: &str| node(Expr::Ident(name.to_owned()));
    // A loop over nothing binds the name.
    let bind = |name: &str, value: IdedExpr, result: IdedExpr| {
        node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: node(Expr::List(ListExpr::new(Vec::new()))),
            iter_var: "#unused".to_owned(),
            iter_var2: None,
            loop_step: ident(name),
            accu_var: name.to_owned(),
            accu_init: value,
            loop_cond: node(Expr::Literal(LiteralValue::Boolean(false.into()))),
            result,
        })))
    };
    let bound = bind(&name, call(ident(TARGET), "value", Vec::new()), result);
    let some = if wraps { call(ident("optional"), "of", vec![bound]) } else { bound };
    let none = call(ident("optional"), "none", Vec::new());
    let args = vec![call(ident(TARGET), "hasValue", Vec::new()), some, none];
    let func_name = operators::CONDITIONAL.to_owned();
    let choice = node(Expr::Call(CallExpr { func_name, target: None, args }));
    *tree = bind(TARGET, *target, choice);
    Ok(())
}

fn for_each_part<E>(
    expression: &mut IdedExpr,
    f: &mut impl FnMut(&mut IdedExpr) -> Result<(), E>,
) -> Result<(), E> {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Ok(()),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).try_for_each(f),
        Expr::List(list) => list.elements.iter_mut().try_for_each(f),
        Expr::Select(select) => f(&mut select.operand),
        Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => {
            entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                EntryExpr::StructField(field) => f(&mut field.value),
                EntryExpr::MapEntry(member) => {
                    f(&mut member.key)?;
                    f(&mut member.value)
                }
            })
        }
        Expr::Comprehension(all) => {
            let parts = [
                &mut all.iter_range,
                &mut all.accu_init,
                &mut all.loop_cond,
                &mut all.loop_step,
                &mut all.result,
            ];
            parts.into_iter().try_for_each(f)
        }
    }
}

/// The names that an expression may use.
struct Names<'e> {
    variables: &'e [&'e str],
    /// The names that macros around a part bind, such as `c` in `all(c, …)`.
    bound: Vec<&'e str>,
}

impl<'e> Names<'e> {
    fn check(&mut self, expression: &'e IdedExpr) -> Result<(), Problem> {
        if let Some(name) = variable_of(expression).filter(|_| !self.bound.contains(&"variables")) {
            self.check_variable(name)?;
            return match &expression.expr {
                Expr::Select(select) if select.test => Err(Problem::new(
                    format!("`has(variables.{name})` asks for a variable, which always exists"),
                    "remove it",
                )),
                _ => Ok(()),
            };
        }
        match &expression.expr {
            Expr::Ident(name) => self.check_ident(name),
            Expr::Call(call) => {
                let namespace = call.target.as_deref().and_then(|target| match &target.expr {
                    Expr::Ident(name) if NAMESPACES.contains(&name.as_str()) => Some(name),
                    _ => None,
                });
                match (&call.target, namespace) {
                    (_, Some(namespace)) => {
                        check_function(&format!("{namespace}.{}", call.func_name), &GLOBAL)?;
                    }
                    (None, None) => check_function(&call.func_name, &GLOBAL)?,
                    (Some(target), None) => {
                        self.check(target)?;
                        check_function(&call.func_name, &MEMBER)?;
                    }
                }
                check_pattern(&call.func_name, &call.args)?;
                call.args.iter().try_for_each(|part| self.check(part))
            }
            Expr::Comprehension(all) => {
                self.check(&all.iter_range)?;
                let outside = self.bound.len();
                self.bound.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
                self.bound.extend(all.iter_var2.as_deref());
                let inside = [&all.accu_init, &all.loop_cond, &all.loop_step, &all.result];
                let checked = inside.into_iter().try_for_each(|part| self.check(part));
                self.bound.truncate(outside);
                checked
            }
            Expr::Struct(literal) => Err(Problem::new(
                format!("there is no type `{}`", literal.type_name),
                "write a map: `{'name': value}`",
            )),
            _ => parts(expression).into_iter().try_for_each(|part| self.check(part)),
        }
    }

    fn check_variable(&self, name: &str) -> Result<(), Problem> {
        if self.variables.contains(&name) {
            return Ok(());
        }
        let fix = match self.variables {
            [] => format!("add `name: {name}` to `variables`, above the place that uses it"),
            known => format!("{}; a variable may use those above it", suggest(name, known)),
        };
        Err(Problem::new(format!("there is no variable `variables.{name}` here"), fix))
    }

    fn check_ident(&self, name: &str) -> Result<(), Problem> {
        if name == "variables" && !self.bound.contains(&name) {
            return Err(Problem::new(
                "`variables` is no value of its own",
                "write `variables.NAME`, without brackets",
            ));
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        let is_known = plain.starts_with('@')
            || VARIABLES.contains(&plain)
            || TYPES.contains(&plain)
            || self.bound.contains(&plain);
        if is_known {
            return Ok(());
        }
        let fix = match plain {
            "params" => {
                "write the value into the settings, as a variable: there are no parameters".to_owned()
            }
            "authorizer" => "remove it: a policy cannot ask for permissions".to_owned(),
            other if self.variables.contains(&other) => format!("write `variables.{other}`"),
            other => suggest(other, &VARIABLES),
        };
        Err(Problem::new(format!("there is no variable `{plain}`"), fix))
    }
}

fn check_function(name: &str, known: &[&str]) -> Result<(), Problem> {
    // Operators have names such as `_+_`, and `@in` is `in`.
    let is_operator = name.contains('_') && !name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_known = is_operator || name.starts_with('@') || known.contains(&name);
    if is_known {
        return Ok(());
    }
    let fix = if GLOBAL.contains(&name) {
        format!("write `{name}(x)` instead of `x.{name}()`")
    } else if MEMBER.contains(&name) {
        format!("write `x.{name}()` instead of `{name}(x)`")
    } else {
        match suggest(name, known) {
            near if near.starts_with("did") => near,
            _ => "docs/cel.md lists the functions".to_owned(),
        }
    };
    Err(Problem::new(format!("there is no function `{name}`"), fix))
}

/// Checks a regular expression that is written as a literal.
fn check_pattern(function: &str, args: &[IdedExpr]) -> Result<(), Problem> {
    let position = match (function, args.len()) {
        ("matches" | "find", 1) | ("findAll", 1 | 2) => 0,
        ("matches", 2) => 1,
        _ => return Ok(()),
    };
    match args.get(position).map(|arg| &arg.expr) {
        Some(Expr::Literal(LiteralValue::String(pattern))) => {
            compile(pattern.inner()).map(|_| ()).map_err(|problem| {
                let message = format!("`{}` is no regular expression: {problem}", pattern.inner());
                Problem::new(message, "correct it; docs/cel.md has the syntax")
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ::cel::parser::Parser;

    use super::*;

    fn error(text: &str) -> String {
        let problem =
            Expression::parse(text).and_then(|parsed| parsed.check_names(&["one"])).expect_err(text);
        format!("{}; {}", problem.message, problem.fix)
    }

    #[test]
    fn a_syntax_error_names_the_place_the_problem_and_the_fix() {
        for (text, expected) in [
            ("", "expected a CEL expression, found nothing; write one"),
            (
                "object.spec ==",
                "line 1, column 15: mismatched input '<EOF>' expecting expression; correct it after",
            ),
            (
                "has(object.a",
                "line 1, column 13: mismatched input <EOF> expecting ')'; correct it after `has(object.a`",
            ),
            ("a b", "line 1, column 3: mismatched input 'b' expecting <EOF>; correct it after `a `"),
            ("object.x &&\n  (object.y", "line 2, column 12: expected ')'; correct it after `  (object.y`"),
            ("has(object)", "invalid argument to has() macro"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_name_gets_the_one_that_was_meant() {
        for (text, expected) in [
            ("objekt.spec", "there is no variable `objekt`; did you mean `object`?"),
            ("pod.spec", "there is no variable `pod`; write one of `object`"),
            ("variables.on == 1", "there is no variable `variables.on` here; did you mean `one`?"),
            ("one == 1", "there is no variable `one`; write `variables.one`"),
            ("variables['one'] == 1", "`variables` is no value of its own; write `variables.NAME`"),
            ("params.x == 1", "there is no variable `params`; write the value into the settings"),
            ("authorizer.path('/')", "`authorizer`; remove it"),
            ("object.name.startWith('a')", "there is no function `startWith`; did you mean `startsWith`?"),
            ("object.x.size2()", "there is no function `size2`"),
            ("startsWith(object.name, 'a')", "write `x.startsWith()` instead of `startsWith(x)`"),
            ("object.x.int()", "write `int(x)` instead of `x.int()`"),
            ("optional.some(1)", "there is no function `optional.some`"),
            ("object.list.all(c, d > 0)", "there is no variable `d`"),
            ("object.list.all(c, c > 0) && c > 1", "there is no variable `c`"),
            (
                "has(variables.one)",
                "`has(variables.one)` asks for a variable, which always exists; remove it",
            ),
            ("object.?a.optMap(x)", "`optMap` takes a name and an expression"),
            ("object.?a.optFlatMap(1, x)", "`optFlatMap` takes a name first"),
            ("object.?a.optMap(x, y)", "there is no variable `y`"),
            ("Object{metadata: 1}", "there is no type `Object`; write a map"),
            ("object.x.matches('(')", "`(` is no regular expression"),
            ("matches(object.x, '[')", "`[` is no regular expression"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn known_names_pass() {
        for text in [
            "object.metadata.name == oldObject.metadata.name && request.operation == 'CREATE'",
            "namespaceObject.metadata.labels['a'] == 'b' && variables.one",
            "object.list.all(c, c.all(d, d > 0 && c > 0))",
            "type(object.x) == string && object.?x.orValue(optional.none()) == null",
            "sets.intersects(object.a, object.b) || 'a' in object.c || -object.d < 1 || !object.e",
            "object.?a.optMap(x, x.b.all(c, c > 0)).orValue(false)",
            "object.x.matches(object.pattern) && object.`a-b`.size() > 0",
        ] {
            let parsed = Expression::parse(text).expect(text);
            assert_eq!(parsed.check_names(&["one"]), Ok(()), "{text}");
        }
    }

    #[test]
    fn finds_the_variables_that_an_expression_uses() {
        let parsed = Expression::parse("object.list.all(c, c in variables.allowed.names)").expect("is CEL");
        assert!(parsed.mentions("object") && parsed.mentions("variables") && !parsed.mentions("oldObject"));
        assert!(parsed.reads("allowed") && !parsed.reads("names"));
    }

    #[test]
    fn an_expression_that_is_too_long_or_deep_is_refused_and_never_overflows() {
        let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        for text in [
            nested("(", ")", 2000),
            nested("[", "]", 2000),
            nested("1+(", ")", 1000),
            nested("[1].all(x,", ")", 300),
            nested("true?", ":1", 500),
            format!("{}1", "true?1:".repeat(500)),
            format!("1{}", "+1".repeat(2000)),
            format!("object{}", ".a".repeat(2000)),
            format!("object{}.all(x, x)", ".a".repeat(1900)),
            format!("object{}", "[0]".repeat(1300)),
            format!("{}true", "!-".repeat(2000)),
            nested("{1:", "}", 1000),
            nested("f(", ")", 1300),
            nested("(", ")", 29),
        ] {
            let error = error(&text);
            assert!(
                error.contains("levels deep") || error.contains("in one chain"),
                "{}: {error}",
                &text[..20]
            );
        }
        let long = format!("'{}'", "a".repeat(MAX_LENGTH));
        assert!(error(&long).starts_with("expected at most 4096 bytes, found 4098"));
    }

    #[test]
    fn a_chain_of_macros_grows_by_its_length_only() {
        let chain = |n: usize| format!("object.?a{}", ".optMap(x, x)".repeat(n));
        assert!(Expression::parse(&chain(20)).is_ok());
        for n in [30, 60] {
            assert!(
                error(&chain(n)).contains("in one chain") || error(&chain(n)).contains("levels deep"),
                "{n}"
            );
        }
    }

    #[test]
    fn an_expression_of_usual_depth_is_accepted() {
        let chain = (0..40).map(|n| format!("object.a{n} == {n}")).collect::<Vec<_>>().join(" && ");
        let sum = vec!["'a'"; 25].join(" + ");
        let list = format!("object.x in [{}]", vec!["'a.b-c'"; 200].join(", "));
        for text in [
            chain.as_str(),
            sum.as_str(),
            list.as_str(),
            "object.a.all(b, b.c.exists(d, d.e.filter(f, f.g > 1).map(h, h.i).sum() > 3 || has(d.j)))",
            "object.a ? 1 : object.b ? 2 : object.c ? 3 : 4",
        ] {
            assert!(Expression::parse(text).is_ok(), "{text}");
        }
    }

    /// The parser is not the library's default one. So it must make the same trees.
    #[test]
    fn the_parser_agrees_with_the_grammar_of_the_library() {
        fn plain(mut tree: IdedExpr) -> String {
            fn renumber(tree: &mut IdedExpr) -> Result<(), ()> {
                tree.id = 0;
                if let Expr::Map(map) = &mut tree.expr {
                    map.entries.iter_mut().for_each(|entry| entry.id = 0);
                }
                for_each_part(tree, &mut renumber)
            }
            assert_eq!(renumber(&mut tree), Ok(()));
            format!("{tree:?}")
        }
        for text in [
            "object.spec.template.spec.containers.all(c, has(c.image) && c.image.startsWith('a/'))",
            "!has(object.a.b) || object.a.b != 'x' && 1 + 2 * 3 - 4 / 2 % 2 > -7",
            "a ? b : c ? d : e",
            "(a || b) && (c || d) && e || f",
            "[1, 2u, 2.5, 'x', \"y\", b'z', true, null, 0x1F, -3]",
            "{'a': 1, 'b': {'c': [1]}}['b'].c[0] in [1]",
            "a.?b[?0].orValue(r'\\d') == '\\u00e4\\n\\''",
            "a.filter(x, x > 1).map(x, x * 2).exists_one(x, x == 4)",
            "a.map(x, x > 1, x * 2).exists(y, y < 3)",
            "- -a == !(!b) && a.b.c(d, e.f) >= g(h)",
            "'''multi\nline''' + \"a\" // comment",
            "a.namespace == 'x'",
        ] {
            let ours = PrattParser::new().enable_optional_syntax(true).parse(text).expect(text);
            let library = Parser::new().enable_optional_syntax(true).parse(text).expect(text);
            assert_eq!(plain(ours), plain(library), "{text}");
        }
    }
}
