//! What a certificate says of itself, and the certificates of a text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::nom;
use x509_parser::parse_x509_certificate;

/// What a certificate says of itself. None of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The first moment at which it may be used.
    pub not_before: SystemTime,
    /// The last moment at which it may be used.
    pub not_after: SystemTime,
    /// The serial number, in hexadecimal with colons.
    pub serial: String,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    /// Whether it says that it is a CA's.
    pub is_ca: bool,
}

/// Bytes that are no certificate.
#[derive(Debug, thiserror::Error)]
#[error("expected an X.509 certificate")]
pub struct FactsError(#[from] nom::Err<X509Error>);

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// Bytes that are no X.509 certificate.
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

/// All certificates of a text in PEM, in order. Other sections are passed over; an empty text has none.
///
/// # Errors
///
/// A section that is no PEM.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// Seconds of the Unix clock as a time. A certificate may say years that no clock here can; it is then at the clock's edge.
fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}
