//! TLS of the webhook's port: the certificate in force, and a folder that it comes from.
//!
//! It never makes a certificate; [`development`](super::development) and the cluster do.

mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::certificate::{self, PairError, ServedCertificate};

pub use folder::CertificateFolder;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("`{}` can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without a usable certificate.
    #[error("`{}` has no certificate to serve", folder.display())]
    Pair {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: PairError,
    },
    /// The clients' CA is no PEM.
    #[error("`{}`: expected the CA of client certificates in PEM", path.display())]
    ClientCaPem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The clients' CA can't be used.
    #[error("`{}` can't be used as the CA of client certificates", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
    /// The library refused.
    #[error("TLS 1.2 and 1.3 can't be offered")]
    Versions(#[source] rustls::Error),
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, with the certificate that `served` has at each handshake. With `client_ca`, a
/// file in PEM that is read here and never again, clients must show a certificate that it signed.
///
/// Sessions are not resumed: a resumed one would go round the certificate in force, and an API server asks for none.
///
/// # Errors
///
/// A `client_ca` that can't be read or used.
pub fn config(
    served: Arc<ServedCertificate>,
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
            let cas = certificate::certificates(&pem)
                .map_err(|source| TlsError::ClientCaPem { path: path.to_owned(), source })?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(cas);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let unusable = |source| TlsError::ClientCa { path: path.to_owned(), source };
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(served);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
