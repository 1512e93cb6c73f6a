//! Verifies a chain against a CA bundle, as the API server does.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::Facts;

/// The reason why a chain is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The bundle is not PEM.
    #[error("failed to parse the CA bundle as PEM")]
    Bundle(#[source] pem::Error),
    /// The bundle has no valid CA.
    #[error("expected at least one CA in the bundle that is valid now, found none")]
    NoCa,
    /// The chain is empty.
    #[error("expected at least one certificate in the chain, found none")]
    NoCertificate,
    /// The name is not a server's name.
    #[error("expected the name of a server, found `{0}`")]
    Name(String),
    /// The chain does not verify.
    #[error("failed to verify the chain for `{name}`")]
    Chain {
        /// The server's name.
        name: String,
        /// The cause.
        source: rustls::Error,
    },
}

/// Verifies `chain` (the leaf first) for a server named `name`. It trusts the CAs of `bundle` (PEM) that are valid at
/// `now`. The CAs are filtered here because rustls, unlike the API server, does not check the validity of a root.
///
/// # Errors
///
/// The reason why the chain is not trusted.
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
    // Without revocation lists, the builder only rejects an empty store.
    let verifier = verifier.map_err(|_| TrustError::NoCa)?;
    let (leaf, rest) = chain.split_first().ok_or(TrustError::NoCertificate)?;
    let server = ServerName::try_from(name).map_err(|_| TrustError::Name(name.to_owned()))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let verified = verifier.verify_server_cert(leaf, rest, &server, &[], now);
    verified.map(drop).map_err(|source| TrustError::Chain { name: name.to_owned(), source })
}
