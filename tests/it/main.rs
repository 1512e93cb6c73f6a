//! Wardset from outside: the binary, the server, the built modules.

#![expect(clippy::unwrap_used, reason = "a test that meets what it doesn't expect has failed")]

mod cases;
mod crd;
mod follow;
mod guests;
mod hostile;
mod laws;
mod layers;
mod readme;
mod review;
mod serve;
mod support;
