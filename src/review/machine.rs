//! Decisions for programs: JSON, YAML, patches.

use serde::Serialize;
use serde_json::value::RawValue;
use wardset_core::decision::{Applied, Outcome, Result as Reported};
use wardset_core::document::Document;
use wardset_core::patch;
use wardset_core::policy::Mode;
use wardset_core::review::Operation;
use wardset_core::verdict;

use super::Reviewed;
use super::text::finding;
use crate::yaml;

/// One decision, in the shape that `-o json` prints.
#[derive(Serialize)]
pub struct Report {
    namespace: String,
    name: String,
    operation: Operation,
    file: String,
    allowed: bool,
    code: u16,
    message: String,
    warnings: Vec<String>,
    patch: Box<RawValue>,
    object: Box<RawValue>,
    policies: Vec<PolicyReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

#[derive(Serialize)]
struct PolicyReport {
    name: String,
    mode: Mode,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    denials: Vec<Denial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    warnings: Vec<String>,
    patch: Box<RawValue>,
    duration_us: u128,
}

impl From<&Reviewed> for Report {
    fn from(reviewed: &Reviewed) -> Self {
        let decision = &reviewed.decision;
        let (code, message) = match &decision.outcome {
            Outcome::Allowed => (200, String::new()),
            Outcome::Denied { code, message } => (*code, message.clone()),
            Outcome::Failed { blame, message } => (blame.status(), message.clone()),
        };
        Self {
            namespace: reviewed.review.namespace.clone(),
            name: reviewed.review.name.clone(),
            operation: reviewed.review.operation,
            file: reviewed.origin.clone(),
            code,
            allowed: reviewed.is_allowed(),
            message,
            warnings: decision.warnings.clone(),
            patch: raw(patch::to_json(&decision.patch)),
            object: raw(object(reviewed).text().to_owned()),
            policies: decision.reports.iter().map(PolicyReport::from).collect(),
            differences: reviewed.findings.iter().map(|found| finding(&reviewed.title(), found)).collect(),
        }
    }
}

impl From<&wardset_core::decision::PolicyReport> for PolicyReport {
    fn from(report: &wardset_core::decision::PolicyReport) -> Self {
        let operations: Vec<_> =
            report.applied().iter().map(|Applied { operation, .. }| operation.clone()).collect();
        Self {
            name: report.plan.policy.name.to_string(),
            mode: report.plan.policy.mode,
            verdict: report.verdict(),
            denials: match &report.result {
                Reported::Denied { denials, .. } => denials.iter().map(Denial::from).collect(),
                _ => Vec::new(),
            },
            error: match &report.result {
                Reported::Failed(failure) => Some(failure.to_string()),
                _ => None,
            },
            warnings: report.warnings().iter().map(|warning| warning.message.clone()).collect(),
            patch: raw(patch::to_json(&operations)),
            duration_us: report.elapsed.as_micros(),
        }
    }
}

#[derive(Serialize)]
struct Denial {
    pointer: String,
    message: String,
    fix: String,
}

impl From<&verdict::Denial> for Denial {
    fn from(denial: &verdict::Denial) -> Self {
        let verdict::Denial { pointer, message, fix, .. } = denial.clone();
        Self { pointer, message, fix }
    }
}

/// One decision: an object. Several: an array.
#[must_use]
pub fn json(reviewed: &[Reviewed]) -> String {
    let reports: Vec<Report> = reviewed.iter().map(Report::from).collect();
    let json = match reports.as_slice() {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    // Strings, numbers and JSON text: serialisation can't fail.
    json.unwrap_or_default() + "\n"
}

/// The objects as they would be stored, for `kubectl apply -f -`; a denied one is left out.
#[must_use]
pub fn yaml(reviewed: &[Reviewed]) -> String {
    let documents: Vec<String> = reviewed
        .iter()
        .filter(|reviewed| reviewed.is_allowed())
        .map(|reviewed| yaml::to_string(&object(reviewed).to_value()))
        .collect();
    documents.join("---\n")
}

/// The RFC 6902 patches, a line for each document; `[]` where nothing changes or the object is refused.
#[must_use]
pub fn patches(reviewed: &[Reviewed]) -> String {
    reviewed.iter().map(|reviewed| patch::to_json(&reviewed.decision.patch) + "\n").collect()
}

/// What would be stored: the changed object, or the author's own where it is refused.
fn object(reviewed: &Reviewed) -> &Document {
    if reviewed.is_allowed() { &reviewed.decision.object } else { reviewed.object() }
}

fn raw(json: String) -> Box<RawValue> {
    // Patches and documents are JSON text by construction.
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
