//! Admission: decides reviews and answers the webhook's requests.
//!
//! ```text
//! request ─► webhook ─► Judge (policies, labels of namespaces, evaluator) ─► Decision ─► answer
//!                         ├─► placement (warnings about nodes)
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

pub use judge::{Decided, Judge, NamespaceSource, Observer};
pub use placement::PlacementWarnings;
pub use webhook::Desk;
