//! A CA: its certificate, its key, and signing. All keys are ECDSA P-256.

use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;

use super::lifetimes::CLOCK_SKEW;
use crate::certificates::{self, Facts};

/// A CA's certificate, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ca {
    /// One certificate, with a newline at the end.
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
    pub(super) facts: Facts,
}

/// A CA that can sign. The key is never printed.
#[derive(Clone)]
pub(super) struct Authority {
    pub(super) ca: Ca,
    pub(super) key: String,
}

/// An error in making or signing a certificate.
#[derive(Debug, thiserror::Error)]
#[error("failed to make a certificate")]
pub struct IssueError(#[from] rcgen::Error);

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Ca {
    /// Returns the distinct CAs in a text, and whether the text holds anything else. A malformed section does not
    /// affect the others.
    pub(super) fn read_all(text: &[u8]) -> (Vec<Self>, bool) {
        let (mut cas, mut damaged) = (Vec::<Self>::new(), false);
        let text = String::from_utf8_lossy(text);
        let mut rest = text.trim();
        while !rest.is_empty() {
            let begin = rest.find(BEGIN).unwrap_or(rest.len());
            damaged |= begin > 0;
            let Some(end) = rest[begin..].find(END) else {
                damaged |= begin < rest.len();
                break;
            };
            let (section, after) = rest[begin..].split_at(end + END.len());
            match Self::read(section) {
                Some(ca) if !cas.contains(&ca) => cas.push(ca),
                Some(_) => {}
                None => damaged = true,
            }
            rest = after.trim();
        }
        (cas, damaged)
    }

    fn read(pem: &str) -> Option<Self> {
        let der = certificates::certificates(pem.as_bytes()).ok()?.pop()?;
        let facts = Facts::of(&der).ok().filter(|facts| facts.is_ca)?;
        Some(Self { pem: format!("{pem}\n"), der, facts })
    }

    /// Returns whether the CA is valid at `now`, on a clock that may differ from ours.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        is_valid(&self.facts, now)
    }
}

/// Returns whether a certificate is valid at `now`, on a clock that may differ from ours.
pub(super) fn is_valid(facts: &Facts, now: SystemTime) -> bool {
    facts.not_before <= now + CLOCK_SKEW && now <= facts.not_after
}

impl Authority {
    /// Makes a new CA that is valid until `not_after`.
    pub(super) fn make(now: SystemTime, not_after: SystemTime) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        // Two CAs of one Secret have different names, so that a client never tries the wrong one.
        let id: String =
            params.key_identifier(&key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("Wardset CA {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((now - CLOCK_SKEW).into(), not_after.into());
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        let ca = Ca::read(pem.trim()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self { ca, key: key.serialize_pem() })
    }

    /// Returns the CA among `cas` to which `key` (PEM) belongs.
    pub(super) fn find<'a>(cas: impl IntoIterator<Item = &'a Ca>, key: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let pair = KeyPair::from_pem(key).ok()?;
        let public = pair.subject_public_key_info();
        let ca = cas.into_iter().find(|ca| {
            let read = x509_parser::parse_x509_certificate(&ca.der);
            read.is_ok_and(|(_, certificate)| certificate.public_key().raw == public)
        })?;
        Some(Self { ca: ca.clone(), key: key.to_owned() })
    }

    /// Signs a certificate for `names` with a new key. It is valid until `not_after`, or until the CA expires if that
    /// is earlier. Returns the chain and the key, in PEM.
    pub(super) fn sign(
        &self,
        names: &[String],
        now: SystemTime,
        not_after: SystemTime,
    ) -> Result<(String, String), IssueError> {
        let issuer = Issuer::from_ca_cert_der(&self.ca.der, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Wardset webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = not_after.min(self.ca.facts.not_after).into();
        let leaf = params.signed_by(&key, &issuer)?;
        Ok((leaf.pem() + &self.ca.pem, key.serialize_pem()))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ca", &self.ca.facts).finish_non_exhaustive()
    }
}
