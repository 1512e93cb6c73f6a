//! The threads on which guests run, one for each CPU.
//!
//! They are separate from the threads that read sockets. So a busy server still reads requests, and refuses those that
//! are too many.

use std::future::pending;
use std::io;
use std::panic::resume_unwind;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Returns the number of CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}

pub(crate) struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(cpus())
            .thread_name("guests")
            .enable_time()
            // A guest may hold a thread for a whole tick. Timers and new reviews are therefore polled after each one.
            .event_interval(1)
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs `work` on one of these threads and returns its result. If the caller drops the future, the work ends at
    /// its next yield. A panic of the work continues in the caller.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Some(runtime) = &self.runtime else { return pending().await };
        match AbortOnDropHandle::new(runtime.spawn(work)).await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The threads are shutting down, and the process with them.
                Err(_) => pending().await,
            },
        }
    }
}

impl Drop for Threads {
    /// Does not wait: the engine may be dropped on one of these threads.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn runs_work_on_threads_of_its_own() {
        let threads = Threads::start().unwrap();
        let name = threads.run(async { thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name.as_deref(), Some("guests"));
    }

    #[tokio::test]
    async fn ends_work_that_nobody_awaits_any_more() {
        struct Ends(Arc<Notify>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let threads = Threads::start().unwrap();
        let (started, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (has_started, ends) = (Arc::clone(&started), Ends(Arc::clone(&ended)));
        let work = threads.run(async move {
            let _ends = ends;
            has_started.notify_one();
            pending::<()>().await;
        });
        tokio::select! {
            () = work => panic!("the work has no end"),
            () = started.notified() => {}
        }
        ended.notified().await;
    }

    #[tokio::test]
    #[should_panic(expected = "a defect")]
    async fn passes_a_panic_on_to_the_caller() {
        let threads = Threads::start().unwrap();
        threads.run::<()>(async { panic!("a defect") }).await;
    }
}
