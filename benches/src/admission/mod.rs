//! Wardset against the MutatingAdmissionPolicies of a real API server, with the same rules.
//!
//! ```text
//! rules ─► variant (configuration, webhooks) ─► stage (one variant at a time, verified) ─► rounds ─► table
//! objects ─────────────────────────────────────┘        api_server
//! ```
//!
//! The load has one core. The API server, etcd and the webhooks share another one.

pub mod api_server;
pub mod objects;
pub mod rounds;
pub mod rules;
pub mod stage;
pub mod table;
pub mod variant;
