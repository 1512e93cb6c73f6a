//! Reads the fields of certificates, and the certificates in PEM text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::nom;
use x509_parser::parse_x509_certificate;

/// The fields of a certificate. They are not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The start of validity.
    pub not_before: SystemTime,
    /// The end of validity.
    pub not_after: SystemTime,
    /// The serial number, in hexadecimal with colons.
    pub serial: String,
    /// The DNS names of the certificate.
    pub names: Vec<String>,
    /// Whether the certificate claims to be a CA's.
    pub is_ca: bool,
}

/// An error about bytes that are not a certificate.
#[derive(Debug, thiserror::Error)]
#[error("expected an X.509 certificate")]
pub struct FactsError(#[from] nom::Err<X509Error>);

impl Facts {
    /// Reads a certificate's fields.
    ///
    /// # Errors
    ///
    /// Bytes that are not an X.509 certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, FactsError> {
        let (_, certificate) = parse_x509_certificate(certificate)?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let validity = certificate.validity();
        Ok(Self {
            not_before: at(validity.not_before.timestamp()),
            not_after: at(validity.not_after.timestamp()),
            serial: certificate.raw_serial_as_string(),
            names: names.collect(),
            is_ca: certificate.is_ca(),
        })
    }
}

/// Returns all certificates in PEM text, in order. Other sections are skipped, and an empty text has none.
///
/// # Errors
///
/// A malformed section.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// Converts Unix time in seconds. A year beyond the range of this machine's clock becomes the Unix epoch.
fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}
