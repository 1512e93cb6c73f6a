//! The review of a `Policy` itself: `kubectl apply` fails if the policy could not become active.
//!
//! The check runs the same steps that activate a policy: its fields, conditions, module and settings. As for every
//! policy of a cluster, a relative `file:` path starts at the server's working folder.

use serde::Deserialize;
use serde_json::value::RawValue;
use wardset_core::review::{API_VERSION, MAX_UID};
use wardset_core::{answer, policy, text};

use crate::supply::modules::Modules;

/// Maximum length of the message about a rejected policy, in bytes.
const MAX_MESSAGE: usize = 1024;

/// An error in a request to review a `Policy`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyReviewError {
    /// The body is not JSON or does not have the expected shape.
    #[error("failed to parse the body as an AdmissionReview")]
    Shape(#[from] serde_json::Error),
    /// The request has another version or kind.
    #[error(
        "expected an AdmissionReview of `admission.k8s.io/v1` for `Policy` of `wardset.dev`, found `{0}`"
    )]
    Kind(String),
    /// The uid is longer than any real one and would fill the answer.
    #[error("`request.uid`: expected at most {MAX_UID} bytes")]
    Uid,
    /// The check did not finish before the API server's deadline.
    #[error("checking the policy timed out")]
    Late,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
struct Request<'a> {
    uid: String,
    kind: Kind,
    operation: String,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    kind: String,
}

/// Returns the AdmissionReview that answers `body`.
pub(crate) async fn answer(modules: &Modules, body: &[u8]) -> Result<Vec<u8>, PolicyReviewError> {
    let AdmissionReview { api_version, kind, request } = serde_json::from_slice(body)?;
    if api_version != API_VERSION || kind != "AdmissionReview" {
        return Err(PolicyReviewError::Kind(text::one_line(&format!("{api_version} {kind}"), 256)));
    }
    let Request { uid, kind, operation, object } = request;
    if uid.len() > MAX_UID {
        return Err(PolicyReviewError::Uid);
    }
    if kind.group != "wardset.dev" || kind.kind != "Policy" {
        return Err(PolicyReviewError::Kind(text::one_line(
            &format!("{} of {}", kind.kind, kind.group),
            256,
        )));
    }
    let Some(object) = object.filter(|_| operation == "CREATE" || operation == "UPDATE") else {
        return Ok(answer::passed_over(&uid));
    };
    let resource: policy::Resource = match serde_json::from_str(object.get()) {
        Ok(resource) => resource,
        Err(error) => return Ok(answer::refused(&uid, &text::one_line(&error.to_string(), MAX_MESSAGE))),
    };
    Ok(match modules.check(resource).await {
        Ok(()) => answer::passed_over(&uid),
        Err(error) => answer::refused(&uid, &text::with_causes(&error, MAX_MESSAGE)),
    })
}
