//! The engine: one for the process, with the thread that makes deadlines tick.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wardset_core::policy::MAX_MEMORY;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::background::Background;
use crate::host::{Host, linker};

/// Interval at which a running guest yields its thread and checks its deadline. So a guest stops within this time
/// after its deadline, plus the time until the thread runs the guest again.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Bytes of a sandbox's memory that stay with the process once it has been used, in all pools together.
const KEPT_WARM: usize = 2 << 20;

/// A pool for each processor, and no more than this: each takes a copy of the code of every module, and address space.
const MAX_POOLS: usize = 4;

/// After so many ticks without a sandbox the ticker sleeps until there is one: an idle server costs nothing.
const QUIET_TICKS: u32 = 1000;

/// The resources that the engine reserves.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The most sandboxes at once. Default 64. A review that finds none free waits, within its deadline.
    ///
    /// Each reserves address space, and holds up to 2 MiB of memory warm once it has been used.
    pub sandboxes: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { sandboxes: 64 }
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No code is made for this machine, or it hasn't enough address space.
    #[error("the sandbox could not be set up on this machine")]
    Sandbox(#[source] wasmtime::Error),
    /// It has no threads left. Without them no deadline would hold.
    #[error("the threads for deadlines and slow guests could not be started")]
    Threads(#[source] io::Error),
}

/// The compiler and the sandboxes.
pub struct Engine {
    pools: Vec<Pool>,
    slots: Semaphore,
    sandboxes: usize,
    background: Background,
    ticker: Ticker,
}

impl Engine {
    /// Makes an engine and its ticker.
    ///
    /// # Errors
    ///
    /// If wasmtime does not support the machine, if the address space is too small for one pool, or if no thread can
    /// start.
    pub fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let pools = pools(options).map_err(EngineError::Sandbox)?;
        let background = Background::start().map_err(EngineError::Threads)?;
        let engines = pools.iter().map(|pool| pool.wasmtime.clone()).collect();
        let ticker = Ticker::start(engines).map_err(EngineError::Threads)?;
        let sandboxes = options.sandboxes as usize;
        let slots = Semaphore::new(sandboxes);
        Ok(Arc::new(Self { pools, slots, sandboxes, background, ticker }))
    }

    /// All of them, by their index.
    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Returns the pool of this thread.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pools[THREAD.with(|thread| *thread) % self.pools.len()]
    }

    /// How many more sandboxes could run now.
    #[must_use]
    pub fn free_sandboxes(&self) -> usize {
        self.slots.available_permits()
    }

    /// Runs a review without blocking other reviews: if a guest in it runs long, the review continues in the
    /// background, on threads of lower priority. Dropping the future ends it.
    pub async fn background_once_slow<T: Send + 'static>(
        &self,
        review: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.background.once_slow(review).await
    }

    /// How many could run if none did.
    pub(crate) fn sandboxes(&self) -> usize {
        self.sandboxes
    }

    /// Returns a permit for a sandbox, as soon as one is free. It must be dropped after its sandbox.
    pub(crate) fn free_slot(&self) -> Option<Slot<'_>> {
        self.slots.try_acquire().ok().map(|place| Slot::new(place, &self.ticker))
    }

    /// A place for a sandbox, once one is free.
    pub(crate) async fn slot(&self) -> Option<Slot<'_>> {
        // The semaphore is never closed.
        self.slots.acquire().await.ok().map(|place| Slot::new(place, &self.ticker))
    }
}

/// Sandboxes, their memory, and a copy of each module's code.
///
/// Threads that share a pool and a copy of the code update the same reference counts and wait for each other's
/// caches. So the threads use several pools.
pub(crate) struct Pool {
    pub(crate) index: usize,
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: wasmtime::component::Linker<Host>,
}

impl Pool {
    /// Any of them has room for all the sandboxes that there may be.
    fn new(index: usize, of: usize, options: EngineOptions) -> wasmtime::Result<Self> {
        let wasmtime = wasmtime::Engine::new(&config(options, of))?;
        let linker = linker(&wasmtime)?;
        Ok(Self { index, wasmtime, linker })
    }
}

