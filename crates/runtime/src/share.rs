//! What one policy may have of what is for all: sandboxes and processors.
//!
//! One that burns its whole time in each review would come to hold every sandbox, and its guests would take turns on every
//! processor with the guests of others. So a policy has half of the sandboxes at most, and its guests that run longer than
//! others do share half of the processors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::UpdateDeadline;

use crate::engine::{Engine, Slot};

/// The places of one policy, in all snapshots that it is part of.
#[derive(Clone)]
pub(crate) struct Share {
    sandboxes: Arc<Semaphore>,
    slow_lane: Lane,
}

impl Share {
    /// Half of the engine's sandboxes and of the machine's processors, at least one.
    pub(crate) fn of(engine: &Engine) -> Self {
        let half = |all: usize| Arc::new(Semaphore::new((all / 2).max(1)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { sandboxes: half(engine.sandboxes()), slow_lane: Lane(half(processors)) }
    }

    /// Where guests of the policy go on that run long.
    pub(crate) fn slow_lane(&self) -> Lane {
        self.slow_lane.clone()
    }

    /// The policy's permit for one sandbox, given back when it is dropped; that must be after the sandbox. `slot` has a place
    /// in the pool then, which a review keeps from one policy to the next. None where one of the two is not free by
    /// `deadline`. No timer is set where both are free now.
    pub(crate) async fn permit<'s>(
        &'s self,
        engine: &'s Engine,
        slot: &mut Option<Slot<'s>>,
        deadline: Instant,
    ) -> Option<SemaphorePermit<'s>> {
        if let Ok(of_policy) = self.sandboxes.try_acquire() {
            *slot = slot.take().or_else(|| engine.free_slot());
            if slot.is_some() {
                return Some(of_policy);
            }
        }
        // What waits keeps no place of the pool from others.
        *slot = None;
        let wait = async {
            // First the policy's own, for the same reason. Neither semaphore is ever closed.
            let of_policy = self.sandboxes.acquire().await.ok()?;
            *slot = engine.slot().await;
            Some(of_policy)
        };
        tokio::time::timeout_at(deadline.into(), wait).await.ok().flatten()
    }
}

/// As many guests of one policy at once as have turns here, in the order in which they came.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Semaphore>);

/// The turns of one guest.
pub(crate) struct Turns {
    lane: Arc<Semaphore>,
    mine: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// It has run for less than a tick.
    Quick,
    /// It has had a turn.
    Ran,
    /// It comes from waiting for its turn.
    Waited,
}

impl Turns {
    pub(crate) fn new(lane: &Lane) -> Self {
        Self { lane: Arc::clone(&lane.0), mine: Arc::default(), state: State::Quick }
    }

    /// What a guest does at a tick, before its deadline: at the first it lets others go on and no more, since the tick may have
    /// come right after its start. From the second on it runs only while it has a turn.
    pub(crate) fn tick(&mut self, deadline: Instant) -> UpdateDeadline {
        match self.state {
            State::Quick => {
                self.state = State::Ran;
                UpdateDeadline::Yield(1)
            }
            State::Ran => {
                self.state = State::Waited;
                // Looked at again as soon as the wait is over, since its deadline may have passed in it.
                UpdateDeadline::YieldCustom(0, Box::pin(self.next_turn(deadline)))
            }
            State::Waited => {
                self.state = State::Ran;
                UpdateDeadline::Continue(1)
            }
        }
    }

    fn next_turn(&self, deadline: Instant) -> impl Future<Output = ()> + Send + 'static {
        let (lane, mine) = (Arc::clone(&self.lane), Arc::clone(&self.mine));
        async move {
            give_back(&mine);
            tokio::task::yield_now().await;
            // Never closed. Without a turn by its deadline it is about to be stopped.
            let turn = tokio::time::timeout_at(deadline.into(), lane.acquire_owned()).await;
            *mine.lock().unwrap_or_else(PoisonError::into_inner) = turn.ok().and_then(Result::ok);
        }
    }
}

fn give_back(turn: &Mutex<Option<OwnedSemaphorePermit>>) {
    drop(turn.lock().unwrap_or_else(PoisonError::into_inner).take());
}
