//! The served certificate: each TLS handshake loads it, and a change swaps it as a whole.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::{Pair, unix_seconds};
use crate::metrics::{CertificateMetrics, Reload};

/// The certificate for new connections. Open connections keep theirs.
///
/// Without a certificate, handshakes fail. It also records the certificate's metrics.
pub struct ServedCertificate {
    pair: watch::Sender<Option<Arc<Pair>>>,
    metrics: CertificateMetrics,
}

impl ServedCertificate {
    /// Creates it without a certificate.
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

    /// Counts an unusable pair. The served certificate stays.
    pub fn refuse(&self) {
        self.metrics.reloaded(Reload::Refused);
    }

    /// Returns the served pair.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Pair>> {
        self.pair.borrow().clone()
    }

    /// Waits until there is a certificate to serve.
    pub async fn loaded(&self) {
        // The sender is in `self`, so the channel cannot close while this waits.
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
