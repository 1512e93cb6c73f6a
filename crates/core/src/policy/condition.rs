//! CEL conditions, the `matchConditions` of a policy.

use std::fmt;
use std::sync::Arc;

use wardset_expression::{
    Expression, ExpressionLimits, ExpressionProblem, Fault, KnownNames, Meter, StepBudget, Value, Variables,
};

use super::NamedExpression;

/// Limits of an expression. A thread of the server has stack for more levels.
const LIMITS: ExpressionLimits =
    ExpressionLimits { length: 4096, levels: 100, chain: 100, advice: "split it into several conditions" };

/// The budget of all conditions of a policy together. A review holds a thread while it evaluates them, and no deadline
/// interrupts it.
pub(super) const BUDGET: StepBudget = StepBudget::EXPRESSION;

/// The variables that a condition may use.
const VARIABLES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];

/// A parsed condition.
#[derive(Clone)]
pub struct Condition {
    name: Arc<str>,
    expression: Arc<Expression>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The reason why a condition is invalid, or gave neither true nor false.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// The expression is refused.
    #[error("condition `{name}`: {message}; {fix}")]
    Refused {
        /// The condition.
        name: String,
        /// The problem.
        message: String,
        /// The step to take.
        fix: String,
    },
    /// The expression could not be evaluated on this review.
    #[error("condition `{name}` could not be evaluated")]
    Execution {
        /// The condition.
        name: String,
        /// The cause.
        source: Fault,
    },
    /// The evaluation needs more than its budget.
    #[error("condition `{name}` {fault}; all conditions of a policy share this budget")]
    Exhausted {
        /// The condition.
        name: String,
        /// The limit.
        fault: Fault,
    },
    /// The result of the expression is not a boolean.
    #[error("condition `{name}`: expected true or false, found `{found}`")]
    NotBool {
        /// The condition.
        name: String,
        /// The type that was found.
        found: String,
    },
}

impl TryFrom<NamedExpression> for Condition {
    type Error = ConditionError;

    fn try_from(typed: NamedExpression) -> Result<Self, ConditionError> {
        let NamedExpression { name, expression } = typed;
        let parsed =
            Expression::parse(&expression, LIMITS, KnownNames { roots: &VARIABLES, variables: None })
                .and_then(|parsed| parsed.check_patterns().map(|()| parsed));
        match parsed {
            Ok(parsed) => Ok(Self { name: name.into(), expression: Arc::new(parsed) }),
            Err(ExpressionProblem { message, fix }) => Err(ConditionError::Refused { name, message, fix }),
        }
    }
}

impl Condition {
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whether the condition mentions `namespaceObject`.
    pub(super) fn looks_at_namespace(&self) -> bool {
        self.expression.mentions("namespaceObject")
    }

    /// Evaluates the condition, within the budget of the meter.
    pub(super) fn holds(&self, variables: &Variables<'_>, meter: &mut Meter) -> Result<bool, ConditionError> {
        let name = || self.name.to_string();
        match self.expression.evaluate(variables, meter) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ConditionError::NotBool { name: name(), found: other.type_name().to_owned() }),
            Err(fault) if fault.is_exhausted() => Err(ConditionError::Exhausted { name: name(), fault }),
            Err(source) => Err(ConditionError::Execution { name: name(), source }),
        }
    }
}
