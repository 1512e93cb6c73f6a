//! The answer's JSON: the AdmissionReview that the server returns.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::Serialize;

use crate::decision::{Decision, Outcome};
use crate::patch;
use crate::review::API_VERSION;

impl Decision {
    /// Returns the decision as an AdmissionReview; `None` if the outcome is [`Outcome::Failed`], which an
    /// AdmissionReview cannot express.
    #[must_use]
    pub fn to_admission_review(&self) -> Option<Vec<u8>> {
        let (allowed, status) = match &self.outcome {
            Outcome::Allowed => (true, None),
            Outcome::Denied { code, message } => {
                let reason = if *code == 422 { "Invalid" } else { "Forbidden" };
                (false, Some(ResponseStatus { code: *code, reason, message }))
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

/// Returns the response to a request that Wardset does not review: allowed.
#[must_use]
pub fn passed_over(uid: &str) -> Vec<u8> {
    bare(uid, None)
}

/// Returns the response to a request with an invalid object: denied, with status 422.
#[must_use]
pub fn refused(uid: &str, message: &str) -> Vec<u8> {
    bare(uid, Some(ResponseStatus { code: 422, reason: "Invalid", message }))
}

fn bare(uid: &str, status: Option<ResponseStatus<'_>>) -> Vec<u8> {
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
    status: Option<ResponseStatus<'a>>,
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
struct ResponseStatus<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

fn answer(response: &Response<'_>) -> Vec<u8> {
    let answer = Answer { api_version: API_VERSION, kind: "AdmissionReview", response };
    // Serialization can't fail: the answer has only strings, numbers and a map with string keys.
    serde_json::to_vec(&answer).unwrap_or_default()
}
