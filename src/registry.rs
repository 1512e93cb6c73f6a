//! A client of OCI registries: pulls and pushes modules as artifacts. It knows no policies.
//!
//! ```text
//! OciReference ─► client ─► session (credentials, tokens) ─► http (TLS, proxies, redirects)
//!                   │
//!                   └► artifact (manifest, media types) ─► content_cache (by digest)
//! ```
//!
//! A registry is not trusted. Each answer has a limit of size and time, and content counts only if its digest matches.

mod artifact;
mod attempts;
mod challenge;
mod client;
mod content_cache;
mod credentials;
mod http;
mod options;
mod problem;
mod session;
mod signatures;
mod tags;
mod transfer;

pub use artifact::{Annotations, ModuleArtifact};
pub use client::{PulledModule, RegistryClient};
pub use content_cache::ContentCache;
pub use credentials::{CredentialSource, CredentialsError};
pub use options::{RegistryOptions, RegistryTimes};
pub use problem::{RegistryError, RegistryProblem};
pub use tags::TagList;
