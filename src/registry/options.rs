//! How to reach registries, and the limits of time.

use std::path::PathBuf;
use std::time::Duration;

use super::credentials::CredentialSource;

/// How to reach registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// File (PEM) with CAs that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// Registries (`HOST` or `HOST:PORT`) that are reached by plain HTTP.
    pub insecure: Vec<String>,
    /// The files with credentials.
    pub credentials: CredentialSource,
    /// Limits of time.
    pub times: RegistryTimes,
}

/// Limits of time, and of attempts.
#[derive(Debug, Clone)]
pub struct RegistryTimes {
    /// To connect, TLS included.
    pub connect: Duration,
    /// Without a byte from the registry.
    pub idle: Duration,
    /// Of a whole pull or push, repeats included.
    pub whole: Duration,
    /// Attempts of one request.
    pub attempts: u32,
    /// Maximum pause after the first failure. It doubles with each further one.
    pub backoff: Duration,
    /// Maximum time that the client waits if a registry asks for it. After that, the operation fails.
    pub longest_wait: Duration,
}

impl RegistryTimes {
    /// The defaults: four attempts within 3.5 s if nothing answers, and 5 minutes for 32 MiB over a slow network.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        idle: Duration::from_secs(20),
        whole: Duration::from_secs(300),
        attempts: 4,
        backoff: Duration::from_millis(500),
        longest_wait: Duration::from_secs(60),
    };
}

impl Default for RegistryTimes {
    fn default() -> Self {
        Self::DEFAULT
    }
}
