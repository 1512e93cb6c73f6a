//! How much is done at once: places for reviews, of which some kinds may take a share only, and for policies under review.

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wardset_core::review::Review;

/// The most `Policy` objects that are tried at once. Each may compile a module for seconds.
const MAX_POLICIES: usize = 4;

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
    reviews: Limit,
    share: Limit,
    policies: Semaphore,
}

/// So many at once; and as many again for those that were decided just now, which keep a place until whatever was ready by then
/// has been read. A review is decided in one go, so without them a thread would never have more than one, and would decide on
/// all that has piled up, each later than the one before, and refuse none.
struct Limit {
    now: Semaphore,
    until_others_are_read: Arc<Semaphore>,
}

/// A place, for as long as it lives.
pub(super) struct Place<'p> {
    of_all: Part<'p>,
    of_share: Option<Part<'p>>,
}

/// A place within one limit.
struct Part<'p> {
    _now: SemaphorePermit<'p>,
    until_others_are_read: OwnedSemaphorePermit,
}

impl Places {
    /// `reviews` at once, and half of them (rounded up, one at least) for `kube-system` and dry runs together.
    pub(super) fn new(reviews: usize) -> Self {
        let share = reviews.div_ceil(2).max(1);
        Self {
            reviews: Limit::new(reviews),
            share: Limit::new(share),
            policies: Semaphore::new(MAX_POLICIES),
        }
    }

    /// Whether a review could be begun: cheaper than to read one and then find out.
    pub(super) fn look(&self) -> Result<(), Full> {
        if self.reviews.is_full() { Err(Full::Reviews) } else { Ok(()) }
    }

    /// A place for this review, at once or not at all.
    pub(super) fn take(&self, review: &Review) -> Result<Place<'_>, Full> {
        // Anybody may ask for dry runs as often as they like, and what runs the nodes lives in `kube-system`: neither can keep
        // the other reviews out, where there is more than one place.
        let shares = review.dry_run || review.namespace == "kube-system";
        let of_share = shares.then(|| self.share.take().ok_or(Full::Share)).transpose()?;
        let of_all = self.reviews.take().ok_or(Full::Reviews)?;
        Ok(Place { of_all, of_share })
    }

    /// A place for the review of a `Policy`. It is none of the reviews'.
    pub(super) fn take_for_policy(&self) -> Result<SemaphorePermit<'_>, Full> {
        self.policies.try_acquire().map_err(|_| Full::Policies)
    }
}

impl Limit {
    fn new(most: usize) -> Self {
        Self { now: Semaphore::new(most), until_others_are_read: Arc::new(Semaphore::new(2 * most)) }
    }

    fn is_full(&self) -> bool {
        self.now.available_permits() == 0 || self.until_others_are_read.available_permits() == 0
    }

    fn take(&self) -> Option<Part<'_>> {
        let until_others_are_read = Arc::clone(&self.until_others_are_read).try_acquire_owned().ok()?;
        Some(Part { _now: self.now.try_acquire().ok()?, until_others_are_read })
    }
}

impl Place<'_> {
    /// The review is decided. One that nobody waits for any more just drops its place.
    pub(super) fn decided(self) {
        let kept = [Some(self.of_all), self.of_share].map(|part| part.map(|part| part.until_others_are_read));
        tokio::spawn(async move {
            to_the_end_of_the_queue().await;
            drop(kept);
        });
    }
}

/// Lets everything go first that is ready now. tokio's `yield_now` lets go first what comes meanwhile, too.
async fn to_the_end_of_the_queue() {
    let mut waited = false;
    poll_fn(|context| {
        if mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided in one go, one after the other on one thread.
    #[tokio::test]
    async fn as_many_again_as_there_are_places_are_decided_before_what_else_is_ready_is_read() {
        let limit = Limit::new(3);
        let decide = || limit.take().map(|of_all| Place { of_all, of_share: None }.decided());
        assert_eq!((0..10).map_while(|_| decide()).count(), 6);
        assert!(limit.is_full());
        to_the_end_of_the_queue().await;
        assert!(!limit.is_full(), "whoever was ready has been read");
        to_the_end_of_the_queue().await;
        assert_eq!((0..10).map_while(|_| decide()).count(), 6);
    }

    #[tokio::test]
    async fn a_review_that_nobody_waits_for_gives_its_place_back_at_once() {
        let limit = Limit::new(1);
        for _ in 0..10 {
            assert!(limit.take().is_some());
        }
    }
}
