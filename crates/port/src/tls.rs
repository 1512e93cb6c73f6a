//! The TLS configuration of a port.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig};

/// An error in the configuration of TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of client CAs cannot be read.
    #[error("failed to read the CA of client certificates from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The CA of client certificates is not PEM.
    #[error("failed to parse the CA of client certificates in `{}` as PEM", path.display())]
    ClientCaPem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// The CA of client certificates is unusable.
    #[error("failed to load the CA of client certificates from `{}`", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: VerifierBuilderError,
    },
    /// The library does not support the TLS versions.
    #[error("failed to enable TLS 1.2 and 1.3")]
    Versions(#[source] rustls::Error),
}

/// Returns a configuration for TLS 1.2 and 1.3 with HTTP/1.1. Each handshake asks `certificates` for the current
/// certificate. With `client_ca`, a PEM file that is read only here, clients must present a certificate that this CA
/// signed.
///
/// Sessions are not resumed: a resumed session would bypass the current certificate, and API servers do not ask for
/// resumption.
///
/// # Errors
///
/// A `client_ca` that cannot be read or used.
pub fn config(
    certificates: Arc<dyn ResolvesServerCert>,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?;
    let builder = match client_ca {
        Some(path) => {
            let pem =
                std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
            let cas = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let cas = cas.map_err(|source| TlsError::ClientCaPem { path: path.to_owned(), source })?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(cas);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let unusable = |source| TlsError::ClientCa { path: path.to_owned(), source };
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
