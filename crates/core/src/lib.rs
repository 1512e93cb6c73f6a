//! The pure core of Wardset: from the bytes of an AdmissionReview to a decision.
//!
//! ```text
//! bytes ─► review ─► chain (one turn per policy; the runtime supplies the verdicts) ─► decision ─► bytes
//!             │         │
//!          document   policy (match, gate), manifest (declared writes), verdict (untrusted)
//! ```
//!
//! The crate takes values and returns values. It uses no clock, environment variable, file, thread or async code. It
//! depends on neither wasmtime nor a Kubernetes client.

pub mod agreement;
pub mod answer;
pub mod blame;
pub mod chain;
pub mod decision;
pub mod document;
pub mod gate;
pub mod manifest;
pub mod patch;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod review;
pub mod text;
pub mod verdict;

pub use jsonptr::{Pointer, PointerBuf};
