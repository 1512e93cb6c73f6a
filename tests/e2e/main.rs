//! Tests against a real control plane. `cargo xtask e2e` starts one and runs them; `cargo test` skips them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![expect(clippy::print_stderr, reason = "figures and messages are for the person who runs the tests")]

mod apply;
mod canned;
mod certificates;
mod contract;
mod control_plane;
#[path = "../it/dice.rs"]
mod dice;
mod differential;
#[expect(dead_code, reason = "only the tests of a tampered module use one function")]
#[path = "../it/registry/docker_registry.rs"]
mod docker_registry;
mod expressions;
mod failure;
mod gate;
mod generated;
#[expect(dead_code, reason = "only the tests of all guests use these functions")]
#[path = "../it/guests.rs"]
mod guests;
mod install;
mod installed;
mod kubectl;
mod life;
mod load;
mod nodes;
#[path = "../it/placement/oracle.rs"]
mod oracle;
mod placement;
mod pods;
mod preview;
mod proxy;
mod registration;
mod registry;
mod requests;
mod rollout;
mod rollouts;
mod spread;
mod support;
#[path = "../it/placement/worlds.rs"]
mod worlds;
