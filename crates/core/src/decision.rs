//! The decision on one review.

mod budget;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::blame::Blame;
use crate::document::{self, Document};
use crate::gate::Reach;
use crate::patch::PatchOperation;
use crate::plan::{Phase, Plan};
use crate::policy::Exclusion;
use crate::policy::{Mode, OnError};
use crate::review::Review;
use crate::verdict::{Denial, DenialCode, Failure, Note, Warning};

/// The decision on one review.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The uid of the request, which the response repeats.
    pub uid: String,
    /// Whether the object is allowed, denied, or neither because a policy failed.
    pub outcome: Outcome,
    /// The merged, minimal patch; empty if nothing changes.
    pub patch: Vec<PatchOperation>,
    /// Warnings for the client, within the API server's size limits.
    pub warnings: Vec<String>,
    /// Audit annotations: a key without a prefix, and the names of policies.
    pub audit: BTreeMap<&'static str, String>,
    /// The object with the patch applied.
    pub object: Arc<Document>,
    /// The result of each policy that applied, in the order in which they ran.
    pub reports: Vec<PolicyReport>,
    /// The policies that did not apply, in order.
    pub skipped: Vec<Skipped>,
    /// The parts of the object that policies could change.
    pub reach: Reach,
}

/// The outcome of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The API server may store the object, with the patch applied.
    Allowed,
    /// An enforced policy denied the object, or failed with `onError: deny`.
    Denied {
        /// The HTTP status: 403 or 422.
        code: u16,
        /// The reasons, for the author of the object.
        message: String,
    },
    /// A policy with `onError: fail` failed to decide. The server answers HTTP 500, so that the webhook's
    /// `failurePolicy` decides.
    Failed {
        /// The party that has to act. [`Blame::status`] maps it to the HTTP status.
        blame: Blame,
        /// The reasons, for the operator. The API server passes them on to the author.
        message: String,
    },
}

/// The result of one policy in one review.
#[derive(Debug, Clone)]
pub struct PolicyReport {
    /// The policy and its module.
    pub plan: Arc<Plan>,
    /// The result.
    pub result: PolicyResult,
    /// How long the evaluation took.
    pub elapsed: Duration,
}

/// A policy that did not apply to a review.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// The policy and its module.
    pub plan: Arc<Plan>,
    /// The part of `spec.match` that excludes the review.
    pub by: Exclusion,
}

/// The result of one policy in one review.
#[derive(Debug, Clone)]
pub enum PolicyResult {
    /// The policy allows the object.
    Allowed {
        /// The changes that the policy made. If its mode is not `enforce`, the object doesn't get them.
        applied: Vec<Applied>,
        /// The number of changes that the closed template gate dropped.
        held_back: usize,
        /// Warnings for the author of the object.
        warnings: Vec<Warning>,
        /// Notes for the report of `wardset review`. An audit annotation names the policy.
        notes: Vec<Note>,
    },
    /// The policy denies the object.
    Denied {
        /// The reasons, at least one.
        denials: Vec<Denial>,
        /// Warnings for the author of the object.
        warnings: Vec<Warning>,
    },
    /// The policy failed to decide.
    Failed(Failure),
}

/// A warning to the author of the object, because of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorWarning<'r> {
    /// The subject of the warning, as a JSON Pointer.
    pub pointer: &'r str,
    /// The message, without the policy's name.
    pub message: String,
}

/// A change that a policy made, or would have made in mode `enforce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The operation.
    pub operation: PatchOperation,
    /// The policy's reason for the change.
    pub reason: String,
}

impl PolicyReport {
    /// Returns the label of the result in metrics, logs and machine output.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match &self.result {
            PolicyResult::Allowed { applied, .. } if applied.is_empty() => "allow",
            PolicyResult::Allowed { .. } => "patch",
            PolicyResult::Denied { .. } => "deny",
            PolicyResult::Failed(_) => "error",
        }
    }

    /// Returns the policy's own warnings; none if it failed.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match &self.result {
            PolicyResult::Allowed { warnings, .. } | PolicyResult::Denied { warnings, .. } => warnings,
            PolicyResult::Failed(_) => &[],
        }
    }

    /// Returns the warnings that the author gets because of the policy: its own, and the effects of `mode: warn` and of
    /// `onError: allow`.
    #[must_use]
    pub fn author_warnings(&self) -> Vec<AuthorWarning<'_>> {
        budget::of_policy(self)
    }

    /// Returns the policy's notes; none if it denied the object or failed.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        match &self.result {
            PolicyResult::Allowed { notes, .. } => notes,
            PolicyResult::Denied { .. } | PolicyResult::Failed(_) => &[],
        }
    }

    /// Returns the changes that the policy made or, unless its mode is `enforce`, would have made.
    #[must_use]
    pub fn applied(&self) -> &[Applied] {
        match &self.result {
            PolicyResult::Allowed { applied, .. } => applied,
            PolicyResult::Denied { .. } | PolicyResult::Failed(_) => &[],
        }
    }
}

