//! Threads of lower priority, for reviews whose guests run long.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io;
use std::mem;
use std::panic::resume_unwind;
use std::task::Poll;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Nice value of these threads, of 19. If other threads want a processor as well, these get a quarter of it. So a
/// policy that takes some milliseconds keeps its timeout. At 19 they would get a seventieth.
const NICE: i32 = 5;

thread_local! {
    static RUNS_LONG: Cell<bool> = const { Cell::new(false) };
}

/// Says of the guest that runs on this thread, and is about to let others go on, that it runs long.
pub(crate) fn runs_long() {
    RUNS_LONG.set(true);
}

/// Continues in the background, if there is one.
pub(crate) async fn step_aside() {
    runs_long();
    to_the_end_of_the_queue().await;
}

/// Lets all ready tasks run first. tokio's `yield_now` also waits for tasks that become ready meanwhile.
pub async fn to_the_end_of_the_queue() {
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

/// Half of the machine's processors, one at least.
pub(crate) fn half_of_the_processors() -> usize {
    (available_parallelism().map_or(1, usize::from) / 2).max(1)
}

/// As many threads as half of the processors.
pub(crate) struct Background {
    /// None once it is dropped.
    threads: Option<Runtime>,
}

impl Background {
    pub(crate) fn start() -> io::Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(half_of_the_processors())
            .thread_name("slow-guests")
            .on_thread_start(step_back)
            .enable_time()
            // A guest takes a whole tick each time: as often as that the timers are looked at.
            .event_interval(1)
            .build()?;
        Ok(Self { threads: Some(threads) })
    }

    /// Runs the review here until a guest in it runs long, and from then on in the background. Dropping the future
    /// ends it.
    pub(crate) async fn once_slow<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let mut future = Box::pin(future);
        let here = poll_fn(|context| {
            RUNS_LONG.set(false);
            match future.as_mut().poll(context) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending if RUNS_LONG.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(value) = here.await {
            return value;
        }
        let mut there = JoinSet::new();
        if let Some(threads) = &self.threads {
            there.spawn_on(future, threads.handle());
        }
        match there.join_next().await {
            Some(Ok(value)) => value,
            Some(Err(failed)) if failed.is_panic() => resume_unwind(failed.into_panic()),
            // Cancelled: the threads end with the engine, and who awaits this has it.
            _ => pending().await,
        }
    }
}

/// If it fails, these threads have normal priority. On other systems than Linux the call would change the whole
/// process.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "slow guests have the same priority as others");
    }
}

impl Drop for Background {
    /// Without waiting for anything: an engine may be dropped on one of these threads.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use tokio::sync::Notify;

    use super::*;

    fn name() -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    /// Of this thread, on Linux.
    fn priority() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn what_runs_long_goes_on_behind_others_and_what_does_not_stays() {
        let background = Background::start().unwrap();
        let here = name();
        assert_eq!(background.once_slow(async { (to_the_end_of_the_queue().await, name()).1 }).await, here);
        let there = background.once_slow(async {
            let before = (name(), priority());
            step_aside().await;
            (before, (name(), priority()))
        });
        let (before, after) = there.await;
        assert_eq!(before, (here, priority()));
        assert_eq!(after.0.as_deref(), Some("slow-guests"));
        if cfg!(target_os = "linux") {
            assert_eq!(after.1, (before.1 + NICE).min(19));
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_ends() {
        struct Ends(Arc<Notify>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let background = Background::start().unwrap();
        let (there, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (is_there, ends) = (Arc::clone(&there), Ends(Arc::clone(&ended)));
        let waits = background.once_slow(async move {
            let _ends = ends;
            step_aside().await;
            is_there.notify_one();
            pending::<()>().await;
        });
        tokio::select! {
            () = waits => panic!("it has no end"),
            () = there.notified() => {}
        }
        ended.notified().await;
    }

    #[tokio::test]
    #[should_panic(expected = "a defect")]
    async fn a_panic_is_that_of_who_waits() {
        let background = Background::start().unwrap();
        let breaks = async {
            step_aside().await;
            panic!("a defect");
        };
        background.once_slow::<()>(breaks).await;
    }
}
