//! The quota of one policy: how many sandboxes it may use at the same time.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::Engine;
use crate::threads::cpus;

/// Sandboxes that one policy may use at the same time, for each CPU. Guests never wait, so more would not decide
/// faster. A policy that always times out can delay other policies by this number of milliseconds.
const SANDBOXES_PER_CPU: usize = 2;

/// The permits of one policy, in all snapshots of which it is part.
#[derive(Clone)]
pub(crate) struct Quota(Arc<Semaphore>);

impl Quota {
    /// Two sandboxes per CPU; at most half of the engine's, and at least one.
    pub(crate) fn new(engine: &Engine) -> Self {
        let permits = (SANDBOXES_PER_CPU * cpus()).min(engine.capacity() / 2).max(1);
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// Returns a permit as soon as one is free.
    pub(crate) async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.0.acquire().await.ok()
    }
}
