//! How much is done at once: places for reviews, of which some kinds may take a share only, and for policies under review.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use wardset_core::review::Review;
use wardset_runtime::to_the_end_of_the_queue;

/// The most `Policy` objects that are tried at once. Each may compile a module for seconds.
const MAX_POLICIES: usize = 4;

/// Up to one in so many of the places is few.
const FEW: usize = 4;

/// So many are always decided on a thread before what else is ready is read: what gives their places back needn't come at once.
const LEAST_DECIDED: usize = 16;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("too many reviews at once; try again")]
    Reviews,
    #[error("too many reviews of `kube-system` and dry runs at once; try again")]
    Share,
    #[error("too many policies under review at once; try again")]
    Policies,
}

/// The places that there are.
pub(super) struct Places {
    limits: Arc<Limits>,
    policies: Semaphore,
}

struct Limits {
    reviews: Limit,
    share: Limit,
    /// Whether [`Limits::sweep`] runs.
    sweeping: AtomicBool,
}

/// So many at once; and as many again on each thread for those that were decided just now, which keep a place until whatever was
/// ready by then has been read. A review is decided in one go, so without them a thread would never have more than one, and
/// would decide on all that has piled up, each later than the one before, and refuse none.
struct Limit {
    most: usize,
    now: Semaphore,
    until_others_are_read: Semaphore,
    /// How many have been decided and keep a place, and nobody has begun to wait with them yet.
    decided: AtomicUsize,
}

/// A place, for as long as it lives.
pub(super) struct Place<'p> {
    limits: &'p Arc<Limits>,
    of_all: Part<'p>,
    of_share: Option<Part<'p>>,
}

/// A place within one limit.
struct Part<'p> {
    limit: &'p Limit,
    _now: SemaphorePermit<'p>,
    until_others_are_read: SemaphorePermit<'p>,
}

impl Places {
    /// `reviews` at once, and half of them (rounded up, one at least) for `kube-system` and dry runs together.
    pub(super) fn new(reviews: usize) -> Self {
        let threads = Handle::current().metrics().num_workers();
        let limits = Limits {
            reviews: Limit::new(reviews, threads),
            share: Limit::new(reviews.div_ceil(2).max(1), threads),
            sweeping: AtomicBool::new(false),
        };
        Self { limits: Arc::new(limits), policies: Semaphore::new(MAX_POLICIES) }
    }

    /// Whether a review could be begun: cheaper than to read one and then find out.
    pub(super) fn look(&self) -> Result<(), Full> {
        if self.limits.reviews.is_full() { Err(Full::Reviews) } else { Ok(()) }
    }

    /// A place for this review, at once or not at all.
    pub(super) fn take(&self, review: &Review) -> Result<Place<'_>, Full> {
        // Anybody may ask for dry runs as often as they like, and what runs the nodes lives in `kube-system`: neither can keep
        // the other reviews out, where there is more than one place.
        let shares = review.dry_run || review.namespace == "kube-system";
        let of_share = shares.then(|| self.limits.share.take().ok_or(Full::Share)).transpose()?;
        let of_all = self.limits.reviews.take().ok_or(Full::Reviews)?;
        Ok(Place { limits: &self.limits, of_all, of_share })
    }

    /// A place for the review of a `Policy`. It is none of the reviews'.
    pub(super) fn take_for_policy(&self) -> Result<SemaphorePermit<'_>, Full> {
        self.policies.try_acquire().map_err(|_| Full::Policies)
    }
}

impl Limits {
    /// Gives back the places of what was decided, once whatever was ready by then has been read. One task does it for all
    /// reviews that were decided meanwhile: one for each would take half of the scheduler's turns.
    async fn sweep(self: Arc<Self>) {
        let limits = [&self.reviews, &self.share];
        loop {
            let decided = limits.map(|limit| limit.decided.swap(0, Ordering::SeqCst));
            if decided == [0; 2] {
                self.sweeping.store(false, Ordering::SeqCst);
                // What was decided in between may have seen that somebody sweeps.
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
    /// Lets what else has come be read first, as long as few reviews wait like this. The code that reads and the code that
    /// decides don't both fit into a processor's nearest cache: to do much of the one and then much of the other is cheaper.
    /// With more than that, who waits would only wait longer.
    pub(super) async fn others_first(&self) {
        let Limit { most, now, .. } = &self.limits.reviews;
        if most - now.available_permits() <= most / FEW {
            to_the_end_of_the_queue().await;
        }
    }

    /// The review is decided. One that nobody waits for any more just drops its place.
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
            _ => panic!("no review"),
        }
    }

    /// What is decided in one go, one after the other on one thread.
    #[tokio::test]
    async fn as_many_again_as_there_are_places_are_decided_before_what_else_is_ready_is_read() {
        let (places, mut review) = (Places::new(40), review());
        let decide =
            |review: &Review| (0..100).map_while(|_| places.take(review).ok().map(Place::decided)).count();
        for _ in 0..3 {
            assert_eq!(decide(&review), 80);
            assert_eq!(places.look(), Err(Full::Reviews));
            to_the_end_of_the_queue().await;
            assert_eq!(places.look(), Ok(()), "whoever was ready has been read");
        }
        review.dry_run = true;
        for _ in 0..3 {
            assert_eq!(decide(&review), 40);
            assert_eq!(places.take(&review).err(), Some(Full::Share));
            to_the_end_of_the_queue().await;
        }
    }

    #[tokio::test]
    async fn a_review_that_nobody_waits_for_gives_its_place_back_at_once() {
        let limit = Limit::new(1, 1);
        for _ in 0..10 {
            assert!(limit.take().is_some());
        }
    }
}
