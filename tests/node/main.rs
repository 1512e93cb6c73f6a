//! Tests on a real kubelet and a real containerd. `cargo xtask e2e --node` starts them; `cargo test` skips these tests.
//!
//! All tests share one cluster with one node, and one install of Wardset.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![expect(clippy::print_stderr, reason = "figures are for the person who runs the tests")]

mod daemonsets;
mod helm;
mod installed;
#[path = "../e2e/kubectl.rs"]
mod kubectl;
mod load;
mod processes;
mod replicas;
