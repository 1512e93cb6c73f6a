//! How much is done at once: places for reviews, of which some kinds may take a share only, and for policies under review.

use tokio::sync::{Semaphore, SemaphorePermit};
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
    reviews: Semaphore,
    share: Semaphore,
    policies: Semaphore,
}

/// A place, for as long as it lives.
pub(super) struct Place<'p> {
    _place: SemaphorePermit<'p>,
    _share: Option<SemaphorePermit<'p>>,
}

impl Places {
    /// `reviews` at once, and half of them (rounded up, one at least) for `kube-system` and dry runs together.
    pub(super) fn new(reviews: usize) -> Self {
        let share = reviews.div_ceil(2).max(1);
        let [reviews, share, policies] = [reviews, share, MAX_POLICIES].map(Semaphore::new);
        Self { reviews, share, policies }
    }

    /// Whether a review could be begun: cheaper than to read one and then find out.
    pub(super) fn look(&self) -> Result<(), Full> {
        if self.reviews.available_permits() == 0 { Err(Full::Reviews) } else { Ok(()) }
    }

    /// A place for this review, at once or not at all.
    pub(super) fn take(&self, review: &Review) -> Result<Place<'_>, Full> {
        // Anybody may ask for dry runs as often as they like, and what runs the nodes lives in `kube-system`: neither can keep
        // the other reviews out.
        let shares = review.dry_run || review.namespace == "kube-system";
        let share = shares.then(|| self.share.try_acquire()).transpose().map_err(|_| Full::Share)?;
        let place = self.reviews.try_acquire().map_err(|_| Full::Reviews)?;
        Ok(Place { _place: place, _share: share })
    }

    /// A place for the review of a `Policy`. It is none of the reviews'.
    pub(super) fn take_for_policy(&self) -> Result<Place<'_>, Full> {
        let place = self.policies.try_acquire().map_err(|_| Full::Policies)?;
        Ok(Place { _place: place, _share: None })
    }
}
