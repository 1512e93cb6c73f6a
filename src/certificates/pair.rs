//! A certificate chain and the key that belongs to it.

use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

use super::{Facts, FactsError};

/// A certificate chain, its key, and their end of validity. The key is never printed.
#[derive(Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    /// The fields of the first certificate in the chain.
    pub leaf: Facts,
    /// End of validity of the second certificate in the chain, if there is one. It is the CA that signed the first.
    pub ca_not_after: Option<SystemTime>,
}

/// An error in a pair. The messages name `tls.crt` and `tls.key`, the usual names of files and of a Secret's keys.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The chain is not PEM.
    #[error("failed to parse `tls.crt` as PEM")]
    Chain(#[source] pem::Error),
    /// The chain is PEM without a certificate.
    #[error("`tls.crt`: expected at least one certificate in PEM, found none")]
    NoCertificate,
    /// A section of the chain is not a certificate.
    #[error("failed to parse a certificate in `tls.crt`")]
    Certificate(#[source] FactsError),
    /// The key is not PEM.
    #[error("failed to parse `tls.key` as a private key in PEM")]
    Key(#[source] pem::Error),
    /// Certificate and key do not match, or are unusable.
    #[error("failed to load `tls.crt` together with `tls.key`")]
    Unusable(#[source] rustls::Error),
}

impl Pair {
    /// Reads a chain, the leaf first, and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// Malformed PEM, a chain without a certificate, or a key that does not match the leaf. Neither the chain's
    /// signatures nor its validity are checked.
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

    /// Returns the chain, the leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Returns the pair in the form that rustls serves.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
