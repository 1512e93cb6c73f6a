//! Where reviews are decided: on the engine's threads, a limited number at the same time.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wardset_core::decision::Decision;
use wardset_core::plan::Phase;
use wardset_core::review::{Context, Review};

use crate::engine::Engine;
use crate::snapshot::{Finding, Snapshot};

/// Decides reviews. The number of reviews in flight is limited. Reviews of `kube-system` and dry runs together may use
/// half of it.
pub struct Evaluator {
    engine: Arc<Engine>,
    all: Arc<Semaphore>,
    /// Quota of `kube-system` and dry runs.
    quota: Arc<Semaphore>,
}

/// A permit for one review in flight. The review returns it when it is decided or dropped.
pub struct InFlight {
    _all: OwnedSemaphorePermit,
    _quota: Option<OwnedSemaphorePermit>,
}

/// Too many reviews are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The limit of all reviews is reached.
    #[error("too many reviews at once; try again")]
    All,
    /// The quota of `kube-system` and dry runs is used.
    #[error("too many reviews of `kube-system` and dry runs at once; try again")]
    Quota,
}

impl Evaluator {
    /// Creates an evaluator for at most `limit` reviews in flight. The quota of `kube-system` and dry runs is half of
    /// it, rounded up, and at least one.
    #[must_use]
    pub fn new(engine: Arc<Engine>, limit: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { engine, all: semaphore(limit), quota: semaphore(limit.div_ceil(2).max(1)) }
    }

    /// Fails if no further review could start now. This check is cheaper than parsing a request first.
    ///
    /// # Errors
    ///
    /// The limit of all reviews is reached.
    pub fn has_room(&self) -> Result<(), Full> {
        if self.all.available_permits() == 0 { Err(Full::All) } else { Ok(()) }
    }

    /// Takes a permit for this review, or fails without waiting.
    ///
    /// # Errors
    ///
    /// A limit that is reached.
    pub fn admit(&self, review: &Review) -> Result<InFlight, Full> {
        // Anybody can send any number of dry runs, and `kube-system` holds the workloads that run the nodes. With a
        // quota, neither can keep out the other reviews, unless the limit is one.
        let has_quota = review.dry_run || review.namespace == "kube-system";
        let take =
            |semaphore: &Arc<Semaphore>, full| Arc::clone(semaphore).try_acquire_owned().map_err(|_| full);
        let quota = has_quota.then(|| take(&self.quota, Full::Quota)).transpose()?;
        Ok(InFlight { _all: take(&self.all, Full::All)?, _quota: quota })
    }

    /// Decides a review with the policies of `snapshot`. If a policy has not finished by `deadline`, it fails with the
    /// class `late`. If the caller drops the future, the review ends within a few milliseconds.
    pub async fn decide(
        &self,
        permit: InFlight,
        snapshot: Arc<Snapshot>,
        review: Arc<Review>,
        context: Context,
        phase: Phase,
        deadline: Instant,
    ) -> Decision {
        let decide = async move {
            let _permit = permit;
            snapshot.decide(&review, &context, phase, deadline).await
        };
        self.engine.threads.run(decide).await
    }

    /// Decides as [`Evaluator::decide`] does, and evaluates each policy a second time to compare the verdicts.
    pub async fn decide_twice(
        &self,
        permit: InFlight,
        snapshot: Arc<Snapshot>,
        review: Arc<Review>,
        context: Context,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<Finding>) {
        let decide = async move {
            let _permit = permit;
            snapshot.decide_twice(&review, &context, phase, deadline).await
        };
        self.engine.threads.run(decide).await
    }
}

#[cfg(test)]
mod tests {
    use wardset_core::review::Question;

    use super::*;
    use crate::engine::EngineOptions;

    fn review(dry_run: bool) -> Review {
        let bytes = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "operation": "CREATE", "namespace": "default", "userInfo": {"username": "jane"},
            "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
            "resource": {"group": "apps", "version": "v1", "resource": "daemonsets"},
            "object": {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}}}}"#;
        match Question::parse(bytes) {
            Ok(Question::Decide(review)) => Review { dry_run, ..*review },
            _ => panic!("expected a review"),
        }
    }

    fn evaluator(limit: usize) -> Evaluator {
        Evaluator::new(Engine::new(EngineOptions { sandboxes: 1 }).unwrap(), limit)
    }

    /// Takes permits until one is refused.
    fn fill(evaluator: &Evaluator, review: &Review) -> (Vec<InFlight>, Full) {
        let mut permits = Vec::new();
        loop {
            match evaluator.admit(review) {
                Ok(permit) => permits.push(permit),
                Err(full) => return (permits, full),
            }
        }
    }

    #[test]
    fn admits_as_many_reviews_as_the_limit_and_half_as_many_dry_runs() {
        let evaluator = evaluator(5);
        let (dry, full) = fill(&evaluator, &review(true));
        assert_eq!((dry.len(), full), (3, Full::Quota));
        let (other, full) = fill(&evaluator, &review(false));
        assert_eq!((other.len(), full), (2, Full::All));
        assert_eq!(evaluator.has_room(), Err(Full::All));
        drop((dry, other));
        assert_eq!(evaluator.has_room(), Ok(()));
        assert_eq!(fill(&evaluator, &review(false)).0.len(), 5);
    }

    #[test]
    fn refuses_every_review_if_the_limit_is_zero() {
        let evaluator = evaluator(0);
        assert_eq!(evaluator.has_room(), Err(Full::All));
        assert_eq!(evaluator.admit(&review(true)).err(), Some(Full::All));
    }
}
