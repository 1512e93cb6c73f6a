//! From the parser's tree to ours: resolves names, checks the number of arguments, and recognizes macros.

use std::sync::OnceLock;

use ::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators,
};

use super::functions::{self, Function};
use super::limits::{ExpressionLimits, KnownNames};
use super::nesting::too_deep;
use super::node::{Call, Element, Entry, ExprNode, Field, Loop, MacroKind};
use super::operators::BinaryOperator;
use super::problem::{ExpressionProblem, nearest, suggest};
use super::value::{TextValue, Value};

/// Names of types, which an expression compares with `type(x)`.
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint"];

/// The first part of functions' names such as `optional.of`.
const NAMESPACES: [&str; 4] = ["cel", "optional", "sets", "strings"];

/// The variable that has the others as members.
const VARIABLES: &str = "variables";

pub(super) fn compile(
    tree: &IdedExpr,
    limits: ExpressionLimits,
    names: KnownNames<'_>,
) -> Result<ExprNode, ExpressionProblem> {
    Compiler { limits, names, bound: Vec::new(), depth: 0 }.node(tree)
}

struct Compiler<'e, 'n> {
    limits: ExpressionLimits,
    names: KnownNames<'n>,
    /// The names that macros around a part bind, such as `c` in `all(c, …)`.
    bound: Vec<&'e str>,
    depth: usize,
}

type Compiled = Result<ExprNode, ExpressionProblem>;

