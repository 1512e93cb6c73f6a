//! The engine: wasmtime, its pool of sandboxes, and the threads on which guests run. One for the process.

use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use wardset_core::policy::MAX_MEMORY;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::host::Host;
use crate::threads::Threads;
use crate::ticker::{Ticker, Ticking};
use crate::worlds;

/// Bytes of a sandbox's memory that stay with the process after its first use.
const KEPT_WARM: usize = 2 << 20;

/// Core instances of one module. Python with a closed WASI has 38.
const CORE_INSTANCES: u32 = 64;

/// Memories of one module. QuickJS with a closed WASI has 3, of which two are empty. Together they may have no more
/// bytes than the policy's memory limit.
const MEMORIES: u32 = 4;

/// Tables of one module.
const TABLES: u32 = 4;

/// The resources that the engine reserves.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Maximum number of sandboxes at the same time. Default 64. A review that finds none free waits, within its
    /// deadline.
    ///
    /// Each reserves 16 GiB of address space, and keeps up to 2 MiB of each memory after its first use.
    pub sandboxes: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { sandboxes: 64 }
    }
}

/// An error that keeps the engine from starting.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime does not support this machine, or the address space is too small.
    #[error("failed to set up the sandbox on this machine")]
    Sandbox(#[source] wasmtime::Error),
    /// The process may not start more threads. Without them, no deadline would hold.
    #[error("failed to start the threads that run policies and enforce their deadlines")]
    Threads(#[source] io::Error),
}

/// wasmtime with a pool of sandboxes, and the threads that run guests.
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) threads: Threads,
    sandboxes: Semaphore,
    capacity: usize,
    ticker: Ticker,
}

/// A permit for one sandbox. It must be dropped after its sandbox.
pub(crate) struct Permit<'e> {
    _sandbox: SemaphorePermit<'e>,
    _ticking: Ticking<'e>,
}

impl Engine {
    /// Creates an engine with its threads.
    ///
    /// # Errors
    ///
    /// If wasmtime does not support the machine, if the address space is too small, or if no thread can start.
    pub fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let wasmtime = wasmtime::Engine::new(&config(options)).map_err(EngineError::Sandbox)?;
        let mut linker = Linker::new(&wasmtime);
        worlds::wardset::add_to_linker(&mut linker).map_err(EngineError::Sandbox)?;
        let threads = Threads::start().map_err(EngineError::Threads)?;
        let ticked = wasmtime.clone();
        let ticker = Ticker::start(move || ticked.increment_epoch()).map_err(EngineError::Threads)?;
        let capacity = options.sandboxes as usize;
        Ok(Arc::new(Self {
            wasmtime,
            linker,
            threads,
            sandboxes: Semaphore::new(capacity),
            capacity,
            ticker,
        }))
    }

    /// Returns how many more sandboxes could run now.
    #[must_use]
    pub fn free_sandboxes(&self) -> usize {
        self.sandboxes.available_permits()
    }

    /// Returns the maximum number of sandboxes.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns a permit for a sandbox as soon as one is free.
    pub(crate) async fn permit(&self) -> Option<Permit<'_>> {
        // The semaphore is never closed.
        let sandbox = self.sandboxes.acquire().await.ok()?;
        Some(Permit { _sandbox: sandbox, _ticking: self.ticker.begin() })
    }
}

fn config(options: EngineOptions) -> Config {
    let n = options.sandboxes;
    let mut pool = PoolingAllocationConfig::new();
    // A linked module has a few core instances, memories and tables. Each total is `n` times the maximum of one
    // module, so no module can take the share of another.
    pool.total_component_instances(n)
        .total_core_instances(n * CORE_INSTANCES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(n * MEMORIES)
        .max_memories_per_component(MEMORIES)
        .total_tables(n * TABLES)
        .max_tables_per_component(TABLES)
        .table_elements(16 * 1024)
        .total_stacks(n)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        // Memory is reset by memset and memcpy instead of system calls, which would make two threads slower than one.
        .linear_memory_keep_resident(KEPT_WARM)
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
