//! The nodes on which a DaemonSet runs, and label selectors, as Kubernetes evaluates them.
//!
//! ```text
//! PodSpec ─┬─ nodeName
//!          ├─ nodeSelector, affinity ─► Term ─► Requirement ─┐
//!          └─ tolerations ────────────► Toleration ──────────┴─► PodSpec::on(&Node) ─► NodePlacement
//!
//! NodePlacement ─► NodeAnswer ─┬─► pools (nodes with the same answer), NodeCounts
//! old and new DaemonSet, pods ─┴─► BlastRadius (the effect of an update)
//! PodSpec, Node ─► Remedy (the changes that bring the pods to a node)
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
mod alike;
mod answer;
mod conflict;
mod counts;
mod daemon_set;
mod domain;
mod node;
mod node_labels;
mod obstacle;
mod pod;
mod pool;
mod ports;
mod remedy;
mod requirement;
mod rollout;
mod rules;
mod selector;
mod text;
mod toleration;

pub use affinity::{Affinity, NodeAffinity, NodeSelector, Term};
pub use alike::alike;
pub use answer::NodeAnswer;
pub use conflict::{ExistingPod, PortConflict, port_conflicts};
pub use counts::{NodeCounts, NodeRefusal};
pub use daemon_set::{
    Amount, DaemonSet, DaemonSetSpec, PodTemplate, RollingUpdate, RolloutLimit, UpdateStrategy,
};
pub use domain::Domain;
pub use node::Node;
pub use node_labels::{NodeLabels, SharedLabels};
pub use obstacle::{Obstacle, UnavailableNodes};
pub use pod::{NodePlacement, PodSpec, Reason};
pub use pool::{Pool, pools};
pub use ports::{Container, ContainerPort, HostPort};
pub use remedy::Remedy;
pub use requirement::{Operator, Requirement};
pub use rollout::{BlastRadius, ObjectChange, Placed, Update};
pub use rules::{KubernetesVersion, VersionError};
pub use selector::{Clause, LabelSelector};
pub use text::{Labels, Text};
pub use toleration::{AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Taint, Toleration};
