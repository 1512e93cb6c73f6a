//! Repeats of failed requests: backoff, and the time that a registry asks for.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::options::RegistryTimes;
use super::problem::{Again, RegistryProblem};

/// The attempts of one request.
pub(super) struct Attempts<'t> {
    times: &'t RegistryTimes,
    failed: u32,
}

impl<'t> Attempts<'t> {
    pub(super) fn new(times: &'t RegistryTimes) -> Self {
        Self { times, failed: 0 }
    }

    /// Waits before the next attempt. Returns the problem, with the number of attempts, if there is none.
    pub(super) async fn wait_after(
        &mut self,
        problem: RegistryProblem,
    ) -> Result<(), (u32, RegistryProblem)> {
        self.failed += 1;
        let backoff = self.times.backoff * 2_u32.saturating_pow(self.failed - 1);
        let wait = match problem.again() {
            Again::Later => jittered(backoff),
            Again::After(time) if time <= self.times.longest_wait => time,
            Again::Never | Again::After(_) => return Err((self.failed, problem)),
        };
        if self.failed >= self.times.attempts {
            return Err((self.failed, problem));
        }
        tracing::info!(
            problem = %problem,
            attempt = self.failed,
            wait_ms = wait.as_millis(),
            "a request to the registry failed; retrying"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Returns a time between half and all of `most`, so that many replicas do not repeat at the same instant.
fn jittered(most: Duration) -> Duration {
    // The hash of nothing with random keys.
    let random = RandomState::new().hash_one(()) % 1024;
    most.mul_f64(0.5 + random as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: RegistryTimes = RegistryTimes::DEFAULT;

    fn limited(after: Option<u64>) -> RegistryProblem {
        RegistryProblem::RateLimited { host: "r".to_owned(), after: after.map(Duration::from_secs) }
    }

    async fn waited(attempts: &mut Attempts<'_>, problem: RegistryProblem) -> Option<Duration> {
        let start = tokio::time::Instant::now();
        attempts.wait_after(problem).await.ok().map(|()| start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_backoff_doubles_until_the_last_attempt() {
        let mut attempts = Attempts::new(&TIMES);
        for most in [500, 1000, 2000].map(Duration::from_millis) {
            let wait = waited(&mut attempts, limited(None)).await.unwrap();
            assert!(most / 2 <= wait && wait <= most + Duration::from_millis(1), "{wait:?} of {most:?}");
        }
        assert_eq!(attempts.wait_after(limited(None)).await.unwrap_err().0, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_may_ask_for_a_minute_and_no_longer() {
        let mut attempts = Attempts::new(&TIMES);
        assert_eq!(waited(&mut attempts, limited(Some(60))).await.unwrap().as_secs(), 60);
        assert_eq!(waited(&mut attempts, limited(Some(61))).await, None);
    }

    #[tokio::test]
    async fn a_problem_that_stays_is_not_tried_again() {
        let problem = RegistryProblem::Untrusted { host: "r".to_owned() };
        assert_eq!(Attempts::new(&TIMES).wait_after(problem).await.unwrap_err().0, 1);
    }
}
