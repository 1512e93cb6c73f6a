//! The backoff of failed watches.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// The first pause. Each further pause is twice as long.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause. Kubernetes' own clients wait up to 30 s, which is too long for a changed policy. One call every
/// 5 s from a few replicas is a negligible load for an API server.
const LONGEST: Duration = Duration::from_secs(5);

/// A backoff from 0.5 s to 5 s. An event of the watch resets it.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    last: Option<Duration>,
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.last = Some(pause);
        self.last
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.last = None;
    }
}
