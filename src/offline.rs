//! Reviews without a cluster: manifests in, the API server's question made from them, the decision in words.
//!
//! ```text
//! files ─► input ─► request (an AdmissionReview) ─► Question::parse, Judge::decide ─► text | table | machine
//!                                                   the same code as behind the socket
//! ```

pub mod input;
pub mod machine;
mod patch;
pub mod request;
pub mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardset_core::decision::{Decision, Outcome};
use wardset_core::document::{Document, EditError};
use wardset_core::plan::Phase;
use wardset_core::review::{Question, RequestError, Review};
use wardset_runtime::{Finding, Full};

use crate::admission::Judge;
use input::InputSource;
use request::{Built, Settings, SkippedObject};

/// Time for one document; the API server's default for a webhook.
const DEADLINE: Duration = Duration::from_secs(10);

/// A DaemonSet and the decision on it.
pub struct Reviewed {
    /// The file and the object's position in it.
    pub origin: String,
    /// The request.
    pub review: Arc<Review>,
    /// The decision.
    pub decision: Decision,
    /// The author's object, without an assumed namespace.
    pub manifest: Document,
    /// The author's object with the patch applied. The author's own if it is refused.
    pub stored: Document,
    /// Whether the file has the AdmissionReview and not the object.
    pub is_admission_review: bool,
    /// Whether the namespace was assumed.
    pub assumed_namespace: bool,
    /// Remarks for the author.
    pub notes: Vec<String>,
    /// The policies whose second evaluation differed from the first.
    pub findings: Vec<Finding>,
}

/// The outcome for one document.
pub enum Outcomes {
    /// It is a DaemonSet, and there is a decision.
    Decided(Box<Reviewed>),
    /// It is something else.
    Skipped {
        /// The file and the object's position in it.
        origin: String,
        /// The reason.
        reason: SkippedObject,
    },
}

impl Outcomes {
    /// Whether the object is to be stored as it is.
    #[must_use]
    pub fn leaves_the_object(&self) -> bool {
        match self {
            Self::Skipped { .. } => true,
            Self::Decided(one) => {
                one.is_allowed() && one.decision.patch.is_empty() && !one.is_admission_review
            }
        }
    }
}

/// Why a document cannot be reviewed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No request can be made of it.
    #[error("{origin}")]
    Request {
        /// The file and the object's position in it.
        origin: String,
        /// The cause.
        source: request::BuildError,
    },
    /// It is no AdmissionReview, or its object is malformed.
    #[error("{origin}")]
    Question {
        /// The file and the object's position in it.
        origin: String,
        /// The cause.
        source: RequestError,
    },
    /// Too many reviews are in flight.
    #[error("{origin}")]
    Full {
        /// The file and the object's position in it.
        origin: String,
        /// The cause.
        source: Full,
    },
    /// The API server would store another object than the one that `review` prints: a defect of Wardset.
    #[error("{origin}; hint: please report this as a defect of Wardset")]
    Differs {
        /// The file and the object's position in it.
        origin: String,
        /// The difference.
        source: patch::PatchError,
    },
    /// The patch does not apply to the author's object: a defect of Wardset.
    #[error(
        "{origin}: the patch does not apply to the object; hint: please report this as a defect of Wardset"
    )]
    Patch {
        /// The file and the object's position in it.
        origin: String,
        /// The cause.
        source: EditError,
    },
}

/// Reviews one document.
///
/// # Errors
///
/// A document that no AdmissionReview can be made of.
pub async fn review(
    judge: &Judge,
    source: &InputSource,
    settings: &Settings,
) -> Result<Outcomes, ReviewError> {
    let origin = source.origin.clone();
    let built = request::build(source, settings)
        .map_err(|source| ReviewError::Request { origin: origin.clone(), source })?;
    let request = match built {
        Built::Request(request) => request,
        Built::Skipped(reason) => return Ok(Outcomes::Skipped { origin, reason }),
    };
    let question = Question::parse(&request.bytes)
        .map_err(|source| ReviewError::Question { origin: origin.clone(), source })?;
    let review = match question {
        Question::PassOver { reason, .. } => {
            return Ok(Outcomes::Skipped { origin, reason: SkippedObject::Question(reason.to_string()) });
        }
        Question::Decide(review) => Arc::new(*review),
    };
    let permit =
        judge.admit(&review).map_err(|source| ReviewError::Full { origin: origin.clone(), source })?;
    let (received, asked) = (Instant::now(), Arc::clone(&review));
    let deadline = received + DEADLINE;
    let (decision, findings) = if settings.verify {
        judge.decide_twice(permit, asked, Phase::Mutate, deadline).await
    } else {
        (judge.decide(permit, asked, Phase::Mutate, received, deadline).await, Vec::new())
    };
    let is_admission_review = request.manifest.is_none();
    let manifest = request.manifest.unwrap_or_else(|| Document::clone(&review.object));
    let mut stored = manifest.clone();
    for operation in &decision.patch {
        stored.apply(operation).map_err(|source| ReviewError::Patch { origin: origin.clone(), source })?;
    }
    patch::check(&manifest, &decision.patch, &stored)
        .map_err(|source| ReviewError::Differs { origin: origin.clone(), source })?;
    Ok(Outcomes::Decided(Box::new(Reviewed {
        origin,
        review,
        decision,
        manifest,
        stored,
        is_admission_review,
        assumed_namespace: request.assumed_namespace,
        notes: request.notes,
        findings,
    })))
}

impl Reviewed {
    /// Whether the object may be stored.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision.outcome == Outcome::Allowed
    }

    /// Returns namespace and name, as people write them.
    #[must_use]
    pub fn title(&self) -> String {
        let name = if self.review.name.is_empty() { "(generated name)" } else { &self.review.name };
        wardset_core::text::one_line(&format!("{}/{name}", self.review.namespace), 512)
    }
}
