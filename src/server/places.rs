//! Limits of concurrent work: permits for reviews, with a smaller quota for some kinds, and permits for reviews of
//! policies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use wardset_core::review::Review;
use wardset_runtime::to_the_end_of_the_queue;

/// Maximum number of `Policy` objects checked at the same time. Each check may compile a module for seconds.
const MAX_POLICIES: usize = 4;

/// Divisor of the limit: up to a quarter of the permits in use counts as low load.
const FEW: usize = 4;

/// Minimum number of reviews that a thread decides before it reads other requests, because the task that returns
/// their permits may start late.
const LEAST_DECIDED: usize = 16;

/// The reason why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("too many reviews at once; try again")]
    Reviews,
    #[error("too many reviews of `kube-system` and dry runs at once; try again")]
    Share,
    #[error("too many policies under review at once; try again")]
    Policies,
}

/// The permits of a server.
pub(super) struct Places {
    limits: Arc<Limits>,
    policies: Semaphore,
}

struct Limits {
    reviews: Limit,
    share: Limit,
    /// Whether a task runs [`Limits::sweep`].
    sweeping: AtomicBool,
}

/// A limit of concurrent reviews. Each thread has as many permits again for reviews that were just decided, which
/// keep theirs until the requests that were ready by then have been read.
///
/// A review is decided without yielding, so without this rule a thread would never hold more than one permit. It
/// would then accept a whole backlog, answer each review later than the one before, and refuse none.
struct Limit {
    most: usize,
    now: Semaphore,
    until_others_are_read: Semaphore,
    /// Number of decided reviews that keep a permit and that no task has picked up yet.
    decided: AtomicUsize,
}

/// A permit for one review. Dropping it returns the permit.
pub(super) struct Place<'p> {
    limits: &'p Arc<Limits>,
    of_all: Part<'p>,
    of_share: Option<Part<'p>>,
}

/// A permit within one limit.
struct Part<'p> {
    limit: &'p Limit,
    _now: SemaphorePermit<'p>,
    until_others_are_read: SemaphorePermit<'p>,
}

impl Places {
    /// Creates permits for `reviews` concurrent reviews. Half of them, rounded up and at least one, is the quota of
    /// `kube-system` and dry runs together.
    pub(super) fn new(reviews: usize) -> Self {
        let threads = Handle::current().metrics().num_workers();
        let limits = Limits {
            reviews: Limit::new(reviews, threads),
            share: Limit::new(reviews.div_ceil(2).max(1), threads),
            sweeping: AtomicBool::new(false),
        };
        Self { limits: Arc::new(limits), policies: Semaphore::new(MAX_POLICIES) }
    }

    /// Fails if no review can start now. This check is cheaper than parsing a request first.
    pub(super) fn look(&self) -> Result<(), Full> {
        if self.limits.reviews.is_full() { Err(Full::Reviews) } else { Ok(()) }
    }

    /// Takes a permit for this review, or fails without waiting.
    pub(super) fn take(&self, review: &Review) -> Result<Place<'_>, Full> {
        // Anybody can send any number of dry runs, and `kube-system` holds the workloads that run the nodes. With a
        // quota, neither can keep out the other reviews, unless the limit is one.
        let shares = review.dry_run || review.namespace == "kube-system";
        let of_share = shares.then(|| self.limits.share.take().ok_or(Full::Share)).transpose()?;
        let of_all = self.limits.reviews.take().ok_or(Full::Reviews)?;
        Ok(Place { limits: &self.limits, of_all, of_share })
    }

    /// Takes a permit for the review of a `Policy`. These permits are separate from those for reviews.
    pub(super) fn take_for_policy(&self) -> Result<SemaphorePermit<'_>, Full> {
        self.policies.try_acquire().map_err(|_| Full::Policies)
    }
}