/// One for each processor, as far as the address space reaches.
fn pools(options: EngineOptions) -> wasmtime::Result<Vec<Pool>> {
    let all = available_parallelism().map_or(1, usize::from).min(MAX_POOLS);
    let mut pools = vec![Pool::new(0, all, options)?];
    for index in 1..all {
        match Pool::new(index, all, options) {
            Ok(pool) => pools.push(pool),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    pools = index,
                    "threads share pools of sandboxes: no address space for one each"
                );
                break;
            }
        }
    }
    Ok(pools)
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Threads by the order in which they first started a sandbox.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// A place for a sandbox, in whichever pool. As long as there is one, the ticker ticks.
pub(crate) struct Slot<'e> {
    _place: SemaphorePermit<'e>,
    ticker: &'e Ticker,
}

impl<'e> Slot<'e> {
    fn new(place: SemaphorePermit<'e>, ticker: &'e Ticker) -> Self {
        ticker.begin();
        Self { _place: place, ticker }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.ticker.end();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

/// Of one of so many pools.
fn config(options: EngineOptions, pools: usize) -> Config {
    let n = options.sandboxes;
    let mut pool = PoolingAllocationConfig::new();
    // A linked module has a few core instances, memories and tables. Each total is `n` times the maximum of one
    // module, so no module can take the share of another.
    pool.total_component_instances(n)
        .total_core_instances(n * 8)
        .max_core_instances_per_component(8)
        .total_memories(n * 2)
        .max_memories_per_component(2)
        .total_tables(n * 4)
        .max_tables_per_component(4)
        .table_elements(16 * 1024)
        .total_stacks(n)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        // Memory is reset by memset and memcpy instead of system calls, which would make two threads slower than one.
        .linear_memory_keep_resident(KEPT_WARM / pools)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Sets every option that changes the code of a module. It must be the same in each process that compiles.
pub(crate) fn code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        // A verdict is a function of the guest's input: no threads, and one bit pattern for every NaN.
        .wasm_relaxed_simd(false)
        .cranelift_nan_canonicalization(true)
        // Guests have no tasks of their own, and not paying for them makes each call cheaper.
        .concurrency_support(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20);
    config
}

struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// State shared by the ticker's thread and the sandboxes.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many sandboxes there are.
    sandboxes: AtomicUsize,
    /// Whether the thread sleeps, or is about to.
    sleeps: AtomicBool,
}

impl Ticker {
    fn start(engines: Vec<wasmtime::Engine>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.tick(&engines)
        };
        let thread = std::thread::Builder::new().name("epoch-ticker".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn begin(&self) {
        self.shared.sandboxes.fetch_add(1, Ordering::SeqCst);
        // One of the two sees the other: this the sleeper, or the sleeper the sandbox.
        if self.shared.sleeps.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }

    fn end(&self) {
        self.shared.sandboxes.fetch_sub(1, Ordering::SeqCst);
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A ticker that panicked has nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&self, engines: &[wasmtime::Engine]) {
        let mut quiet = 0;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(TICK);
            engines.iter().for_each(wasmtime::Engine::increment_epoch);
            quiet = if self.sandboxes.load(Ordering::Relaxed) == 0 { quiet + 1 } else { 0 };
            if quiet >= QUIET_TICKS {
                self.sleep();
                quiet = 0;
            }
        }
    }

    fn sleep(&self) {
        self.sleeps.store(true, Ordering::SeqCst);
        // Parking returns for no reason now and then.
        while self.sandboxes.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::Relaxed) {
            std::thread::park();
        }
        self.sleeps.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn threads_are_spread_over_the_pools_and_stay_in_theirs() {
        let engine = Engine::new(EngineOptions { sandboxes: 1 }).unwrap();
        let processors = available_parallelism().unwrap().get();
        assert_eq!(engine.pools().len(), processors.min(MAX_POOLS));
        let pools = std::thread::scope(|scope| {
            let twice = || (engine.pool().index, engine.pool().index);
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(twice)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(pools.iter().all(|(once, again)| once == again), "{pools:?}");
        let used: BTreeSet<usize> = pools.iter().map(|(pool, _)| *pool).collect();
        assert_eq!(used, (0..engine.pools().len()).collect());
    }
}
