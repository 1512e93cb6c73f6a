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

/// The parts of one module for which the pool has room.
#[derive(Debug, Clone, Copy)]
struct ModuleParts {
    core_instances: u32,
    memories: u32,
}

/// Python with a closed WASI has 38 core instances. QuickJS with a closed WASI has 3 memories, of which two are empty.
/// Together the memories may have no more bytes than the policy's memory limit.
const PARTS: ModuleParts = ModuleParts { core_instances: 64, memories: 4 };

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
        let wasmtime = wasmtime::Engine::new(&config(options, PARTS)).map_err(EngineError::Sandbox)?;
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

fn config(options: EngineOptions, parts: ModuleParts) -> Config {
    let n = options.sandboxes;
    let ModuleParts { core_instances, memories } = parts;
    let mut pool = PoolingAllocationConfig::new();
    // A linked module has a few core instances, memories and tables. Each total is `n` times the maximum of one
    // module, so no module can take the share of another.
    pool.total_component_instances(n)
        .total_core_instances(n * core_instances)
        .max_core_instances_per_component(core_instances)
        .total_memories(n * memories)
        .max_memories_per_component(memories)
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The parts for which the pool had room before it took the modules of language runtimes.
    const FORMER_PARTS: ModuleParts = ModuleParts { core_instances: 8, memories: 2 };

    /// Pools of each size. The table shows medians.
    const POOLS: usize = 15;

    /// Returns a value of `/proc/self/status`, in KiB.
    fn status(field: &str) -> i64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Makes an engine with its pool. Returns the time in microseconds, and the growth of resident memory and of address
    /// space in KiB. `kept` keeps the engine, so that the next one does not get its memory.
    fn measure(parts: ModuleParts, kept: &mut Vec<wasmtime::Engine>) -> [i64; 3] {
        let (resident, space, started) = (status("VmRSS"), status("VmSize"), Instant::now());
        let engine = wasmtime::Engine::new(&config(EngineOptions::default(), parts)).unwrap();
        let time = i64::try_from(started.elapsed().as_micros()).unwrap();
        let grown = [time, status("VmRSS") - resident, status("VmSize") - space];
        kept.push(engine);
        grown
    }

    /// Prints a table. `docs/performance.md` shows one.
    #[test]
    #[ignore = "measures, and asserts little; run it alone"]
    fn cost_of_the_pool() {
        let sizes = [FORMER_PARTS, PARTS];
        let mut kept = Vec::new();
        // The first engine also pays the costs that all engines share.
        for parts in sizes {
            measure(parts, &mut kept);
        }
        let mut measured = [Vec::new(), Vec::new()];
        for _ in 0..POOLS {
            for (all, parts) in measured.iter_mut().zip(sizes) {
                all.push(measure(parts, &mut kept));
            }
        }
        println!("| core instances | memories | start, ms | resident, KiB | address space, GiB |");
        println!("|---|---|---|---|---|");
        for (all, ModuleParts { core_instances, memories }) in measured.iter().zip(sizes) {
            let median = |column: usize| {
                let mut values: Vec<i64> = all.iter().map(|row| row[column]).collect();
                values.sort_unstable();
                values[values.len() / 2]
            };
            let (milliseconds, gib) = (median(0) as f64 / 1e3, median(2) as f64 / f64::from(1 << 20));
            println!("| {core_instances} | {memories} | {milliseconds:.2} | {} | {gib:.1} |", median(1));
            assert!(median(1) < 16 << 10, "the pool alone should take less than 16 MiB");
        }
    }
}
