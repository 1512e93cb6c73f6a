//! Wardset against a real control plane. `cargo xtask e2e` starts one and runs these; `cargo test` leaves them out.

#![expect(clippy::unwrap_used, reason = "a test that meets what it doesn't expect has failed")]

mod control_plane;
mod install;
mod installed;
mod load;
mod proxy;
mod support;
