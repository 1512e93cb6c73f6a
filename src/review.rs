//! Reviews without a cluster: manifests in, the API server's question made from them, the decision in words.
//!
//! ```text
//! files ─► input ─► request (an AdmissionReview) ─► Question::parse, Snapshot::decide ─► text | table | machine
//!                                                   the same code as behind the socket
//! ```

pub mod input;
pub mod machine;
pub mod request;
pub mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardset_core::chain::Phase;
use wardset_core::decision::{Decision, Outcome};
use wardset_core::document::Document;
use wardset_core::policy::NamespaceLabels;
use wardset_core::review::{PassOver, Question, RequestError, Review};
use wardset_runtime::{Finding, Snapshot};

use input::Source;
use request::Settings;

/// The time that one document may take; the same as the API server's default for a webhook.
const DEADLINE: Duration = Duration::from_secs(10);

/// A document that was decided on.
pub struct Reviewed {
    /// The file and the document's place in it.
    pub origin: String,
    /// What was asked.
    pub review: Review,
    /// What was decided.
    pub decision: Decision,
    /// What was filled in before the review, in words.
    pub notes: Vec<String>,
    /// The policies whose second evaluation was not the same as the first.
    pub findings: Vec<Finding>,
}

/// What became of one document.
pub enum Outcomes {
    /// It was decided on.
    Decided(Box<Reviewed>),
    /// There was nothing to decide.
    PassedOver {
        /// The file and the document's place in it.
        origin: String,
        /// Why.
        reason: String,
    },
}

/// Why a document can't be reviewed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It can't be made into a request.
    #[error("{origin}")]
    Request {
        /// The file and the document's place in it.
        origin: String,
        /// What is wrong.
        source: request::BuildError,
    },
    /// It is no AdmissionReview, or its object can't be read.
    #[error("{origin}")]
    Question {
        /// The file and the document's place in it.
        origin: String,
        /// What is wrong.
        source: RequestError,
    },
}

/// Reviews one document.
///
/// # Errors
///
/// A document that no AdmissionReview can be made of.
pub async fn review(
    snapshot: &Snapshot,
    source: &Source,
    settings: &Settings,
) -> Result<Outcomes, ReviewError> {
    let origin = source.origin.clone();
    let built = request::build(source, settings)
        .map_err(|source| ReviewError::Request { origin: origin.clone(), source })?;
    let question = Question::parse(&built.bytes)
        .map_err(|source| ReviewError::Question { origin: origin.clone(), source })?;
    match question {
        Question::PassOver { reason, .. } => Ok(Outcomes::PassedOver { origin, reason: explain(&reason) }),
        Question::Decide(mut review) => {
            review.namespace_labels = settings
                .namespace_labels
                .clone()
                .map_or(NamespaceLabels::Unknown, |labels| NamespaceLabels::Known(labels.into()));
            let deadline = Instant::now() + DEADLINE;
            let (decision, findings) = if settings.verify {
                snapshot.decide_twice(&review, Phase::Mutate, deadline).await
            } else {
                (snapshot.decide(&review, Phase::Mutate, deadline).await, Vec::new())
            };
            Ok(Outcomes::Decided(Box::new(Reviewed {
                origin,
                review: *review,
                decision,
                notes: built.notes,
                findings,
            })))
        }
    }
}

impl Reviewed {
    /// The object as it came in.
    #[must_use]
    pub fn object(&self) -> &Arc<Document> {
        &self.review.object
    }

    /// Whether the object may be stored.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision.outcome == Outcome::Allowed
    }

    /// The namespace and name, as people write them.
    #[must_use]
    pub fn title(&self) -> String {
        let name = if self.review.name.is_empty() { "(generated name)" } else { &self.review.name };
        wardset_core::text::one_line(&format!("{}/{name}", self.review.namespace), 512)
    }
}

fn explain(reason: &PassOver) -> String {
    match reason {
        PassOver::Kind { group, kind } if group == "extensions" && kind == "DaemonSet" => {
            "a DaemonSet of `extensions`: no API server since 1.16 takes it; write `apiVersion: apps/v1`"
                .to_owned()
        }
        reason => reason.to_string(),
    }
}
