//! The sandbox of Wardset: policy modules run here, and no other crate knows wasmtime.
//!
//! ```text
//! bytes ─► Module (compiled or from the cache, linked, its manifest read) ─┐
//! Policy ──────────────────────────────────────────────────────────────────┴─► Snapshot ─► Evaluator ─► Decision
//!                                                                  one fresh sandbox per policy and review
//! ```
//!
//! It owns the engine, the threads on which guests run, the limits of guests, and the cache of compiled code. It never
//! interprets a verdict: `wardset-core` does.

mod cache;
mod compile;
mod engine;
mod evaluator;
mod evict;
mod host;
mod in_flight;
mod load_error;
mod module;
mod quota;
mod sandbox;
mod shape;
mod snapshot;
mod threads;
mod ticker;
mod worlds;

pub use cache::{Cache, CacheError};
pub use compile::{ChildError, CompileLimits, Compiler, MeasuredCompilation, compile_as_child};
pub use engine::{Engine, EngineError, EngineOptions};
pub use evaluator::Evaluator;
pub use evict::evict;
pub use in_flight::{Full, InFlight, InFlightPermit};
pub use load_error::{CompileError, LoadError, MAX_MODULE, SettingsError};
pub use module::Module;
pub use snapshot::{Finding, MeasuredEvaluation, Member, Snapshot, Unusable};
