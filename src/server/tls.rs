//! Certificates from a folder, as kubelet mounts them: `tls.crt`, `tls.key`, optional `ca.crt`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Why a folder gives no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is no PEM.
    #[error("`{}`: expected {expected} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should stand in it.
        expected: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("`{}`: expected at least one certificate in PEM, found none", .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key don't belong together, or can't be used.
    #[error("`{}` and `{}` can't be used together", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The clients' CA can't be used.
    #[error("`{}` can't be used as the CA of client certificates", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, with the certificate of `folder`. With a `ca.crt` there, clients must show
/// a certificate that it signed.
///
/// # Errors
///
/// A file that is missing or can't be used; each names itself.
pub fn from_folder(folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key, ca) = (folder.join("tls.crt"), folder.join("tls.key"), folder.join("ca.crt"));
    let chain = certificates(&certificate)?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|source| TlsError::Pem {
        path: key.clone(),
        expected: "a private key",
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    let builder = builder.map_err(pair)?;
    let builder = if ca.exists() {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&ca)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.map_err(|source| TlsError::ClientCa { path: ca, source })?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, private).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem { path: path.to_owned(), expected: "certificates", source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let chain = chain.map_err(wrong)?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}
