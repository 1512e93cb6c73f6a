//! The chain of policies for one review: a state machine that selects them in order and applies their verdicts.
//!
//! ```text
//! Chain::new(review, context, plans, phase)
//!   while let Some(turn) = chain.turn()      gives the next policy that applies, and the current document
//!       chain.take(turn, result, elapsed)    checks the verdict and applies its changes
//!   chain.finish() ──► Decision
//! ```
//!
//! The runtime drives the chain and supplies the verdicts; a test supplies its own. The chain owns the order, the
//! template gate, the limits of changes and the reports. It never runs a policy itself and never reads a clock.

mod confine;
mod kinds;

pub use confine::{MAX_CHANGES, MAX_MESSAGES};

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Decision, PolicyReport, PolicyResult, Skipped};
use crate::document::Document;
use crate::gate::{Gate, Reach};
use crate::plan::{Phase, Plan};
use crate::policy::Mode;
use crate::review::{Context, Review};
use crate::text;
use crate::verdict::{Failure, FailureClass, MAX_DETAIL, Verdict};

/// An evaluation that the caller of the chain has to perform.
#[derive(Debug)]
pub struct Turn<'p> {
    /// The index of the policy in the plans.
    pub index: usize,
    /// The policy and its module.
    pub plan: &'p Arc<Plan>,
    /// The object after the changes of the previous policies.
    pub document: Arc<Document>,
    /// The state of the template gate, as the policy receives it.
    pub gate: Gate,
}

/// The progress of one review through the policies.
pub struct Chain<'r> {
    review: &'r Review,
    plans: &'r [Arc<Plan>],
    phase: Phase,
    reach: Reach,
    next: usize,
    document: Arc<Document>,
    variables: crate::policy::LazyVariables<'r>,
    reports: Vec<PolicyReport>,
    skipped: Vec<Skipped>,
    selector_matched: OnceCell<bool>,
}

impl<'r> Chain<'r> {
    /// Creates a chain over `plans`, which [`Plan::sort`] has sorted.
    #[must_use]
    pub fn new(review: &'r Review, context: &'r Context, plans: &'r [Arc<Plan>], phase: Phase) -> Self {
        let reach = Reach::of(review);
        Self {
            review,
            plans,
            phase,
            reach,
            next: if matches!(reach, Reach::Nothing(_)) { plans.len() } else { 0 },
            document: Arc::clone(&review.object),
            variables: crate::policy::LazyVariables::new(review, context),
            reports: Vec::with_capacity(plans.len()),
            skipped: Vec::new(),
            selector_matched: OnceCell::new(),
        }
    }

    /// Returns the next policy that applies to the review; `None` after the last one.
    pub fn turn(&mut self) -> Option<Turn<'r>> {
        while let Some(plan) = self.plans.get(self.next) {
            let index = self.next;
            self.next += 1;
            if self.phase == Phase::Validate && plan.manifest.mutates() {
                continue;
            }
            match plan.policy.scope.excludes(&self.variables) {
                Ok(Some(by)) => self.skipped.push(Skipped { plan: Arc::clone(plan), by }),
                Ok(None) => {
                    let gate = self.reach.gate(plan.policy.template);
                    return Some(Turn { index, plan, document: Arc::clone(&self.document), gate });
                }
                Err(mismatch) => {
                    let failure =
                        Failure::new(FailureClass::Match, &text::with_causes(&mismatch, MAX_DETAIL));
                    self.report(plan, PolicyResult::Failed(failure), Duration::ZERO);
                }
            }
        }
        None
    }

    /// Checks the result of a turn, applies its changes and reports it. `elapsed` only goes into the report.
    pub fn take(&mut self, turn: &Turn<'r>, result: Result<Verdict, Failure>, elapsed: Duration) {
        let reported = match result.and_then(|verdict| self.check(turn, verdict)) {
            Ok((reported, document)) => {
                if let (Some(document), Mode::Enforce) = (document, turn.plan.policy.mode) {
                    self.document = Arc::new(document);
                }
                reported
            }
            Err(failure) => PolicyResult::Failed(failure),
        };
        self.report(turn.plan, reported, elapsed);
    }

    /// Returns the decision. Call it after [`Chain::turn`] has returned `None`.
    #[must_use]
    pub fn finish(self) -> Decision {
        Decision {
            skipped: self.skipped,
            ..Decision::compose(self.review, self.phase, self.reach, self.document, self.reports)
        }
    }

    fn report(&mut self, plan: &Arc<Plan>, result: PolicyResult, elapsed: Duration) {
        self.reports.push(PolicyReport { plan: Arc::clone(plan), result, elapsed });
    }
}

#[cfg(test)]
mod tests;
