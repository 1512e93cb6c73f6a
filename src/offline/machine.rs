//! Decisions for programs: JSON, YAML, patches.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use wardset_core::decision::{Applied, Outcome, PolicyResult};
use wardset_core::patch;
use wardset_core::policy::Mode;
use wardset_core::review::Operation;
use wardset_core::verdict;

use super::input::{self, InputFile};
use super::text::finding;
use super::{Outcomes, Reviewed};
use crate::yaml;

/// One decision, as `-o json` prints it.
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
    /// Where the DaemonSet runs, if nodes were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<serde_json::Value>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
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
            object: raw(reviewed.stored.text().to_owned()),
            policies: decision.reports.iter().map(PolicyReport::from).collect(),
            differences: reviewed.findings.iter().map(|found| finding(&reviewed.title(), found)).collect(),
            placement: None,
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
                PolicyResult::Denied { denials, .. } => denials.iter().map(Denial::from).collect(),
                _ => Vec::new(),
            },
            error: match &report.result {
                PolicyResult::Failed(failure) => Some(failure.to_string()),
                _ => None,
            },
            warnings: report.warnings().iter().map(|warning| warning.message.clone()).collect(),
            notes: report.notes().iter().map(|note| note.message.clone()).collect(),
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

/// Writes one decision as an object, several as an array. `placements` has one entry for each decision.
#[must_use]
pub fn json(reviewed: &[&Reviewed], placements: Vec<Option<serde_json::Value>>) -> String {
    let reports = reviewed.iter().zip(placements);
    let reports: Vec<Report> =
        reports.map(|(reviewed, placement)| Report { placement, ..Report::from(*reviewed) }).collect();
    let json = match reports.as_slice() {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    // Strings, numbers and JSON text: serialisation can't fail.
    json.unwrap_or_default() + "\n"
}

/// Writes the files again with the DaemonSets as the API server would store them, for `kubectl apply -f -`. Every other
/// document stays in its place, byte for byte. A refused DaemonSet is left out. `outcomes` has one entry for each object
/// of the files, in their order; `None` for an object that could not be reviewed, which is left out, too.
#[must_use]
pub fn yaml(files: &[InputFile], outcomes: &[Option<Outcomes>]) -> String {
    let mut out = String::new();
    let mut outcomes = outcomes.iter();
    for document in files.iter().flat_map(|file| &file.documents) {
        let outcomes: Vec<_> = outcomes.by_ref().take(document.objects.len()).map(Option::as_ref).collect();
        if let Some(text) = written(document, &outcomes) {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            let needs_separator = !out.is_empty() && document.separator.is_empty();
            out.push_str(if needs_separator { "---\n" } else { &document.separator });
            out.push_str(&text);
        }
    }
    out
}

/// Returns a document as YAML output has it; `None` if it has no object left.
fn written<'d>(document: &'d input::InputDocument, outcomes: &[Option<&Outcomes>]) -> Option<Cow<'d, str>> {
    if outcomes.iter().all(|outcome| outcome.is_some_and(Outcomes::leaves_the_object)) {
        return Some(match &document.yaml {
            Some(text) => text.into(),
            None => yaml::to_string(&document.value).into(),
        });
    }
    if input::items(&document.value).is_none() {
        return match outcomes {
            [Some(Outcomes::Decided(one))] if one.is_allowed() => {
                Some(yaml::to_string(&one.stored.to_value()).into())
            }
            _ => None,
        };
    }
    let objects = document.objects.iter().zip(outcomes);
    let items = objects.filter_map(|(object, outcome)| match outcome {
        Some(Outcomes::Skipped { .. }) => serde_json::from_str(&object.json).ok(),
        Some(Outcomes::Decided(one)) => one.is_allowed().then(|| one.stored.to_value()),
        None => None,
    });
    let mut list = document.value.clone();
    list["items"] = serde_json::Value::Array(items.collect());
    Some(yaml::to_string(&list).into())
}

/// Writes the RFC 6902 patches, one line for each DaemonSet; `[]` if nothing changes or the object is refused.
#[must_use]
pub fn patches(reviewed: &[&Reviewed]) -> String {
    reviewed.iter().map(|reviewed| patch::to_json(&reviewed.decision.patch) + "\n").collect()
}

fn raw(json: String) -> Box<RawValue> {
    // Patches and documents are JSON text by construction.
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
