//! How long a watch that broke waits before it is taken up again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);

/// The longest. Kubernetes' own clients go to 30 s; a policy that is back should not wait so long, and a handful of replicas asking
/// each 5 s is nothing to an API server.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses from half a second to five seconds. An event of the watch sets it back.
#[derive(Debug, Default)]
pub(super) struct Pause {
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
