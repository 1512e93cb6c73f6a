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
//! and explains wrong settings. It also has the rules by which Kubernetes reads tolerations, node affinity and
//! selectors. Natively, the [`testing`] harness tests policies without a sandbox.
//!
//! It never parses the whole document, and it never writes a field unless the policy asks for it. It has no clock, no
//! random numbers and no I/O.

// The generated bindings name this crate as its users do.
extern crate self as wardset_policy_sdk;

mod affinity;
#[cfg(target_arch = "wasm32")]
mod heap;
#[cfg(target_arch = "wasm32")]
mod host;
mod json;
mod label;
mod mismatch;
mod patch;
pub mod pointer;
mod policy;
mod requirement;
mod review;
mod selector;
pub mod settings;
mod shape;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod text;
mod toleration;
mod verdict;
#[doc(hidden)]
pub mod wit;

pub use affinity::{Outcome, Placement, Wanted};
pub use label::{InvalidLabel, check_key, check_value};
pub use patch::Patch;
pub use policy::{Exported, Manifest, Policy, Stop};
pub use requirement::{Domain, Operator, Requirement};
pub use review::Review;
pub use selector::{Clause, LabelSelector};
pub use settings::SettingsError;
pub use text::{Labels, Text};
pub use toleration::{Taint, Toleration, add_tolerations};
pub use wit::wardset::policy::types::{
    Change, ClusterData, Denial, DenialCode, Edit, Level, Note, Operation, Placed, Request, TemplateGate,
    Verdict, Warning,
};
