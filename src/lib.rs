//! The `wardset` binary and everything that touches the outside world.
//!
//! ```text
//! cli ──► app (composition) ──► server ──► wardset-runtime ──► wardset-core
//!   └───► review (files in, reports out) ──┘
//! ```
//!
//! This crate owns files, sockets, certificates, the terminal and the clock. It never decides: `wardset review` and
//! `wardset serve` both hand an AdmissionReview to the same snapshot.

pub mod admission;
pub mod app;
pub mod builtin;
pub mod certificate;
pub mod cli;
pub mod cluster;
pub mod crd;
pub mod folder;
pub mod metrics;
pub mod modules;
pub mod policies;
pub mod review;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod yaml;
