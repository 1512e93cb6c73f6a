//! Tests of Wardset from the outside: the binary, the server, the built modules.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod apiserver;
mod benchmark;
mod cel;
mod connections;
mod crd;
mod dice;
mod docs;
mod follow;
mod guests;
mod hostile;
mod issuance;
mod laws;
mod layers;
mod layout;
mod malformed;
mod manifests;
mod place;
mod placement;
mod policy_bench;
mod policy_dev;
mod policy_new;
mod policy_test;
mod registry;
mod review;
mod rotation;
mod serve;
mod support;
