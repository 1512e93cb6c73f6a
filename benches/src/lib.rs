//! Measures Wardset against a webhook that does nothing, and breaks what it stands on.
//!
//! ```text
//! reviews, policies ──► server (a process on one core) ◄── load (this process, on another) ──► report
//!                       inside (no process: what a review costs, part by part)
//! ```
//!
//! It owns the samples, the load and the figures. It is no part of the product, and it never changes how the product
//! works: whatever is measured or broken here is the binary that users run.

pub mod cores;
pub mod faults;
pub mod inside;
pub mod life;
pub mod load;
pub mod policies;
pub mod report;
pub mod reviews;
pub mod server;
