//! Measures Wardset against a webhook that does nothing, and breaks its environment.
//!
//! ```text
//! reviews, policies ──► server (a process on one core) ◄── load (this process, on another) ──► report
//!                       inside (no process: the cost of a review, part by part)
//! ```
//!
//! It owns the samples, the load and the figures. It is no part of the product and never changes it: it runs the
//! binary that users run.

pub mod admission;
pub mod cores;
pub mod faults;
pub mod inside;
pub mod life;
pub mod load;
pub mod nodes;
pub mod policies;
pub mod report;
pub mod reviews;
pub mod server;