impl Outcome {
    /// Returns the label of the outcome in metrics, logs and audit events.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied { .. } => "denied",
            Self::Failed { .. } => "failed",
        }
    }
}

impl Decision {
    pub(crate) fn compose(
        review: &Review,
        phase: Phase,
        reach: Reach,
        object: Arc<Document>,
        reports: Vec<PolicyReport>,
    ) -> Self {
        let outcome = outcome(reports.iter());
        let is_allowed = outcome == Outcome::Allowed;
        Self {
            uid: review.uid.clone(),
            patch: if is_allowed { patch(review, phase, &object) } else { Vec::new() },
            warnings: budget::warnings(&reports),
            audit: budget::audit(&reports, is_allowed),
            outcome,
            object,
            reports,
            skipped: Vec::new(),
            reach,
        }
    }

    /// Allows a denied update whose template the cluster ran before, and turns each denial into a warning. If another policy
    /// failed to decide and its `onError` does not allow the object, the decision stays as it is.
    pub fn allow_rollback(&mut self, review: &Review, phase: Phase, revision: i64) {
        let is_denial = |report: &&PolicyReport| matches!(report.result, PolicyResult::Denied { .. });
        if outcome(self.reports.iter().filter(|report| !is_denial(report))) != Outcome::Allowed {
            return;
        }
        self.outcome = Outcome::Allowed;
        self.patch = patch(review, phase, &self.object);
        let warnings = budget::of_rollback(&self.reports, revision);
        self.warn(warnings);
        self.audit = budget::audit(&self.reports, true);
        if let Some(policies) = self.audit.remove("denied-by") {
            self.audit.insert("allowed-as-rollback", policies);
        }
    }

    /// Whether a policy that applied asks for warnings about the nodes of the DaemonSet. Policies that only observe do not
    /// warn authors.
    #[must_use]
    pub fn wants_placement(&self) -> bool {
        let policies = self.reports.iter().map(|report| &report.plan.policy);
        policies.filter(|policy| policy.mode != Mode::Observe).any(|policy| policy.warn_placement)
    }

    /// Adds warnings of the host, within the API server's size limits.
    pub fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        let all = std::mem::take(&mut self.warnings).into_iter().chain(warnings);
        self.warnings = budget::fit(all.collect());
    }
}

/// Returns the operations that make the object under review `object`. The validating webhook must not change it.
fn patch(review: &Review, phase: Phase, object: &Arc<Document>) -> Vec<PatchOperation> {
    if phase == Phase::Validate || Arc::ptr_eq(&review.object, object) {
        return Vec::new();
    }
    document::diff(&review.object, object)
}

/// Combines the results of all enforced policies.
///
/// A denial wins over a failure, because the failed policy could not have allowed the object either.
fn outcome<'r>(reports: impl Iterator<Item = &'r PolicyReport>) -> Outcome {
    let mut denied = Vec::new();
    let mut failed = Vec::new();
    let mut blame = None;
    let mut code = 422;
    for report in reports.filter(|report| report.plan.policy.mode == Mode::Enforce) {
        let policy = &report.plan.policy;
        match &report.result {
            PolicyResult::Allowed { .. } => {}
            PolicyResult::Denied { denials, .. } => {
                if denials.iter().any(|denial| denial.code == DenialCode::Forbidden) {
                    code = 403;
                }
                denied.extend(denials.iter().map(|denial| budget::denial(&policy.name, denial)));
            }
            PolicyResult::Failed(failure) => {
                let line = format!("policy `{}` could not decide ({failure})", policy.name);
                match policy.on_error {
                    OnError::Allow => {}
                    OnError::Fail => {
                        blame = blame.or(Some(failure.class.blame()));
                        failed.push(budget::line(&line));
                    }
                    OnError::Deny => {
                        code = 403;
                        denied.push(budget::line(&format!("{line}; its `onError` is `deny`")));
                    }
                }
            }
        }
    }
    if !denied.is_empty() {
        Outcome::Denied { code, message: budget::message(&denied) }
    } else if let Some(blame) = blame {
        Outcome::Failed { blame, message: budget::message(&failed) }
    } else {
        Outcome::Allowed
    }
}