impl<'e> Compiler<'e, '_> {
    fn node(&mut self, expression: &'e IdedExpr) -> Compiled {
        if self.depth == self.limits.levels {
            return Err(too_deep(self.limits));
        }
        self.depth += 1;
        let node = match &expression.expr {
            Expr::Literal(literal) => Ok(ExprNode::Literal(literal_of(literal))),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(_) => self.select(expression),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(all) => self.comprehension(all),
            Expr::Struct(literal) => Err(ExpressionProblem::new(
                format!("there is no type `{}`", literal.type_name),
                "write a map: `{'name': value}`",
            )),
            Expr::Unspecified => Err(ExpressionProblem::new("the expression is not CEL", "correct it")),
        };
        self.depth -= 1;
        node
    }

    fn boxed(&mut self, expression: &'e IdedExpr) -> Result<Box<ExprNode>, ExpressionProblem> {
        self.node(expression).map(Box::new)
    }

    fn all(&mut self, expressions: &'e [IdedExpr]) -> Result<Vec<ExprNode>, ExpressionProblem> {
        expressions.iter().map(|expression| self.node(expression)).collect()
    }

    /// Compiles a part in which the names are bound.
    fn within<T>(
        &mut self,
        names: &[&'e str],
        part: impl FnOnce(&mut Self) -> Result<T, ExpressionProblem>,
    ) -> Result<T, ExpressionProblem> {
        let outside = self.bound.len();
        self.bound.extend(names);
        let part = part(self);
        self.bound.truncate(outside);
        part
    }

    fn local(&self, name: &str) -> Option<usize> {
        self.bound.iter().rposition(|bound| *bound == name)
    }

    fn ident(&self, name: &str) -> Compiled {
        if let Some(place) = self.local(name) {
            return Ok(ExprNode::Local(place));
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        if self.names.roots.contains(&plain) {
            return Ok(ExprNode::Root(plain.to_owned()));
        }
        if let Some(name) = TYPES.into_iter().find(|known| *known == plain) {
            return Ok(ExprNode::Literal(Value::Type(name)));
        }
        if plain == VARIABLES && self.names.variables.is_some() {
            return Err(ExpressionProblem::new(
                "`variables` is not a value of its own",
                "write `variables.NAME`, without brackets",
            ));
        }
        let fix = match (plain, self.names.variables) {
            ("params", _) => "write the value into the expression: there are no parameters".to_owned(),
            ("authorizer", _) => "remove it: a policy cannot ask for permissions".to_owned(),
            (other, Some(variables)) if variables.contains(&other) => format!("write `variables.{other}`"),
            (other, variables) => {
                let mut known = self.names.roots.to_vec();
                known.extend(variables.map(|_| VARIABLES));
                suggest(other, &known)
            }
        };
        Err(ExpressionProblem::new(format!("there is no variable `{plain}`"), fix))
    }

    /// Compiles `a.b.c` and `has(a.b.c)`: a chain of names is one level.
    fn select(&mut self, expression: &'e IdedExpr) -> Compiled {
        let (mut names, mut operand, mut is_test) = (Vec::new(), expression, false);
        while let Expr::Select(select) = &operand.expr {
            // `has(…)` is not a name, so the chain of names after it ends here.
            if select.test && !names.is_empty() {
                break;
            }
            is_test |= select.test;
            names.push(select.field.as_str());
            operand = &select.operand;
        }
        let is_variable = matches!(&operand.expr, Expr::Ident(name) if name == VARIABLES)
            && self.local(VARIABLES).is_none();
        let operand = match self.names.variables.filter(|_| is_variable) {
            Some(known) => {
                let name = names.pop().unwrap_or_default();
                check_variable(name, known)?;
                if is_test && names.is_empty() {
                    return Err(ExpressionProblem::new(
                        format!("`has(variables.{name})` asks for a variable, which always exists"),
                        "remove it",
                    ));
                }
                ExprNode::Variable(name.to_owned())
            }
            // A name such as `object.spec.template` is one level.
            None => match &operand.expr {
                Expr::Ident(name) => self.ident(name)?,
                _ => self.node(operand)?,
            },
        };
        let mut fields: Vec<Field> = names.into_iter().rev().map(field).collect();
        let tested = if is_test { fields.pop() } else { None };
        let selected = match fields.is_empty() {
            true => operand,
            false => ExprNode::Select { operand: Box::new(operand), fields },
        };
        Ok(match tested {
            Some(field) => ExprNode::Has { operand: Box::new(selected), field },
            None => selected,
        })
    }

    fn list(&mut self, list: &'e ListExpr) -> Compiled {
        let element = |(n, expression): (usize, &'e IdedExpr)| {
            let is_optional = list.optional_indices.contains(&n);
            Ok(Element { value: self.node(expression)?, is_optional })
        };
        list.elements.iter().enumerate().map(element).collect::<Result<_, _>>().map(ExprNode::List)
    }

    fn map(&mut self, map: &'e MapExpr) -> Compiled {
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(ExpressionProblem::new(
                    "the expression is not CEL",
                    "write a map: `{'name': value}`",
                ));
            };
            let (key, value) = (self.node(&entry.key)?, self.node(&entry.value)?);
            entries.push(Entry { key, value, is_optional: entry.optional });
        }
        Ok(ExprNode::Map(entries))
    }

    /// Recognizes the macros that the parser has expanded.
    fn comprehension(&mut self, all: &'e ComprehensionExpr) -> Compiled {
        let step = call_of(&all.loop_step);
        let (kind, condition, body) = match (&all.accu_init.expr, step) {
            (Expr::Literal(LiteralValue::Boolean(_)), Some((operators::LOGICAL_AND, [_, body]))) => {
                (MacroKind::All, None, body)
            }
            (Expr::Literal(LiteralValue::Boolean(_)), Some((operators::LOGICAL_OR, [_, body]))) => {
                (MacroKind::Exists, None, body)
            }
            (Expr::Literal(LiteralValue::Int(_)), Some((operators::CONDITIONAL, [body, _, _]))) => {
                (MacroKind::ExistsOne, None, body)
            }
            (Expr::List(_), Some((operators::ADD, [_, list]))) => (MacroKind::List, None, only(list)?),
            (Expr::List(_), Some((operators::CONDITIONAL, [condition, append, _]))) => {
                let Some((_, [_, list])) = call_of(append) else { return Err(unknown_macro()) };
                (MacroKind::List, Some(condition), only(list)?)
            }
            _ => return Err(unknown_macro()),
        };
        self.repeat(kind, &all.iter_range, &[all.iter_var.as_str()], condition, body)
    }

    fn repeat(
        &mut self,
        kind: MacroKind,
        range: &'e IdedExpr,
        names: &[&'e str],
        condition: Option<&'e IdedExpr>,
        body: &'e IdedExpr,
    ) -> Compiled {
        let range = self.node(range)?;
        self.within(names, |inside| {
            let condition = condition.map(|condition| inside.node(condition)).transpose()?;
            let body = inside.node(body)?;
            let has_two = names.len() == 2;
            Ok(ExprNode::Loop(Box::new(Loop { kind, range, has_two, condition, body })))
        })
    }

    fn call(&mut self, call: &'e CallExpr) -> Compiled {
        let name = call.func_name.as_str();
        let args = call.args.as_slice();
        let Some(target) = call.target.as_deref() else {
            return match self.operator(name, args)? {
                Some(node) => Ok(node),
                None => self.function(name, None, args),
            };
        };
        if let Expr::Ident(namespace) = &target.expr
            && NAMESPACES.contains(&namespace.as_str())
            && self.local(namespace).is_none()
        {
            let name = format!("{namespace}.{name}");
            return if name == "cel.bind" { self.bind(args) } else { self.function(&name, None, args) };
        }
        match self.member_macro(name, target, args)? {
            Some(node) => Ok(node),
            None => self.function(name, Some(target), args),
        }
    }

    fn operator(&mut self, name: &str, args: &'e [IdedExpr]) -> Result<Option<ExprNode>, ExpressionProblem> {
        Ok(Some(match (name, args) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                ExprNode::Conditional(Box::new([self.node(condition)?, self.node(yes)?, self.node(no)?]))
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => ExprNode::Logical {
                or: name == operators::LOGICAL_OR,
                left: self.boxed(left)?,
                right: self.boxed(right)?,
            },
            (operators::LOGICAL_NOT, [operand]) => ExprNode::Not(self.boxed(operand)?),
            (operators::NEGATE, [operand]) => ExprNode::Negate(self.boxed(operand)?),
            (operators::INDEX | operators::OPT_INDEX, [operand, key]) => ExprNode::Index {
                operand: self.boxed(operand)?,
                key: self.boxed(key)?,
                is_optional: name == operators::OPT_INDEX,
            },
            (operators::OPT_SELECT, [operand, name]) => {
                let Expr::Literal(LiteralValue::String(name)) = &name.expr else { return Ok(None) };
                ExprNode::OptionalSelect { operand: self.boxed(operand)?, field: field(name.inner()) }
            }
            (name, [left, right]) => match BinaryOperator::named(name) {
                Some(operator) => {
                    ExprNode::Operation { operator, sides: Box::new([self.node(left)?, self.node(right)?]) }
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// Compiles the macros that the parser does not know.
    fn member_macro(
        &mut self,
        name: &str,
        target: &'e IdedExpr,
        args: &'e [IdedExpr],
    ) -> Result<Option<ExprNode>, ExpressionProblem> {
        let kind = match name {
            "optMap" | "optFlatMap" => return self.optional_map(name, target, args).map(Some),
            "or" | "orValue" => {
                let [other] = args else { return Ok(None) };
                let (target, other) = (self.boxed(target)?, self.boxed(other)?);
                return Ok(Some(ExprNode::Otherwise { target, other, is_value: name == "orValue" }));
            }
            "all" => MacroKind::All,
            "exists" => MacroKind::Exists,
            "exists_one" | "existsOne" => MacroKind::ExistsOne,
            "transformList" => MacroKind::List,
            "transformMap" => MacroKind::Map,
            "map" | "filter" => {
                let usage = if name == "map" {
                    "x.map(v, e)` or `x.map(v, condition, e)"
                } else {
                    "x.filter(v, condition)"
                };
                return Err(ExpressionProblem::new(
                    format!("`{name}` takes a name and an expression"),
                    format!("write it as in `{usage}`"),
                ));
            }
            _ => return Ok(None),
        };
        let usage = || {
            let fix = match kind {
                MacroKind::List | MacroKind::Map => format!("write it as in `x.{name}(i, v, e)`"),
                _ => format!("write it as in `x.{name}(v, condition)` or `x.{name}(i, v, condition)`"),
            };
            ExpressionProblem::new(format!("`{name}` takes one or two names and an expression"), fix)
        };
        let (names, condition, body) = match (kind, args) {
            (MacroKind::List | MacroKind::Map, [a, b, condition, body]) => ([a, b], Some(condition), body),
            (_, [a, b, body]) => ([a, b], None, body),
            _ => return Err(usage()),
        };
        let [Expr::Ident(a), Expr::Ident(b)] = names.map(|name| &name.expr) else { return Err(usage()) };
        if a == b {
            return Err(ExpressionProblem::new(
                format!("`{name}` has the name `{a}` twice"),
                "write two names",
            ));
        }
        self.repeat(kind, target, &[a.as_str(), b.as_str()], condition, body).map(Some)
    }

    fn optional_map(&mut self, name: &str, target: &'e IdedExpr, args: &'e [IdedExpr]) -> Compiled {
        let usage = |expected: &str| {
            ExpressionProblem::new(
                format!("`{name}` takes a name {expected}"),
                format!("write it as in `a.?b.{name}(x, x + 1)`"),
            )
        };
        let [variable, body] = args else { return Err(usage("and an expression")) };
        let Expr::Ident(variable) = &variable.expr else { return Err(usage("first")) };
        let target = self.boxed(target)?;
        let body = self.within(&[variable.as_str()], |inside| inside.boxed(body))?;
        Ok(ExprNode::OptionalMap { target, body, is_flat: name == "optFlatMap" })
    }

    fn bind(&mut self, args: &'e [IdedExpr]) -> Compiled {
        let [IdedExpr { expr: Expr::Ident(variable), .. }, value, body] = args else {
            return Err(ExpressionProblem::new(
                "`cel.bind` takes a name, a value and an expression",
                "write it as in `cel.bind(x, object.spec, x.a == x.b)`",
            ));
        };
        let value = self.boxed(value)?;
        let body = self.within(&[variable.as_str()], |inside| inside.boxed(body))?;
        Ok(ExprNode::Bind { value, body })
    }

    fn function(&mut self, name: &str, target: Option<&'e IdedExpr>, args: &'e [IdedExpr]) -> Compiled {
        let is_member = target.is_some();
        // The target is checked first, because it comes first in the text.
        let mut values = Vec::with_capacity(args.len() + 1);
        if let Some(target) = target {
            values.push(self.node(target)?);
        }
        let function = functions::find(name, is_member).ok_or_else(|| no_function(name, is_member))?;
        function.check_arity(args.len())?;
        values.extend(self.all(args)?);
        Ok(ExprNode::Call(Call { function, args: values, pattern: OnceLock::new() }))
    }
}

fn call_of(expression: &IdedExpr) -> Option<(&str, &[IdedExpr])> {
    match &expression.expr {
        Expr::Call(call) => Some((call.func_name.as_str(), call.args.as_slice())),
        _ => None,
    }
}

/// Returns the element of `[x]`, which the parser's macros append.
fn only(list: &IdedExpr) -> Result<&IdedExpr, ExpressionProblem> {
    match &list.expr {
        Expr::List(ListExpr { elements, .. }) => elements.first().ok_or_else(unknown_macro),
        _ => Err(unknown_macro()),
    }
}

fn unknown_macro() -> ExpressionProblem {
    ExpressionProblem::new("the expression uses an unknown macro", "docs/cel.md lists the macros")
}

fn check_variable(name: &str, known: &[&str]) -> Result<(), ExpressionProblem> {
    if known.contains(&name) {
        return Ok(());
    }
    let fix = match known {
        [] => format!("add `name: {name}` to `variables`, above the place that uses it"),
        known => format!("{}; a variable may use those above it", suggest(name, known)),
    };
    Err(ExpressionProblem::new(format!("there is no variable `variables.{name}` here"), fix))
}

fn no_function(name: &str, is_member: bool) -> ExpressionProblem {
    let fix = match functions::find(name, !is_member) {
        Some(Function { usage, .. }) => format!("write `{usage}`"),
        None => match nearest(name, functions::names(is_member)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "docs/cel.md lists the functions".to_owned(),
        },
    };
    ExpressionProblem::new(format!("there is no function `{name}`"), fix)
}

fn literal_of(literal: &LiteralValue) -> Value<'static> {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::UInt(value) => Value::Uint(*value.inner()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::String(text) => Value::String(TextValue::Shared(text.inner().into())),
        LiteralValue::Bytes(bytes) => Value::Bytes(bytes.inner().into()),
        LiteralValue::Null => Value::Null,
    }
}

fn field(name: &str) -> Field {
    let unescaped = name.contains("__").then(|| unescape(name)).filter(|plain| plain != name);
    Field { name: name.to_owned(), unescaped }
}

/// Undoes the escapes of field names in ValidatingAdmissionPolicies: `__dash__` is `-`, `__namespace__` is `namespace`.
fn unescape(name: &str) -> String {
    const ESCAPES: [(&str, &str); 4] =
        [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__")];
    let word = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| RESERVED.contains(word)) {
        return word.to_owned();
    }
    let (mut plain, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(next) = rest.chars().next() {
        match ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, text)) => {
                plain.push_str(text);
                rest = &rest[escape.len()..];
            }
            None => {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    plain
}

/// The words that CEL reserves.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
];
