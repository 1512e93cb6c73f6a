//! Whether a chain verifies against a CA bundle, as the API server would say.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::Facts;

/// Why a chain is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A text that is no PEM.
    #[error("expected the CA bundle in PEM")]
    Bundle(#[source] pem::Error),
    /// Nothing that could be trusted.
    #[error("expected at least one CA in the bundle that is valid now, found none")]
    NoCa,
    /// A chain of nothing.
    #[error("expected at least one certificate in the chain, found none")]
    NoCertificate,
    /// A text that can't be a server's name.
    #[error("`{0}` is no name of a server")]
    Name(String),
    /// The chain doesn't verify.
    #[error("the chain doesn't verify for `{name}`")]
    Chain {
        /// Whom the client wants to reach.
        name: String,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Verifies `chain` (the leaf first) for a server named `name`, trusting the CAs of `bundle` (PEM) that are valid at `now`. The
/// library that does the rest doesn't look at the validity of a root; the API server's does.
///
/// # Errors
///
/// What stands in the way of trust.
pub fn verify(
    chain: &[CertificateDer<'_>],
    bundle: &[u8],
    name: &str,
    now: SystemTime,
) -> Result<(), TrustError> {
    let mut roots = RootCertStore::empty();
    let cas = super::certificates(bundle).map_err(TrustError::Bundle)?;
    roots.add_parsable_certificates(
        cas.into_iter()
            .filter(|ca| Facts::of(ca).is_ok_and(|facts| facts.not_before <= now && now <= facts.not_after)),
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    // Without lists of revoked certificates, a builder refuses nothing but an empty store.
    let verifier = verifier.map_err(|_| TrustError::NoCa)?;
    let (leaf, rest) = chain.split_first().ok_or(TrustError::NoCertificate)?;
    let server = ServerName::try_from(name).map_err(|_| TrustError::Name(name.to_owned()))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let verified = verifier.verify_server_cert(leaf, rest, &server, &[], now);
    verified.map(drop).map_err(|source| TrustError::Chain { name: name.to_owned(), source })
}
