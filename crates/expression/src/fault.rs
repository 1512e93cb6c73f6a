//! The reasons why an evaluation has no result.

use std::fmt;

use super::value::Value;

/// Maximum length of a name or text that a message repeats, in characters.
const MAX_QUOTED: usize = 160;

/// The reason why an expression has no value for the given variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The expression reads a member that is missing.
    Key(String),
    /// A value has another type than expected, or a function refuses it. The text has one line.
    Value(String),
    /// A variable failed.
    Variable {
        /// The variable's name.
        name: String,
        /// Its expression.
        expression: String,
        /// The cause.
        fault: Box<Self>,
    },
    /// The evaluation needs more than this number of steps.
    Steps(u64),
    /// The evaluation builds values of more than this number of bytes.
    Bytes(u64),
}

impl Fault {
    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::Value(message.into())
    }

    /// Returns the fault of operands or arguments of wrong types.
    #[cold]
    pub(super) fn types(function: &str, args: &[Value<'_>]) -> Self {
        let types: Vec<String> = args.iter().map(|arg| format!("`{}`", arg.type_name())).collect();
        Self::Value(format!("`{function}` does not take the types {}", types.join(", ")))
    }

    /// Returns the fault of a variable whose evaluation failed.
    #[must_use]
    pub fn of_variable(self, name: &str, expression: &str) -> Self {
        Self::Variable { name: name.to_owned(), expression: expression.to_owned(), fault: Box::new(self) }
    }

    /// Returns whether the budget is used up. `||`, `&&` and macros never absorb such a fault.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        match self {
            Self::Steps(_) | Self::Bytes(_) => true,
            Self::Variable { fault, .. } => fault.is_exhausted(),
            Self::Key(_) | Self::Value(_) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => {
                let key = short(key);
                write!(f, "no such key `{key}`; ask for it first: ")?;
                if is_field(&key) { write!(f, "`has(….{key})`") } else { write!(f, "`'{key}' in …`") }
            }
            Self::Value(message) => f.write_str(&short(message)),
            Self::Variable { name, expression, fault } => {
                write!(f, "`variables.{name}`: {fault}: `{}`", short(expression))
            }
            Self::Steps(most) => {
                write!(f, "needs more than {most} steps; test cheaper parts first, or split the expression")
            }
            Self::Bytes(most) => {
                write!(f, "builds values of more than {most} bytes; compare parts instead of joining them")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Returns whether a key can follow a dot.
fn is_field(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the beginning of a text, on one line.
pub(super) fn short(text: &str) -> String {
    let mut short = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MAX_QUOTED {
            short.push('…');
            break;
        }
        short.push(if c.is_whitespace() || c.is_control() { ' ' } else { c });
    }
    short
}
