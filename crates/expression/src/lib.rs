//! CEL, the expression language of Kubernetes, within a budget of steps.
//!
//! ```text
//! text ─► nesting (limits) ─► parser of crate `cel` ─► compile (names, arity) ─► Expression
//!                                                                                │ evaluate
//! JSON ─► Value ─► Variables ────────────────────────────────────────────────────┴─► Value | Fault
//!                                                            Meter: steps, bytes built
//! ```
//!
//! The host evaluates the conditions of policies with it, and the module `cel` its rules. So both have the same functions
//! and results. The module has these sources as a linked folder, so files refer to each other by `super`.
//!
//! An evaluation depends on nothing but the expression, the variables and the budget. It reads no clock. Each step, and
//! each byte that it builds or compares, uses up a part of the budget, so each evaluation ends.

mod compare;
mod compile;
mod evaluate;
mod fault;
mod format;
mod functions;
mod json;
mod limits;
mod meter;
mod nesting;
mod node;
mod operators;
mod pattern;
mod problem;
mod program;
mod quantity;
mod value;

#[cfg(test)]
mod tests;

pub use evaluate::Variables;
pub use fault::Fault;
pub use json::to_json;
pub use limits::{ExpressionLimits, KnownNames};
pub use meter::{Meter, StepBudget};
pub use problem::ExpressionProblem;
pub use program::Expression;
pub use quantity::Quantity;
pub use value::{Map, TextValue, Value, list_of, map_of};
