//! Wardset against a real control plane. `cargo xtask e2e` starts one and runs these; `cargo test` leaves them out.

#![expect(clippy::unwrap_used, reason = "a test that meets what it doesn't expect has failed")]
#![expect(clippy::print_stderr, reason = "figures, and the words of what failed, are for who runs the tests")]

mod apply;
mod canned;
mod certificates;
mod contract;
mod control_plane;
#[path = "../it/dice.rs"]
mod dice;
mod differential;
mod failure;
mod gate;
mod generated;
#[expect(dead_code, reason = "what only the tests of all guests need")]
#[path = "../it/guests.rs"]
mod guests;
mod install;
mod installed;
mod life;
mod load;
mod nodes;
#[path = "../it/placement/oracle.rs"]
mod oracle;
mod placement;
mod pods;
mod proxy;
mod registration;
mod requests;
mod rollout;
mod support;
#[path = "../it/placement/worlds.rs"]
mod worlds;
