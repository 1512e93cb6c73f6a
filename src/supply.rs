//! Supply: where policies and their modules come from, and which of them are active.
//!
//! ```text
//! files ─► follow ──┐                                ┌─► sources (builtin, file) ─► bytes
//! API server ─► cluster ──► store ─► modules ────────┴─► runtime (compiled, checked)
//!                             └─► Snapshot, which reviews read
//! ```

pub mod builtin;
pub mod cluster;
mod error;
pub mod files;
mod follow;
pub mod modules;
mod sources;
pub mod store;

pub use error::PoliciesError;
pub use follow::Followed;
