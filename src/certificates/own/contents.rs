//! Reads and writes the content of the Secret.
//!
//! | key | content |
//! |---|---|
//! | `tls.crt` | the server's certificate, then the CA that signed it |
//! | `tls.key` | the key of the server's certificate |
//! | `ca.crt` | every trusted CA, the signing CA first; this becomes `caBundle` |
//! | `ca.key` | the key of the signing CA |
//! | `next-ca.crt`, `next-ca.key` | the next signing CA, during a rotation |
//!
//! A serial number tells Wardset's certificates from others: [`ISSUED`] has that of the last one it issued. If the
//! Secret holds any other certificate, somebody else manages the Secret.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use super::authority::{Authority, Ca};
use crate::certificates::{self, Facts, Pair, PairError};

/// The annotation with the serial number of the last certificate that Wardset issued.
pub const ISSUED: &str = "wardset.dev/issued-serial";
/// The annotation that requests a new certificate: `leaf` or `ca`. The renewal removes it.
pub const RENEW: &str = "wardset.dev/renew";
/// The annotation with the time at which Wardset stops trusting CAs that no longer sign.
pub const RETIRE: &str = "wardset.dev/retire-old-ca-at";

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CAS: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT_CA: &str = "next-ca.crt";
const NEXT_CA_KEY: &str = "next-ca.key";

/// The content of the Secret.
#[derive(Debug)]
pub enum Contents {
    /// There is no Secret, or it has no certificate yet.
    Empty,
    /// A certificate that somebody else put there. Wardset serves it and never writes the Secret.
    Foreign(Foreign),
    /// The content that Wardset wrote.
    Own(Box<Own>),
}

/// The content that somebody else put there.
#[derive(Debug)]
pub struct Foreign {
    /// The pair to serve, or the reason why it is unusable.
    pub pair: Result<Pair, PairError>,
    /// Their `ca.crt`, if it holds certificates and nothing else.
    pub bundle: Option<String>,
}

/// The readable part of the content that Wardset wrote.
#[derive(Debug, Default, Clone)]
pub struct Own {
    pub(super) leaf: Option<Leaf>,
    /// The signing CA.
    pub(super) current: Option<Authority>,
    /// The next signing CA.
    pub(super) next: Option<Authority>,
    /// All trusted CAs, including those two.
    pub(super) trusted: Vec<Ca>,
    pub(super) retire_at: Option<SystemTime>,
    pub(super) renew: Option<Renew>,
    /// The keys of the Secret with damaged content.
    pub(super) damaged: Vec<&'static str>,
}

/// The server's certificate, as text and parsed.
#[derive(Clone)]
pub(super) struct Leaf {
    chain: String,
    key: String,
    pub(super) pair: Pair,
}

/// A requested renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    Leaf,
    Ca,
}

impl Contents {
    /// Reads a Secret, or its absence. There are no errors: unreadable content either belongs to somebody else or is
    /// damage that Wardset repairs.
    #[must_use]
    pub fn read(secret: Option<&Secret>) -> Self {
        let Some(secret) = secret else { return Self::Empty };
        let data = secret.data.as_ref();
        let value = |key| data.and_then(|data| data.get(key)).map_or(&[] as &[u8], |value| &value.0);
        let annotation = |key| secret.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let (chain, key) = (value(CERTIFICATE), value(KEY));
        let pair = Pair::from_pem(chain, key);
        let serial = match &pair {
            Ok(pair) => Some(pair.leaf.serial.clone()),
            Err(_) => serial(chain),
        };
        match annotation(ISSUED) {
            None if chain.is_empty() && key.is_empty() => return Self::Empty,
            Some(issued) if serial.is_none_or(|found| found == *issued) => {}
            _ => {
                let bundle = String::from_utf8(value(CAS).to_vec()).ok().filter(|pem| {
                    certificates::certificates(pem.as_bytes()).is_ok_and(|cas| !cas.is_empty())
                });
                return Self::Foreign(Foreign { pair, bundle });
            }
        }

        let mut own = Own::default();
        match pair {
            Ok(pair) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                own.leaf = Some(Leaf { chain: text(chain), key: text(key), pair });
            }
            Err(PairError::Key(_) | PairError::Unusable(_)) => own.damaged.push(KEY),
            Err(_) => own.damaged.push(CERTIFICATE),
        }
        let (trusted, damaged) = Ca::read_all(value(CAS));
        own.trusted = trusted;
        if damaged || own.trusted.is_empty() {
            own.damaged.push(CAS);
        }
        // If `ca.crt` was lost, the chain still holds the CA.
        let (chained, _) = Ca::read_all(chain);
        own.current = Authority::find(own.trusted.iter().chain(&chained), value(CA_KEY));
        if own.current.is_none() {
            own.damaged.push(CA_KEY);
        }
        let (next, _) = Ca::read_all(value(NEXT_CA));
        own.next = Authority::find(&next, value(NEXT_CA_KEY));
        if own.next.is_none() && !(value(NEXT_CA).is_empty() && value(NEXT_CA_KEY).is_empty()) {
            own.damaged.push(NEXT_CA);
        }
        let signing = own.current.iter().chain(&own.next).map(|authority| &authority.ca);
        for ca in signing.chain(&chained) {
            if !own.trusted.contains(ca) {
                own.trusted.push(ca.clone());
                if !own.damaged.contains(&CAS) {
                    own.damaged.push(CAS);
                }
            }
        }
        own.retire_at =
            annotation(RETIRE).and_then(|text| text.parse::<Timestamp>().ok()).map(SystemTime::from);
        own.renew = match annotation(RENEW).map(String::as_str) {
            Some("leaf") => Some(Renew::Leaf),
            Some("ca") => Some(Renew::Ca),
            _ => None,
        };
        Self::Own(Box::new(own))
    }

    /// Returns the pair to serve, if there is a usable one.
    #[must_use]
    pub fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Empty => None,
            Self::Foreign(foreign) => foreign.pair.as_ref().ok(),
            Self::Own(own) => own.leaf.as_ref().map(|leaf| &leaf.pair),
        }
    }

    /// Returns the text for `caBundle`, if it is known.
    #[must_use]
    pub fn bundle(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Foreign(foreign) => foreign.bundle.clone(),
            Self::Own(own) => Some(own.bundle()).filter(|bundle| !bundle.is_empty()),
        }
    }
}

