//! Per-policy quotas for sandboxes and processors.
//!
//! A policy that times out in each review could take every sandbox and every processor. So a policy has at most half
//! of the sandboxes. Guests that run long continue in the background, in time slices. Right after a review that used
//! up all of its time, the policy's reviews begin there.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::UpdateDeadline;

use crate::background::{self, to_the_end_of_the_queue};
use crate::engine::{Engine, Slot, TICK};

/// For so long after a guest of it burnt its time, a policy's reviews are in the background from the start. That bridges one such
/// review and the next, and is over soon after the last.
const BURNS_FOR: Duration = Duration::from_millis(50);

/// The places of one policy, in all snapshots that it is part of. One allocation: each evaluation holds it, on all threads.
#[derive(Clone)]
pub(crate) struct Share(Arc<Places>);

struct Places {
    sandboxes: Semaphore,
    /// Of guests that run long.
    turns: Arc<Semaphore>,
    last_burnt: Last,
}

impl Share {
    /// Half of the engine's sandboxes and of the machine's processors, at least one.
    pub(crate) fn of(engine: &Engine) -> Self {
        Self::new((engine.sandboxes() / 2).max(1), background::half_of_the_processors())
    }

    fn new(sandboxes: usize, turns: usize) -> Self {
        Self(Arc::new(Places {
            sandboxes: Semaphore::new(sandboxes),
            turns: Arc::new(Semaphore::new(turns)),
            last_burnt: Last::default(),
        }))
    }

    /// Whether a guest of the policy has burnt its time just now. It is likely then that the next does.
    pub(crate) fn burns(&self) -> bool {
        self.0.last_burnt.is_recent()
    }

    /// Acquires the policy's permit for one sandbox. It must be dropped after the sandbox. `slot` then holds a
    /// permit, which a review keeps from one policy to the next. `None` if one of the two is not free by `deadline`.
    /// No timer is set if both are free now.
    pub(crate) async fn permit<'s>(
        &'s self,
        engine: &'s Engine,
        slot: &mut Option<Slot<'s>>,
        deadline: Instant,
    ) -> Option<SemaphorePermit<'s>> {
        if let Ok(of_policy) = self.0.sandboxes.try_acquire() {
            *slot = slot.take().or_else(|| engine.free_slot());
            if slot.is_some() {
                return Some(of_policy);
            }
        }
        // A waiting review holds no permit.
        *slot = None;
        let wait = async {
            // First the policy's own, for the same reason. Neither semaphore is ever closed.
            let of_policy = self.0.sandboxes.acquire().await.ok()?;
            *slot = engine.slot().await;
            Some(of_policy)
        };
        tokio::time::timeout_at(deadline.into(), wait).await.ok().flatten()
    }
}

/// When something happened last.
#[derive(Default)]
struct Last {
    /// Milliseconds after [`STARTED`], and 0 for never.
    at: AtomicU64,
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Last {
    fn is_now(&self) {
        self.at.store(milliseconds(STARTED.elapsed()).max(1), Ordering::Relaxed);
    }

    fn is_recent(&self) -> bool {
        match self.at.load(Ordering::Relaxed) {
            0 => false,
            at => milliseconds(STARTED.elapsed()) < at + milliseconds(BURNS_FOR),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The turns of one guest. As many guests of one policy run long at once as have one, in the order in which they came.
pub(crate) struct Turns {
    share: Share,
    mine: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    state: State,
    /// How long it has certainly run.
    ran: Duration,
}

#[derive(Clone, Copy)]
enum State {
    /// It runs, and nobody knows for how long.
    Quick,
    /// It comes from letting others go on.
    Waited,
    /// It runs, since its thread has had the processor for so long.
    Since(Duration),
}

impl Turns {
    pub(crate) fn new(share: Share) -> Self {
        Self { share, mine: Arc::default(), state: State::Quick, ran: Duration::ZERO }
    }

    /// Called at each tick before a guest's deadline. At first it only yields, until the guest has run for half a
    /// tick: the first tick may come right after the start, and the system may have run something else between two.
    /// From then on the guest runs only with a time slice, in the background if there is one.
    pub(crate) fn tick(&mut self, deadline: Instant) -> UpdateDeadline {
        let wait: Pin<Box<dyn Future<Output = ()> + Send>> = match self.state {
            State::Waited => {
                self.state = State::Since(processor_time());
                return UpdateDeadline::Continue(1);
            }
            State::Quick => Box::pin(to_the_end_of_the_queue()),
            State::Since(start) => {
                self.ran += processor_time().saturating_sub(start);
                if self.runs_long() {
                    background::runs_long();
                    Box::pin(self.next_turn(deadline))
                } else {
                    Box::pin(to_the_end_of_the_queue())
                }
            }
        };
        self.state = State::Waited;
        // Looked at again as soon as the wait is over, since its deadline may have passed in it.
        UpdateDeadline::YieldCustom(0, wait)
    }

    /// The guest is stopped at its deadline.
    pub(crate) fn stopped(&self) {
        if self.runs_long() {
            self.share.0.last_burnt.is_now();
        }
    }

    fn runs_long(&self) -> bool {
        self.ran >= TICK / 2
    }

    fn next_turn(&self, deadline: Instant) -> impl Future<Output = ()> + Send + 'static {
        let (turns, mine) = (Arc::clone(&self.share.0.turns), Arc::clone(&self.mine));
        async move {
            // Others first, of other policies too, and only then the next of this one.
            to_the_end_of_the_queue().await;
            give_back(&mine);
            // Never closed. Without a turn by its deadline it is about to be stopped.
            let turn = tokio::time::timeout_at(deadline.into(), turns.acquire_owned()).await;
            *mine.lock().unwrap_or_else(PoisonError::into_inner) = turn.ok().and_then(Result::ok);
        }
    }
}

/// For how long this thread has had a processor.
fn processor_time() -> Duration {
    // It cannot fail on a system with this clock; without one, no guest counts as long-running.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn give_back(turn: &Mutex<Option<OwnedSemaphorePermit>>) {
    drop(turn.lock().unwrap_or_else(PoisonError::into_inner).take());
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// A guest that has its turn and doesn't end, and says so at each tick.
    async fn burn(share: Share, name: char, ticks: Arc<Mutex<String>>) {
        let mut turns = Turns { ran: TICK, ..Turns::new(share) };
        let far = Instant::now() + Duration::from_secs(600);
        loop {
            match turns.tick(far) {
                UpdateDeadline::YieldCustom(_, wait) => wait.await,
                _ => ticks.lock().unwrap().push(name),
            }
        }
    }

    #[tokio::test]
    async fn however_many_guests_of_one_policy_burn_no_policy_has_many_more_ticks_than_another() {
        let (many, few, ticks) = (Share::new(1, 1), Share::new(1, 1), Arc::new(Mutex::new(String::new())));
        let mut guests = JoinSet::new();
        for _ in 0..30 {
            guests.spawn(burn(many.clone(), 'm', Arc::clone(&ticks)));
        }
        guests.spawn(burn(few.clone(), 'f', Arc::clone(&ticks)));
        while ticks.lock().unwrap().len() < 1000 {
            to_the_end_of_the_queue().await;
        }
        let ticks = ticks.lock().unwrap();
        let of_few = ticks.matches('f').count();
        assert!((300..=700).contains(&of_few), "{of_few} of {}", ticks.len());
    }
}
