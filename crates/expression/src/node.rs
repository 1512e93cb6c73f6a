//! The tree of an expression: names are resolved, and macros are nodes of their own.

use std::sync::OnceLock;

use super::functions::Function;
use super::operators::BinaryOperator;
use super::pattern::Pattern;
use super::value::Value;

#[derive(Debug)]
pub(super) enum ExprNode {
    Literal(Value<'static>),
    /// A variable of the caller, such as `object`.
    Root(String),
    /// `variables.NAME`.
    Variable(String),
    /// A variable that a macro binds, by its position among the bound variables around it.
    Local(usize),
    /// `operand.a.b`.
    Select {
        operand: Box<ExprNode>,
        fields: Vec<Field>,
    },
    /// `operand.?a`.
    OptionalSelect {
        operand: Box<ExprNode>,
        field: Field,
    },
    /// `has(operand.a)`.
    Has {
        operand: Box<ExprNode>,
        field: Field,
    },
    /// `operand[key]` or `operand[?key]`.
    Index {
        operand: Box<ExprNode>,
        key: Box<ExprNode>,
        is_optional: bool,
    },
    Not(Box<ExprNode>),
    Negate(Box<ExprNode>),
    Logical {
        or: bool,
        left: Box<ExprNode>,
        right: Box<ExprNode>,
    },
    Conditional(Box<[ExprNode; 3]>),
    Operation {
        operator: BinaryOperator,
        sides: Box<[ExprNode; 2]>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Call(Call),
    /// `target.or(other)` or `target.orValue(other)`. `other` is evaluated only if the target has no value.
    Otherwise {
        target: Box<ExprNode>,
        other: Box<ExprNode>,
        is_value: bool,
    },
    Loop(Box<Loop>),
    /// `target.optMap(v, body)` or `target.optFlatMap(v, body)`.
    OptionalMap {
        target: Box<ExprNode>,
        body: Box<ExprNode>,
        is_flat: bool,
    },
    /// `cel.bind(v, value, body)`.
    Bind {
        value: Box<ExprNode>,
        body: Box<ExprNode>,
    },
}

/// A name after a dot.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// The name without escapes such as `__dash__`, if it has any.
    pub(super) unescaped: Option<String>,
}

/// An element of a list. The element of `[?x]` may be missing.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) value: ExprNode,
    pub(super) is_optional: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ExprNode,
    pub(super) value: ExprNode,
    pub(super) is_optional: bool,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static Function,
    /// The target, if the function is a member, and the arguments.
    pub(super) args: Vec<ExprNode>,
    /// The regular expression, if it is a literal: compiled once.
    pub(super) pattern: OnceLock<Pattern>,
}

/// A macro over the elements of a list, or the keys of a map.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: MacroKind,
    pub(super) range: ExprNode,
    /// Whether the body has two variables: index and element, or key and value.
    pub(super) has_two: bool,
    /// The condition of `map(x, condition, body)` and `filter`.
    pub(super) condition: Option<ExprNode>,
    pub(super) body: ExprNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, `filter` and `transformList`.
    List,
    /// `transformMap`.
    Map,
}

impl ExprNode {
    /// Calls `f` with each part of the node.
    pub(super) fn for_each_part<'n>(&'n self, f: &mut impl FnMut(&'n ExprNode)) {
        match self {
            Self::Literal(_) | Self::Root(_) | Self::Variable(_) | Self::Local(_) => {}
            Self::Select { operand, .. }
            | Self::OptionalSelect { operand, .. }
            | Self::Has { operand, .. }
            | Self::Not(operand)
            | Self::Negate(operand) => f(operand),
            Self::Index { operand: a, key: b, .. }
            | Self::Logical { left: a, right: b, .. }
            | Self::Otherwise { target: a, other: b, .. }
            | Self::OptionalMap { target: a, body: b, .. }
            | Self::Bind { value: a, body: b } => {
                f(a);
                f(b);
            }
            Self::Conditional(parts) => parts.iter().for_each(f),
            Self::Operation { sides, .. } => sides.iter().for_each(f),
            Self::List(elements) => elements.iter().for_each(|element| f(&element.value)),
            Self::Map(entries) => entries.iter().for_each(|entry| {
                f(&entry.key);
                f(&entry.value);
            }),
            Self::Call(call) => call.args.iter().for_each(f),
            Self::Loop(all) => {
                f(&all.range);
                all.condition.iter().for_each(&mut *f);
                f(&all.body);
            }
        }
    }
}
