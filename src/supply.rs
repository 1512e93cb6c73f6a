//! Supply: where policies and their modules come from, and which of them are active.
//!
//! ```text
//! policy_files ─► follow ──┐                      ┌─► module_sources (builtin, file) ─► bytes
//! API server ─► cluster ──┴► store ─► modules ────┴─► runtime (compiled, checked)
//!                             └─► Snapshot, which reviews read
//! ```

pub mod builtin;
pub mod cluster;
mod follow;
mod module_sources;
pub mod modules;
mod policies_error;
pub mod policy_files;
pub mod store;
pub mod trust_file;

pub use follow::Followed;
pub use module_sources::RegistrySupply;
pub use policies_error::PoliciesError;
