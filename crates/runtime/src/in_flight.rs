//! The limit of reviews in flight. A server answers 429 if it is reached.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wardset_core::review::Review;

/// The permits of reviews. Reviews of `kube-system` and dry runs together may use half of them.
#[derive(Debug)]
pub struct InFlight {
    all: Arc<Semaphore>,
    /// Quota of `kube-system` and dry runs.
    quota: Arc<Semaphore>,
}

/// A permit for one review. The review returns it when it is decided or dropped.
pub struct InFlightPermit {
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

impl InFlight {
    /// Creates permits for at most `limit` reviews. The quota of `kube-system` and dry runs is half of it, rounded up, and
    /// at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { all: semaphore(limit), quota: semaphore(limit.div_ceil(2).max(1)) }
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
    pub fn admit(&self, review: &Review) -> Result<InFlightPermit, Full> {
        // Anybody can send any number of dry runs, and `kube-system` holds the workloads that run the nodes. With a
        // quota, neither can keep out the other reviews, unless the limit is one.
        let has_quota = review.dry_run || review.namespace == "kube-system";
        let take =
            |semaphore: &Arc<Semaphore>, full| Arc::clone(semaphore).try_acquire_owned().map_err(|_| full);
        let quota = has_quota.then(|| take(&self.quota, Full::Quota)).transpose()?;
        Ok(InFlightPermit { _all: take(&self.all, Full::All)?, _quota: quota })
    }
}

#[cfg(test)]
mod tests {
    use wardset_core::review::Question;

    use super::*;

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

    /// Takes permits until one is refused.
    fn fill(in_flight: &InFlight, review: &Review) -> (Vec<InFlightPermit>, Full) {
        let mut permits = Vec::new();
        loop {
            match in_flight.admit(review) {
                Ok(permit) => permits.push(permit),
                Err(full) => return (permits, full),
            }
        }
    }

    #[test]
    fn admits_as_many_reviews_as_the_limit_and_half_as_many_dry_runs() {
        let in_flight = InFlight::new(5);
        let (dry, full) = fill(&in_flight, &review(true));
        assert_eq!((dry.len(), full), (3, Full::Quota));
        let (other, full) = fill(&in_flight, &review(false));
        assert_eq!((other.len(), full), (2, Full::All));
        assert_eq!(in_flight.has_room(), Err(Full::All));
        drop((dry, other));
        assert_eq!(in_flight.has_room(), Ok(()));
        assert_eq!(fill(&in_flight, &review(false)).0.len(), 5);
    }

    #[test]
    fn refuses_every_review_if_the_limit_is_zero() {
        let in_flight = InFlight::new(0);
        assert_eq!(in_flight.has_room(), Err(Full::All));
        assert_eq!(in_flight.admit(&review(true)).err(), Some(Full::All));
    }
}
