//! The review of a `Policy` itself: `kubectl apply` fails where the policy could not come into force.
//!
//! The very steps that put a policy into force are tried on it: its fields, its conditions, its module, its settings. A
//! relative `file:` module starts at the server's working folder, as for every policy of a cluster.

use serde::Deserialize;
use serde_json::value::RawValue;
use wardset_core::review::{API_VERSION, MAX_UID};
use wardset_core::{decision, policy, text};

use crate::modules::Modules;

/// The most bytes of what is said of a policy that is refused.
const MAX_MESSAGE: usize = 1024;

/// Why bytes are no AdmissionReview of a `Policy`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// No JSON, or not of the shape.
    #[error("the body is no AdmissionReview")]
    Shape(#[from] serde_json::Error),
    /// Another version or kind.
    #[error(
        "expected an AdmissionReview of `admission.k8s.io/v1` for `Policy` of `wardset.dev`, found `{0}`"
    )]
    Kind(String),
    /// A uid that would be most of the answer.
    #[error("`request.uid`: expected at most {MAX_UID} bytes")]
    Uid,
    /// The API server's patience is over.
    #[error("the policy could not be tried within the deadline")]
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

/// The AdmissionReview that goes back.
pub(crate) async fn answer(modules: &Modules, body: &[u8]) -> Result<Vec<u8>, RequestError> {
    let AdmissionReview { api_version, kind, request } = serde_json::from_slice(body)?;
    if api_version != API_VERSION || kind != "AdmissionReview" {
        return Err(RequestError::Kind(text::one_line(&format!("{api_version} {kind}"), 256)));
    }
    let Request { uid, kind, operation, object } = request;
    if uid.len() > MAX_UID {
        return Err(RequestError::Uid);
    }
    if kind.group != "wardset.dev" || kind.kind != "Policy" {
        return Err(RequestError::Kind(text::one_line(&format!("{} of {}", kind.kind, kind.group), 256)));
    }
    let Some(object) = object.filter(|_| operation == "CREATE" || operation == "UPDATE") else {
        return Ok(decision::passed_over(&uid));
    };
    let resource: policy::Resource = match serde_json::from_str(object.get()) {
        Ok(resource) => resource,
        Err(error) => return Ok(decision::refused(&uid, &text::one_line(&error.to_string(), MAX_MESSAGE))),
    };
    Ok(match modules.check(resource).await {
        Ok(()) => decision::passed_over(&uid),
        Err(error) => decision::refused(&uid, &text::with_causes(&error, MAX_MESSAGE)),
    })
}
