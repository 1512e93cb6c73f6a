//! The engine: one for the process, with the thread that makes deadlines tick.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wardset_core::policy::MAX_MEMORY;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::background::Background;
use crate::host::{Host, linker};

/// How often a running guest is looked at: it yields its thread, and stops where its deadline has passed. So a deadline
/// is met to within this and the time that the thread takes to come back to the guest.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// After so many ticks without a sandbox the ticker sleeps until there is one: an idle server costs nothing.
const QUIET_TICKS: u32 = 1000;

/// What the engine reserves.
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

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No code is made for this machine, or it hasn't enough address space.
    #[error("the sandbox could not be set up on this machine")]
    Sandbox(#[source] wasmtime::Error),
    /// It has no threads left.
    #[error("the threads for slow guests could not be started")]
    Threads(#[source] io::Error),
}

/// The compiler and the pool of sandboxes.
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: wasmtime::component::Linker<Host>,
    slots: Semaphore,
    sandboxes: usize,
    background: Background,
    ticker: Ticker,
}

impl Engine {
    /// An engine and its ticker.
    ///
    /// # Errors
    ///
    /// Where the machine is none that wasmtime compiles for, has not enough address space for the pool, or no thread left.
    pub fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let wasmtime = wasmtime::Engine::new(&config(options)).map_err(EngineError::Sandbox)?;
        let linker = linker(&wasmtime).map_err(EngineError::Sandbox)?;
        let background = Background::start().map_err(EngineError::Threads)?;
        let ticker = Ticker::start(wasmtime.clone());
        let sandboxes = options.sandboxes as usize;
        let slots = Semaphore::new(sandboxes);
        Ok(Arc::new(Self { wasmtime, linker, slots, sandboxes, background, ticker }))
    }

    /// How many more sandboxes could run now.
    #[must_use]
    pub fn free_sandboxes(&self) -> usize {
        self.slots.available_permits()
    }

    /// Runs a review so that it keeps no thread from others: once a guest in it runs long, it goes on in the background, on
    /// threads of lower priority. It ends with what awaits it.
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

    /// A place in the pool, where one is free. It must be given back after its sandbox.
    pub(crate) fn free_slot(&self) -> Option<Slot<'_>> {
        self.slots.try_acquire().ok().map(|place| Slot::new(place, &self.ticker))
    }

    /// A place in the pool, once one is free.
    pub(crate) async fn slot(&self) -> Option<Slot<'_>> {
        // The semaphore is never closed.
        self.slots.acquire().await.ok().map(|place| Slot::new(place, &self.ticker))
    }
}

/// A place in the pool. As long as there is one, the ticker ticks.
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

fn config(options: EngineOptions) -> Config {
    let n = options.sandboxes;
    let mut pool = PoolingAllocationConfig::new();
    // A module that was linked from several has a few core instances, memories and tables. Each total is what `n` modules
    // take that have as many as one may have: so none can leave another without.
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
        // What a sandbox has written is set back to its first state by memset and memcpy instead of by system calls,
        // which would make two threads slower than one.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// What makes a difference to the code of a module, and so must be the same wherever one is compiled.
pub(crate) fn code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        // A verdict is a function of what the guest is given: no threads, and one bit pattern for every NaN.
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

/// What the ticker's thread and the sandboxes know of each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many sandboxes there are.
    sandboxes: AtomicUsize,
    /// Whether the thread sleeps, or is about to.
    sleeps: AtomicBool,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> Self {
        let shared = Arc::new(Shared::default());
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.tick(&engine)
        };
        // Without the thread no deadline would hold, so a machine that can't start one can't go on.
        let thread = std::thread::Builder::new().name("epoch-ticker".into()).spawn(run);
        Self {
            shared,
            thread: Some(thread.unwrap_or_else(|error| panic!("no thread for the epoch ticker: {error}"))),
        }
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
    fn tick(&self, engine: &wasmtime::Engine) {
        let mut quiet = 0;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(TICK);
            engine.increment_epoch();
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
