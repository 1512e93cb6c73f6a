//! Wardset against a real control plane. `cargo xtask e2e` starts one and runs these; `cargo test` leaves them out.

#![expect(clippy::unwrap_used, reason = "a test that meets what it doesn't expect has failed")]
#![expect(clippy::print_stderr, reason = "figures, and the words of what failed, are for who runs the tests")]

mod certificates;
mod control_plane;
mod install;
mod installed;
mod load;
mod proxy;
mod support;
