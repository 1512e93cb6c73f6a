//! The cost of warnings about placement in a large cluster: memory of the server, and time of a review.
//!
//! ```text
//! fleet (Node objects) ─► a real API server ─► wardset serve --cluster ◄─ reviews, with warnings and without ─► table
//! ```
//!
//! One server gives both kinds of reviews, in turn: two policies differ only in `warnPlacement` and in their namespace.

pub mod fleet;
pub mod measure;
pub mod table;
