//! The nodes on which a DaemonSet runs, and label selectors, as Kubernetes evaluates them.
//!
//! ```text
//! PodSpec ─┬─ nodeName
//!          ├─ nodeSelector, affinity ─► Term ─► Requirement ─┐
//!          └─ tolerations ────────────► Toleration ──────────┴─► PodSpec::on(&Node) ─► NodePlacement
//!
//! LabelSelector ─► Requirement ─► Domain (the values that requirements leave for a key)
//! ```
//!
//! The host and the guests use the same code, so the crate also builds for `wasm32-unknown-unknown`. It evaluates
//! values, and reads no files, clocks or sockets. It changes no object: the merge rules are in the policies' SDK.
//!
//! The types skip unknown fields and borrow strings from their text. They leave null to the reader, which reads it as
//! absent in a struct or list, and as the empty string in a map.

mod affinity;
mod domain;
mod pod;
mod requirement;
mod selector;
mod text;
mod toleration;

pub use affinity::{Affinity, NodeAffinity, NodeSelector, Term};
pub use domain::Domain;
pub use pod::{Node, NodePlacement, PodSpec, Reason};
pub use requirement::{Operator, Requirement};
pub use selector::{Clause, LabelSelector};
pub use text::{Labels, Text};
pub use toleration::{AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Taint, Toleration};
