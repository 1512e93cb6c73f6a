//! The sandbox of Wardset: policy modules run here, and no other crate knows wasmtime.
//!
//! ```text
//! bytes ─► Module (compiled or from the cache, linked, its manifest read) ─┐
//! Policy ──────────────────────────────────────────────────────────────────┴─► Snapshot ─► decide(review) ─► Decision
//!                                                                                 each turn: one fresh sandbox
//! ```
//!
//! It owns the engine and its epoch ticker, the limits of guests, and the cache of compiled code. It never interprets
//! a verdict: `wardset-core` does.

mod background;
mod cache;
mod compile;
mod contract;
mod engine;
mod guest;
mod host;
mod module;
mod sandbox;
mod shape;
mod share;
mod snapshot;

pub use background::to_the_end_of_the_queue;
pub use cache::{Cache, CacheError};
pub use compile::{ChildError, CompileError, CompileLimits, Compiler, compile_as_child};
pub use engine::{Engine, EngineError, EngineOptions};
pub use module::{LoadError, MAX_MODULE, Module, SettingsError};
pub use snapshot::{Finding, Member, Parts, Snapshot, Unusable};
