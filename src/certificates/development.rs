//! A CA and a certificate for trying Wardset out. The server makes them at start; they are never meant for a cluster.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The reason why no development certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A file cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The library failed to make a certificate.
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Names that clients use to reach a development server.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes `ca.pem`, `tls/tls.crt` and `tls/tls.key` in `folder`. It replaces an existing set, because nothing of value
/// trusts the old CA.
///
/// # Errors
///
/// A folder that cannot be written.
pub fn make(folder: &Path) -> Result<(), DevelopmentError> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Wardset development CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &issuer)?;

    write(&folder.join("ca.pem"), &ca_certificate.pem())?;
    write(&folder.join("tls/tls.crt"), &(leaf.pem() + &ca_certificate.pem()))?;
    write(&folder.join("tls/tls.key"), &key.serialize_pem())
}

/// Writes a file that only its owner can read, in a folder with the same restriction.
///
/// # Errors
///
/// A path that cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), DevelopmentError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|source| DevelopmentError::Write { path: path.to_owned(), source })
}
