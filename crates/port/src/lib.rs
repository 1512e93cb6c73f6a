//! A port that speaks HTTPS/1.1: accepts connections, limits what clients can use of the process, and shuts down
//! without losing a request.
//!
//! ```text
//! accept ─► Connections (limit, timeouts, eviction) ─► TLS ─► HTTP/1.1 ─► the caller's router
//!                                                                           └─► Bodies (size, time, total memory)
//! ```
//!
//! It knows nothing of reviews. HTTP/2 is left out: kube-apiserver speaks HTTP/1.1 to webhooks.

pub mod bodies;
mod connections;
mod counters;
mod listener;
mod tls;

pub use bodies::{Bodies, BodyError, MAX_BODY, ReadBody};
pub use connections::{Connections, Timeouts};
pub use counters::{CloseReason, Counters};
pub use listener::{Listener, PortPhase};
pub use tls::{TlsError, config};
