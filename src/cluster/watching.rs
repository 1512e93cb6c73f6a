//! Failures of watches: when a failed watch starts again, and how the operator learns of it.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::watcher::ExponentialBackoff;

use crate::metrics::Metrics;

/// Returns the backoff of failed watches: 0.5 s, then twice as long each time, up to 5 s. An event of the watch resets
/// it. kube's default goes up to a minute, which is too long for a changed policy. One call every 5 s from a few
/// replicas is a negligible load for an API server.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .into()
}

/// Reports a failed watch, which restarts automatically.
pub(crate) fn watch_failed(metrics: &Metrics, what: &'static str, error: &kube::runtime::watcher::Error) {
    metrics.watch_failed(what);
    tracing::warn!(
        what,
        error = %error,
        "failed to watch the cluster; the last known state stays active, and the watch restarts; \
         hint: check the network and the server's RBAC rules"
    );
}

#[cfg(test)]
mod tests {
    use kube::runtime::utils::Backoff as _;

    use super::*;

    #[test]
    fn failed_watches_restart_after_half_a_second_to_five_and_never_give_up() {
        let mut backoff = backoff();
        let pauses = |backoff: &mut ExponentialBackoff| {
            backoff.take(6).map(|pause| pause.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(&mut backoff), [500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(backoff.nth(1000), Some(Duration::from_secs(5)));
        backoff.reset();
        assert_eq!(backoff.next(), Some(Duration::from_millis(500)));
    }
}
