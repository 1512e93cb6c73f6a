//! A CA and a certificate for trying things out, made on the spot and never meant for a cluster.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Why no development certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A file can't be written.
    #[error("`{}` can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The library refused.
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
}

/// Names under which a development server is reached.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes `ca.pem`, and `tls/tls.crt` with `tls/tls.key`, below `folder`. An existing set is replaced: whoever trusted the
/// old CA trusts nothing that matters.
///
/// # Errors
///
/// A folder that can't be written.
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

/// Writes a file that only its owner can read, in a folder of the same kind.
///
/// # Errors
///
/// A place that can't be written.
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