impl Limits {
    /// Returns the permits of decided reviews once every request that was ready has been read. One task serves all
    /// reviews decided in the meantime, because one task for each would take half of the scheduler's time slices.
    async fn sweep(self: Arc<Self>) {
        let limits = [&self.reviews, &self.share];
        loop {
            let decided = limits.map(|limit| limit.decided.swap(0, Ordering::SeqCst));
            if decided == [0; 2] {
                self.sweeping.store(false, Ordering::SeqCst);
                // A review decided in between may have relied on this task.
                let is_there_more = limits.iter().any(|limit| limit.decided.load(Ordering::SeqCst) > 0);
                if !is_there_more || self.sweeping.swap(true, Ordering::SeqCst) {
                    return;
                }
                continue;
            }
            to_the_end_of_the_queue().await;
            for (limit, decided) in limits.into_iter().zip(decided) {
                limit.until_others_are_read.add_permits(decided);
            }
        }
    }
}

impl Limit {
    fn new(most: usize, threads: usize) -> Self {
        Self {
            most,
            now: Semaphore::new(most),
            until_others_are_read: Semaphore::new(most + most.max(LEAST_DECIDED) * threads),
            decided: AtomicUsize::new(0),
        }
    }

    fn is_full(&self) -> bool {
        self.now.available_permits() == 0 || self.until_others_are_read.available_permits() == 0
    }

    fn take(&self) -> Option<Part<'_>> {
        let until_others_are_read = self.until_others_are_read.try_acquire().ok()?;
        Some(Part { limit: self, _now: self.now.try_acquire().ok()?, until_others_are_read })
    }
}

impl Place<'_> {
    /// Yields to other ready requests if the load is low. The code that reads and the code that decides do not both
    /// fit into a processor's nearest cache. Reading several requests and then deciding several is therefore cheaper.
    /// Under high load, yielding would only add latency.
    pub(super) async fn others_first(&self) {
        let Limit { most, now, .. } = &self.limits.reviews;
        if most - now.available_permits() <= most / FEW {
            to_the_end_of_the_queue().await;
        }
    }

    /// Records that the review is decided. If the client has abandoned the review, the permit is dropped without this
    /// call.
    pub(super) fn decided(self) {
        for part in [Some(self.of_all), self.of_share].into_iter().flatten() {
            part.until_others_are_read.forget();
            part.limit.decided.fetch_add(1, Ordering::SeqCst);
        }
        if !self.limits.sweeping.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self.limits).sweep());
        }
    }
}

#[cfg(test)]
mod tests {
    use wardset_core::review::Question;

    use super::*;

    fn review() -> Review {
        let bytes = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "operation": "CREATE", "namespace": "default", "userInfo": {"username": "jane"},
            "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
            "resource": {"group": "apps", "version": "v1", "resource": "daemonsets"},
            "object": {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}}}}"#;
        match Question::parse(bytes) {
            Ok(Question::Decide(review)) => *review,
            _ => panic!("expected a review"),
        }
    }

    /// Decides reviews without yielding, one after the other on one thread.
    #[tokio::test]
    async fn decides_twice_the_limit_before_other_requests_are_read() {
        let (places, mut review) = (Places::new(40), review());
        let decide =
            |review: &Review| (0..100).map_while(|_| places.take(review).ok().map(Place::decided)).count();
        for _ in 0..3 {
            assert_eq!(decide(&review), 80);
            assert_eq!(places.look(), Err(Full::Reviews));
            to_the_end_of_the_queue().await;
            assert_eq!(places.look(), Ok(()), "the requests that were ready have been read");
        }
        review.dry_run = true;
        for _ in 0..3 {
            assert_eq!(decide(&review), 40);
            assert_eq!(places.take(&review).err(), Some(Full::Share));
            to_the_end_of_the_queue().await;
        }
    }

    #[tokio::test]
    async fn returns_the_permit_at_once_if_the_client_abandons_the_review() {
        let limit = Limit::new(1, 1);
        for _ in 0..10 {
            assert!(limit.take().is_some());
        }
    }
}
