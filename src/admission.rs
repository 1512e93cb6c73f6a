//! Admission: decides reviews and answers the webhook's requests.
//!
//! ```text
//! request ─► webhook ─► Judge (policies, namespaces, nodes, evaluator) ─► Decision ─► answer
//!                         ├─► placement (warnings and annotations about nodes)
//!                         └─► observers (metrics, log line)
//! ```
//!
//! `wardset review` uses the same [`Judge`] without the webhook. Nothing else makes a decision.

pub mod judge;
pub mod observers;
mod overload_log;
mod placement;
mod policy_review;
pub(crate) mod webhook;

pub use judge::{Decided, Judge, NamespaceSource, NodeSource, Observer};
pub use webhook::Desk;
