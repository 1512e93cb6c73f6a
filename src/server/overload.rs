//! The log's part of an overload: one line a second, however many requests were refused. The metric counts each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// Requests that were refused since the last line.
#[derive(Debug, Default)]
pub(super) struct Overload(AtomicU64);

impl Overload {
    /// Counts one.
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the lines, for ever.
    pub(super) async fn report(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let refused = self.0.swap(0, Ordering::Relaxed);
            if refused > 0 {
                tracing::warn!(status = 429, refused, "refused requests: too much at once");
            }
        }
    }
}
