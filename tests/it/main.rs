//! Wardset from outside: the binary, the server, the built modules.

mod cases;
mod hostile;
mod laws;
mod layers;
mod readme;
mod review;
mod serve;
mod support;
