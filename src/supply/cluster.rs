//! Policies from `Policy` resources, and their `status`.

pub(crate) mod status;
pub(crate) mod watch;

pub use status::PolicyStatus;
