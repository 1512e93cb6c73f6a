//! Limits of expressions, and the names that they may use.

/// Limits of an expression. The parser and the evaluation use stack frames for each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpressionLimits {
    /// Maximum length of the text, in bytes.
    pub length: usize,
    /// Maximum nesting of brackets, of conditions and of the evaluation, in levels.
    pub levels: usize,
    /// Maximum number of links in one chain such as `a.b[0] + c`.
    pub chain: usize,
    /// The advice to the author of a larger expression.
    pub advice: &'static str,
}

/// The names that an expression may use.
#[derive(Clone, Copy, Debug)]
pub struct KnownNames<'n> {
    /// The variables, such as `object`.
    pub roots: &'n [&'n str],
    /// The names that may follow `variables.`; `None` if there is no such variable.
    pub variables: Option<&'n [&'n str]>,
}
