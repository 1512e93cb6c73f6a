//! The certificate in force: each TLS handshake takes it, a change swaps it whole.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::{Pair, unix_seconds};
use crate::metrics::{CertificateMetrics, Reload};

/// The certificate that new connections get. Connections that are open keep theirs and go on.
///
/// Without one, a handshake fails. It owns the metrics of when the certificate ends and of how often it was replaced.
pub struct ServedCertificate {
    pair: watch::Sender<Option<Arc<Pair>>>,
    metrics: CertificateMetrics,
}

impl ServedCertificate {
    /// None yet.
    #[must_use]
    pub fn new(metrics: CertificateMetrics) -> Self {
        Self { pair: watch::Sender::new(None), metrics }
    }

    /// Serves `pair` from the next handshake on.
    pub fn replace(&self, pair: Pair) {
        self.metrics.ends(unix_seconds(pair.leaf.not_after), pair.ca_not_after.map(unix_seconds));
        self.metrics.reloaded(Reload::Loaded);
        self.pair.send_replace(Some(Arc::new(pair)));
    }

    /// Counts a pair that can't be served. What is being served stays.
    pub fn refuse(&self) {
        self.metrics.reloaded(Reload::Refused);
    }

    /// What is being served.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Pair>> {
        self.pair.borrow().clone()
    }

    /// Waits until there is one to serve.
    pub async fn loaded(&self) {
        // The sender is `self`, so the channel can't be closed while this waits.
        let _ = self.pair.subscribe().wait_for(Option::is_some).await;
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.borrow().as_ref().map(|pair| pair.key())
    }
}

impl std::fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServedCertificate").field(&*self.pair.borrow()).finish()
    }
}
