//! X.509 certificates: reads their fields, verifies chains, and holds the served pair.
//!
//! ```text
//! files, Secret ──PEM──► Pair ──► ServedCertificate ◄── each TLS handshake
//!                                        │
//!                    trust::verify ◄─────┘  (against a CA bundle)
//! ```
//!
//! Three sources fill the served certificate: a folder, a development certificate, or the server's own CA in a cluster.

pub mod development;
mod facts;
mod folder;
pub mod own;
mod pair;
mod served;
pub mod trust;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use facts::{Facts, FactsError, certificates};
pub use folder::{CertificateFolder, FolderError};
pub use pair::{Pair, PairError};
pub use served::ServedCertificate;

/// Returns a time in seconds of Unix time, for metrics and logs. Times before 1970 are negative.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = |distance: Duration| i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}
