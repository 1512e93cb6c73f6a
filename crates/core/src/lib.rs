//! The pure core of Wardset: from the bytes of an AdmissionReview to a decision.
//!
//! ```text
//! bytes ─► review ─► chain (turns; someone else brings the verdicts) ─► decision ─► bytes
//!             │         │
//!          document   policy (match, gate), manifest (declared writes), verdict (untrusted)
//! ```
//!
//! It takes values and returns values: no clock, no environment, no files, no threads, no async, and it knows neither
//! wasmtime nor Kubernetes' client.

pub mod agreement;
pub mod blame;
pub mod chain;
pub mod decision;
pub mod document;
pub mod manifest;
pub mod patch;
pub mod policy;
pub mod review;
pub mod text;
pub mod verdict;

pub use jsonptr::{Pointer, PointerBuf};
