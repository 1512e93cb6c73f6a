//! The nesting of an expression, before it is parsed.

use ::cel::parser::pratt_parser::{Lexer, TokenKind};

use super::limits::ExpressionLimits;
use super::problem::ExpressionProblem;

pub(super) fn too_deep(limits: ExpressionLimits) -> ExpressionProblem {
    ExpressionProblem::new(
        format!("the expression nests more than {} levels deep", limits.levels),
        limits.advice,
    )
}

/// Refuses an expression that the parser would nest too deeply.
///
/// The parser nests at each opening bracket and at each `?:`. A chain of operators, members and indexes makes a tree
/// that is as deep as the chain is long.
pub(super) fn limit_nesting(text: &str, limits: ExpressionLimits) -> Result<(), ExpressionProblem> {
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
            // `.?`, `[?`, `{?` and `, ?` belong to the optional syntax.
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
            // The parser makes a balanced tree of these.
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
        if levels.len() + conditions > limits.levels {
            return Err(too_deep(limits));
        }
        if levels.last().is_some_and(|level| level.links > limits.chain) {
            let message =
                format!("the expression has more than {} operators or members in one chain", limits.chain);
            return Err(ExpressionProblem::new(message, limits.advice));
        }
        last = kind;
    }
}
