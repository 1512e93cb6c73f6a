//! The thread that advances wasmtime's epoch, by which guests yield and reach their deadlines.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Interval at which a running guest yields its thread and checks its deadline. A guest stops at the latest two ticks
/// after its deadline, plus the time until a thread runs it again.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Number of ticks without a guest after which the thread parks, so that an idle server uses no CPU. To park after
/// every review would cost each review a wake-up.
const QUIET_TICKS: u32 = 1000;

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Proof that a guest may run. The ticker does not park while one exists.
pub(crate) struct Ticking<'t>(&'t Shared);

#[derive(Default)]
struct Shared {
    state: Mutex<TickerState>,
    wake: Condvar,
}

#[derive(Default)]
struct TickerState {
    guests: usize,
    parked: bool,
    stopped: bool,
}

impl Ticker {
    /// Starts the thread, which calls `advance` at each tick.
    pub(crate) fn start(advance: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.tick(advance)
        };
        let thread = std::thread::Builder::new().name("epoch-ticker".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn begin(&self) -> Ticking<'_> {
        let mut state = self.shared.lock();
        state.guests += 1;
        if state.parked {
            self.shared.wake.notify_one();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.lock().guests -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A ticker that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&self, advance: impl Fn()) {
        let mut quiet = 0;
        let mut state = self.lock();
        while !state.stopped {
            if quiet < QUIET_TICKS {
                let waited = self.wake.wait_timeout(state, TICK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                state.parked = true;
                let woken = self.wake.wait_while(state, |state| state.guests == 0 && !state.stopped);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                state.parked = false;
            }
            quiet = if state.guests == 0 { quiet + 1 } else { 0 };
            advance();
        }
    }

    fn lock(&self) -> MutexGuard<'_, TickerState> {
        // No holder can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn parks_without_guests_and_ticks_again_for_the_next() {
        let (sender, ticks) = mpsc::channel();
        let advance = move || {
            // At the end of the test, the receiver is gone before the ticker.
            let _ = sender.send(());
        };
        let ticker = Ticker::start(advance).unwrap();
        for _ in 0..2 {
            let ticking = ticker.begin();
            // One tick may be left from before the thread parked.
            for _ in 0..3 {
                ticks.recv().unwrap();
            }
            drop(ticking);
        }
        while !ticker.shared.lock().parked {
            // Ticks stop as soon as the thread parks.
            let _ = ticks.recv_timeout(TICK);
        }
        let _ticking = ticker.begin();
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
    }
}