impl Own {
    /// Returns the trusted CAs, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.trusted.iter().map(|ca| ca.pem.as_str()).collect()
    }

    /// Returns the keys of the Secret with damaged content.
    #[must_use]
    pub fn damaged(&self) -> &[&'static str] {
        &self.damaged
    }

    /// Returns the trusted CAs that nothing needs any more.
    pub(super) fn retired(&self) -> impl Iterator<Item = &Ca> {
        self.trusted.iter().filter(|ca| !self.needs(ca))
    }

    /// Returns whether a CA signs now, signs next, or signed the current certificate.
    pub(super) fn needs(&self, ca: &Ca) -> bool {
        let chain = self.leaf.as_ref().map_or(&[] as &[_], |leaf| leaf.pair.chain());
        self.current.iter().chain(&self.next).any(|authority| authority.ca == *ca) || chain.contains(&ca.der)
    }

    /// Writes the content into a Secret. Other keys and annotations stay.
    pub(super) fn write(&self, secret: &mut Secret) {
        let data = secret.data.get_or_insert_default();
        let mut put = |key: &str, value: Option<&str>| match value {
            Some(value) => {
                data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
            }
            None => {
                data.remove(key);
            }
        };
        let (current, next) = (self.current.as_ref(), self.next.as_ref());
        put(CERTIFICATE, self.leaf.as_ref().map(|leaf| leaf.chain.as_str()));
        put(KEY, self.leaf.as_ref().map(|leaf| leaf.key.as_str()));
        put(CAS, Some(&self.bundle()));
        put(CA_KEY, current.map(|authority| authority.key.as_str()));
        put(NEXT_CA, next.map(|authority| authority.ca.pem.as_str()));
        put(NEXT_CA_KEY, next.map(|authority| authority.key.as_str()));
        let annotations = secret.metadata.annotations.get_or_insert_with(BTreeMap::new);
        let mut note = |key: &str, value: Option<String>| match value {
            Some(value) => {
                annotations.insert(key.to_owned(), value);
            }
            None => {
                annotations.remove(key);
            }
        };
        note(ISSUED, self.leaf.as_ref().map(|leaf| leaf.pair.leaf.serial.clone()));
        let retire = self.retire_at.and_then(|time| Timestamp::try_from(time).ok());
        note(RETIRE, retire.map(|time| time.to_string()));
        let renew = self.renew.map(|renew| match renew {
            Renew::Leaf => "leaf",
            Renew::Ca => "ca",
        });
        note(RENEW, renew.map(str::to_owned));
    }
}

impl Leaf {
    /// Reads a chain and key that an [`Authority`] signed.
    pub(super) fn new((chain, key): (String, String)) -> Result<Self, PairError> {
        let pair = Pair::from_pem(chain.as_bytes(), key.as_bytes())?;
        Ok(Self { chain, key, pair })
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leaf").field(&self.pair).finish()
    }
}

/// Returns the serial number of the first certificate, if it is readable.
fn serial(chain: &[u8]) -> Option<String> {
    let chain = certificates::certificates(chain).ok()?;
    Facts::of(chain.first()?).ok().map(|facts| facts.serial)
}
