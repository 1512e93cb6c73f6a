//! Limits of expressions, and the names that they may use.

/// Limits of an expression. Parser and evaluation use stack frames for each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpressionLimits {
    /// Bytes.
    pub length: usize,
    /// Levels of brackets, of conditions, and of the evaluation.
    pub levels: usize,
    /// Links of one chain such as `a.b[0] + c`.
    pub chain: usize,
    /// The advice to the author of a larger expression.
    pub advice: &'static str,
}

/// The names that an expression may use.
#[derive(Clone, Copy, Debug)]
pub struct KnownNames<'n> {
    /// The variables, such as `object`.
    pub roots: &'n [&'n str],
    /// The names that may follow `variables.`; none if there is no `variables`.
    pub variables: Option<&'n [&'n str]>,
}
