//! The SDK for Wardset policies.
//!
//! ```text
//! host ──► export_policy! ──► Policy::evaluate(&Review, &Settings) ──► Verdict
//!                                   │ reads by JSON pointer    ▲
//!                                   ▼                          │ changes
//!                             typed parts ──► merge rules ──► Patch
//! ```
//!
//! The SDK connects a policy with the contract in `wit/`: it reads typed parts of the document, builds minimal patches
//! and explains wrong settings. It also has the merge rules for tolerations and node affinity; `placement` has the rules
//! by which Kubernetes evaluates them. Natively, the [`testing`] harness tests policies without a sandbox.
//!
//! It never parses the whole document, and it never writes a field unless the policy asks for it. It has no clock, no
//! random numbers and no I/O.

// The generated bindings name this crate as its users do.
extern crate self as wardset_policy_sdk;

mod affinity;
// Links to sources that the host shares. As packages outside this workspace, they would put the checkout's absolute path
// into the symbols of the modules, and the package on crates.io would need them there.
#[cfg(not(target_arch = "wasm32"))]
#[path = "cases/lib.rs"]
pub mod cases;
#[cfg(target_arch = "wasm32")]
mod heap;
#[cfg(target_arch = "wasm32")]
mod host;
mod json;
mod label;
mod mismatch;
mod patch;
#[path = "placement/lib.rs"]
pub mod placement;
pub mod pointer;
mod policy;
mod review;
pub mod settings;
mod shape;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod toleration;
mod verdict;
#[doc(hidden)]
pub mod wit;

pub use affinity::{Outcome, Placement, Wanted};
pub use label::{InvalidLabel, check_key, check_value};
pub use patch::Patch;
pub use placement::{
    AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Clause, Domain, LabelSelector, Labels, Operator, Requirement,
    Taint, Text, Toleration,
};
pub use policy::{Exported, Manifest, Policy, Stop};
pub use review::Review;
pub use settings::SettingsError;
pub use toleration::add_tolerations;
pub use wit::wardset::policy::placement::{NodeCounts, PodEffect, Refusal};
pub use wit::wardset::policy::types::{
    Change, ClusterData, Denial, DenialCode, Edit, Level, Note, Operation, Placed, Request, TemplateGate,
    Verdict, Warning,
};
