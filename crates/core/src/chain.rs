//! The policies that apply to a review, in order, as a state machine that never runs a policy itself.
//!
//! ```text
//! Chain::new(review, plans, phase)
//!   while let Some(turn) = chain.turn()      the next policy that applies, and the current document
//!       chain.take(turn, result, elapsed)    verdict checked, changes confined and applied
//!   chain.finish() ──► Decision
//! ```
//!
//! The runtime drives it and brings the verdicts; a test brings its own. The chain owns the order, the gate, the
//! confinement of changes and the record of each policy's result. It never reads a clock.

mod confine;
mod kinds;

pub use confine::{MAX_CHANGES, MAX_MESSAGES};

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Decision, PolicyReport, PolicyResult};
use crate::document::Document;
use crate::manifest::Manifest;
use crate::policy::{Mode, Policy, TemplateRule};
use crate::review::{Reach, Review};
use crate::text;
use crate::verdict::{Failure, FailureClass, MAX_DETAIL, Verdict};

/// A policy and its module's manifest.
#[derive(Debug)]
pub struct Plan {
    /// The policy.
    pub policy: Policy,
    /// The module's manifest.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of the module, in hexadecimal.
    pub digest: String,
}

impl Plan {
    /// Puts plans into the order in which a chain runs them: policies that change objects by `order` and name, then
    /// those that only validate, so that these see the object as it will be.
    pub fn sort(plans: &mut [Arc<Self>]) {
        let key =
            |plan: &Arc<Self>| (!plan.manifest.mutates(), plan.policy.order, Arc::clone(&plan.policy.name));
        plans.sort_by_key(key);
    }
}

/// Which of the two webhooks asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All policies; the answer may carry a patch.
    Mutate,
    /// The validating policies, on the object as all webhooks left it; the answer never carries a patch.
    Validate,
}

/// Whether changes to the template count for one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// They are dropped.
    Closed,
}

/// A policy whose turn it is.
#[derive(Debug)]
pub struct Turn<'p> {
    /// Its place among the plans.
    pub index: usize,
    /// The policy.
    pub plan: &'p Arc<Plan>,
    /// The object as the policies before left it.
    pub document: Arc<Document>,
    /// The state of the template gate, as the policy receives it.
    pub gate: Gate,
}

/// One review on its way through the policies.
pub struct Chain<'r> {
    review: &'r Review,
    plans: &'r [Arc<Plan>],
    phase: Phase,
    reach: Reach,
    next: usize,
    document: Arc<Document>,
    /// The document before the last change. Nobody else holds it by the next one, whose copy takes its buffers: they are
    /// still in the cache.
    former: Option<Arc<Document>>,
    variables: crate::policy::LazyVariables<'r>,
    reports: Vec<PolicyReport>,
    selector_matched: OnceCell<bool>,
}

impl<'r> Chain<'r> {
    /// A chain over `plans`, which [`Plan::sort`] has put in order.
    #[must_use]
    pub fn new(review: &'r Review, plans: &'r [Arc<Plan>], phase: Phase) -> Self {
        let reach = review.reach();
        Self {
            review,
            plans,
            phase,
            reach,
            next: if matches!(reach, Reach::Nothing(_)) { plans.len() } else { 0 },
            document: Arc::clone(&review.object),
            former: None,
            variables: crate::policy::LazyVariables::new(review),
            reports: Vec::with_capacity(plans.len()),
            selector_matched: OnceCell::new(),
        }
    }

    /// The next policy that applies to the review; none when all had their turn.
    pub fn turn(&mut self) -> Option<Turn<'r>> {
        while let Some(plan) = self.plans.get(self.next) {
            let index = self.next;
            self.next += 1;
            if self.phase == Phase::Validate && plan.manifest.mutates() {
                continue;
            }
            match plan.policy.scope.applies(self.review, &self.variables) {
                Ok(false) => {}
                Ok(true) => {
                    let gate = self.gate(&plan.policy);
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

    /// Takes the result of a turn. `elapsed` is only passed on to the report.
    pub fn take(&mut self, turn: &Turn<'r>, result: Result<Verdict, Failure>, elapsed: Duration) {
        let mut buffers = self.former.take().and_then(|document| Arc::try_unwrap(document).ok());
        let reported = match result.and_then(|verdict| self.check(turn, verdict, &mut buffers)) {
            Ok((reported, document)) => {
                if let (Some(document), Mode::Enforce) = (document, turn.plan.policy.mode) {
                    self.former = Some(std::mem::replace(&mut self.document, Arc::new(document)));
                }
                reported
            }
            Err(failure) => PolicyResult::Failed(failure),
        };
        self.report(turn.plan, reported, elapsed);
    }

    /// The decision, once [`Chain::turn`] gave none.
    #[must_use]
    pub fn finish(self) -> Decision {
        Decision::compose(self.review, self.phase, self.reach, self.document, self.reports)
    }

    fn gate(&self, policy: &Policy) -> Gate {
        match (self.reach, policy.template) {
            (Reach::Everything, _) | (_, TemplateRule::Always) => Gate::Open,
            _ => Gate::Closed,
        }
    }

    fn report(&mut self, plan: &Arc<Plan>, result: PolicyResult, elapsed: Duration) {
        self.reports.push(PolicyReport { plan: Arc::clone(plan), result, elapsed });
    }
}

#[cfg(test)]
mod tests;
