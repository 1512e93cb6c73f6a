//! The `wardset` binary and everything that touches the outside world.
//!
//! ```text
//! cli ──► server ──► admission ──► wardset-runtime ──► wardset-core
//!   └───► offline ──────┘ └── supply (policies, modules)
//! ```
//!
//! This crate owns files, sockets, certificates, the terminal and the clock. It never decides: `wardset review` and
//! `wardset serve` both hand an AdmissionReview to the same snapshot.

pub mod admission;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod crd;
pub mod folder;
pub mod metrics;
pub mod offline;
pub mod policy_bench;
pub mod policy_test;
pub mod preview;
pub mod registry;
pub mod server;
pub mod supply;
pub mod telemetry;
pub mod yaml;
