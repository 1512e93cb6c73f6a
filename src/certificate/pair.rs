//! A certificate chain and the key that belongs to it.

use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

use super::{Facts, FactsError};

/// A certificate chain, its key, and when they end. The key is never printed.
#[derive(Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    /// What the first certificate of the chain says.
    pub leaf: Facts,
    /// The end of the chain's second certificate, which is the CA that signed the first, where the chain has one.
    pub ca_not_after: Option<SystemTime>,
}

/// Why two texts are no pair. `tls.crt` and `tls.key` are what a file, or a key of a Secret, is called everywhere.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// No PEM where the chain should be.
    #[error("`tls.crt`: expected certificates in PEM")]
    Chain(#[source] pem::Error),
    /// PEM without a certificate.
    #[error("`tls.crt`: expected at least one certificate in PEM, found none")]
    NoCertificate,
    /// PEM with something else in a certificate's place.
    #[error("`tls.crt`: expected certificates in PEM, found something else in their armour")]
    Certificate(#[source] FactsError),
    /// No PEM where the key should be.
    #[error("`tls.key`: expected a private key in PEM")]
    Key(#[source] pem::Error),
    /// Certificate and key don't belong together, or can't be used.
    #[error("`tls.crt` and `tls.key` can't be used together")]
    Unusable(#[source] rustls::Error),
}

impl Pair {
    /// Reads a chain, the leaf first, and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// A text that is no PEM, a chain without a certificate, and a key that is not the leaf's. Whether the chain verifies, and
    /// whether it has ended, is not looked at.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = super::certificates(chain).map_err(PairError::Chain)?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        let leaf = Facts::of(leaf).map_err(PairError::Certificate)?;
        let ca = chain.get(1).map(Facts::of).transpose().map_err(PairError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(PairError::Key)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(PairError::Unusable)?;
        Ok(Self { key: Arc::new(key), leaf, ca_not_after: ca.map(|ca| ca.not_after) })
    }

    /// The chain, the leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// What rustls serves.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
