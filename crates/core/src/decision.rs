//! The chain's answer to one review, and the AdmissionReview that carries it back.

mod budget;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde::Serialize;

use crate::blame::Blame;
use crate::chain::{Phase, Plan};
use crate::document::{self, Document};
use crate::patch::{self, Operation};
use crate::policy::{Mode, OnError};
use crate::review::{API_VERSION, Reach, Review};
use crate::verdict::{Denial, DenialCode, Failure, Note, Warning};

/// The decision on one review.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Echoed from the review.
    pub uid: String,
    /// Yes, no, or not decided.
    pub outcome: Outcome,
    /// The merged, minimal patch; empty if nothing changes.
    pub patch: Vec<Operation>,
    /// Within the API server's limits, ready to send.
    pub warnings: Vec<String>,
    /// Short facts for the audit log, without a prefix.
    pub audit: BTreeMap<&'static str, String>,
    /// The object with the patch applied.
    pub object: Arc<Document>,
    /// The result of each policy that applied, in order.
    pub reports: Vec<PolicyReport>,
    /// The parts of the object that policies could change.
    pub reach: Reach,
}

/// Yes, no, or not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object may be stored, with the patch.
    Allowed,
    /// The object is refused.
    Denied {
        /// 403 or 422.
        code: u16,
        /// For the author.
        message: String,
    },
    /// A policy with `onError: fail` could not decide: HTTP 500, and the webhook's `failurePolicy` decides.
    Failed {
        /// Who has to act, which gives the status.
        blame: Blame,
        /// For the operator; the API server passes it on to the author.
        message: String,
    },
}

/// The result of one policy in one review.
#[derive(Debug, Clone)]
pub struct PolicyReport {
    /// The policy.
    pub plan: Arc<Plan>,
    /// The result.
    pub result: PolicyResult,
    /// How long the evaluation took.
    pub elapsed: Duration,
}

/// The result of one policy's turn.
#[derive(Debug, Clone)]
pub enum PolicyResult {
    /// The policy has no objection.
    Allowed {
        /// The changes that it made, or would have made in another mode.
        applied: Vec<Applied>,
        /// How many changes of the template the gate held back.
        held_back: usize,
        /// For the author.
        warnings: Vec<Warning>,
        /// For the report. The audit annotation names the policy.
        notes: Vec<Note>,
    },
    /// The policy objects.
    Denied {
        /// Why; at least one.
        denials: Vec<Denial>,
        /// For the author.
        warnings: Vec<Warning>,
    },
    /// The policy could not decide.
    Failed(Failure),
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The operation.
    pub operation: Operation,
    /// Why.
    pub reason: String,
}

impl PolicyReport {
    /// The word for metrics, logs and machine output.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match &self.result {
            PolicyResult::Allowed { applied, .. } if applied.is_empty() => "allow",
            PolicyResult::Allowed { .. } => "patch",
            PolicyResult::Denied { .. } => "deny",
            PolicyResult::Failed(_) => "error",
        }
    }

    /// The policy's own warnings.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match &self.result {
            PolicyResult::Allowed { warnings, .. } | PolicyResult::Denied { warnings, .. } => warnings,
            PolicyResult::Failed(_) => &[],
        }
    }

    /// Returns the notes of a policy that has no objection.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        match &self.result {
            PolicyResult::Allowed { notes, .. } => notes,
            PolicyResult::Denied { .. } | PolicyResult::Failed(_) => &[],
        }
    }

    /// The changes that the policy made or, in another mode than `enforce`, would have made.
    #[must_use]
    pub fn applied(&self) -> &[Applied] {
        match &self.result {
            PolicyResult::Allowed { applied, .. } => applied,
            PolicyResult::Denied { .. } | PolicyResult::Failed(_) => &[],
        }
    }
}

impl Outcome {
    /// The word for metrics, logs and audit.
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
        let outcome = outcome(&reports);
        let changed =
            phase == Phase::Mutate && outcome == Outcome::Allowed && !Arc::ptr_eq(&review.object, &object);
        Self {
            uid: review.uid.clone(),
            patch: if changed { document::diff(&review.object, &object) } else { Vec::new() },
            warnings: budget::warnings(&reports),
            audit: budget::audit(&reports, outcome == Outcome::Allowed),
            outcome,
            object,
            reports,
            reach,
        }
    }

    /// Returns the decision as an AdmissionReview; `None` if the outcome is [`Outcome::Failed`], which an
    /// AdmissionReview cannot express.
    #[must_use]
    pub fn to_admission_review(&self) -> Option<Vec<u8>> {
        let (allowed, status) = match &self.outcome {
            Outcome::Allowed => (true, None),
            Outcome::Denied { code, message } => {
                let reason = if *code == 422 { "Invalid" } else { "Forbidden" };
                (false, Some(Status { code: *code, reason, message }))
            }
            Outcome::Failed { .. } => return None,
        };
        let patch = (!self.patch.is_empty())
            .then(|| base64::engine::general_purpose::STANDARD.encode(patch::to_json(&self.patch)));
        Some(answer(&Response {
            uid: &self.uid,
            allowed,
            status,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings: &self.warnings,
            audit_annotations: Some(&self.audit).filter(|audit| !audit.is_empty()),
        }))
    }
}

/// The answer to a request that there is nothing to decide on: yes.
#[must_use]
pub fn passed_over(uid: &str) -> Vec<u8> {
    bare(uid, None)
}

/// The answer to a request for an object that makes no sense: no, with the status 422.
#[must_use]
pub fn refused(uid: &str, message: &str) -> Vec<u8> {
    bare(uid, Some(Status { code: 422, reason: "Invalid", message }))
}

fn bare(uid: &str, status: Option<Status<'_>>) -> Vec<u8> {
    answer(&Response {
        uid,
        allowed: status.is_none(),
        status,
        patch_type: None,
        patch: None,
        warnings: &[],
        audit_annotations: None,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<&'a BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

fn answer(response: &Response<'_>) -> Vec<u8> {
    let answer = Answer { api_version: API_VERSION, kind: "AdmissionReview", response };
    // Strings, numbers and a map with string keys: serialisation can't fail.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// A denial wins over a failure: the failing policy could not have saved the object.
fn outcome(reports: &[PolicyReport]) -> Outcome {
    let mut denied = Vec::new();
    let mut failed = Vec::new();
    let mut blame = None;
    let mut code = 422;
    for report in reports.iter().filter(|report| report.plan.policy.mode == Mode::Enforce) {
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
