//! The adapter that closes WASI preview 1 at build time.
//!
//! The runtimes of Go, Zig and C import `wasi_snapshot_preview1`. A policy must not: its world has no clock, no files
//! and no random numbers. So the component gets this small module, which answers instead of a host. Its source is
//! `adapter/wasi_snapshot_preview1.wat`.

/// The import name of the functions that the adapter exports.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The adapter: a core module that exports all functions of WASI preview 1 and imports only `env.memory`.
pub const WASI_ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi_snapshot_preview1.wasm"));

#[cfg(test)]
mod tests;
