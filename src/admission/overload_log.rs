//! Limits the log to one line per second under overload. The metric counts every refused request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// The number of requests refused since the last line.
#[derive(Debug, Default)]
pub(crate) struct Overload(AtomicU64);

impl Overload {
    /// Counts a refused request.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes one log line per second while requests are refused. Never returns.
    pub(crate) async fn report(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let refused = self.0.swap(0, Ordering::Relaxed);
            if refused > 0 {
                tracing::warn!(
                    status = 429,
                    refused,
                    "overloaded: refused requests; the API server retries or applies its `failurePolicy`; \
                     hint: add replicas or raise `--max-in-flight`"
                );
            }
        }
    }
}
