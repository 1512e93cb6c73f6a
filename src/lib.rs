//! The edges of Wardset, and the one binary.
//!
//! ```text
//! cli ──► app (composition) ──► server ──► wardset-runtime ──► wardset-core
//!   └───► review (files in, words out) ───┘
//! ```
//!
//! It owns files, sockets, certificates, the terminal and the clock. It never decides: both `wardset review` and
//! `wardset serve` hand an AdmissionReview to the same snapshot.

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
