//! What the Secret holds, read and written.
//!
//! | key | content |
//! |---|---|
//! | `tls.crt` | the server's certificate, then the CA that signed it |
//! | `tls.key` | its key |
//! | `ca.crt` | every CA that is trusted, the one that signs first; what goes into `caBundle` |
//! | `ca.key` | the key of the CA that signs |
//! | `next-ca.crt`, `next-ca.key` | the CA that will sign, while a rotation is on |
//!
//! Whose a certificate is, its serial number says: [`ISSUED`] names the one that Wardset made last. Any other was put there by
//! somebody else, and then the Secret is theirs.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use super::authority::{Authority, Ca};
use crate::certificate::{self, Facts, Pair, PairError};

/// The annotation with the serial number of the certificate that Wardset made last.
pub const ISSUED: &str = "wardset.dev/issued-serial";
/// The annotation that asks for a new certificate: `leaf` or `ca`. What renews takes it away.
pub const RENEW: &str = "wardset.dev/renew";
/// The annotation that says from when on CAs that sign no more are not trusted any more.
pub const RETIRE: &str = "wardset.dev/retire-old-ca-at";

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const CAS: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT_CA: &str = "next-ca.crt";
const NEXT_CA_KEY: &str = "next-ca.key";

/// What the Secret holds.
#[derive(Debug)]
pub enum Contents {
    /// No Secret, or one that nobody has put a certificate into.
    Empty,
    /// What somebody else put there. It is served and never written.
    Foreign(Foreign),
    /// What Wardset put there.
    Own(Box<Own>),
}

/// What somebody else put there.
#[derive(Debug)]
pub struct Foreign {
    /// What is to be served, or why it can't be.
    pub pair: Result<Pair, PairError>,
    /// Their `ca.crt`, where it has certificates and nothing else.
    pub bundle: Option<String>,
}

/// What Wardset put there, as far as it can be read.
#[derive(Debug, Default, Clone)]
pub struct Own {
    pub(super) leaf: Option<Leaf>,
    /// The CA that signs.
    pub(super) current: Option<Authority>,
    /// The CA that will sign.
    pub(super) next: Option<Authority>,
    /// All CAs that are trusted, those two included.
    pub(super) trusted: Vec<Ca>,
    pub(super) retire_at: Option<SystemTime>,
    pub(super) renew: Option<Renew>,
    /// The keys of the Secret whose content is not what Wardset wrote.
    pub(super) damaged: Vec<&'static str>,
}

/// The server's certificate, as it is written and as it is read.
#[derive(Clone)]
pub(super) struct Leaf {
    chain: String,
    key: String,
    pub(super) pair: Pair,
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    Leaf,
    Ca,
}

impl Contents {
    /// Reads a Secret, or that there is none. Nothing in it is an error: what can't be read is either somebody else's, or damage
    /// that is mended.
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
                let bundle = String::from_utf8(value(CAS).to_vec())
                    .ok()
                    .filter(|pem| certificate::certificates(pem.as_bytes()).is_ok_and(|cas| !cas.is_empty()));
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
        // The chain has the CA too, where `ca.crt` was lost.
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

    /// What is to be served, where there is something that can be.
    #[must_use]
    pub fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Empty => None,
            Self::Foreign(foreign) => foreign.pair.as_ref().ok(),
            Self::Own(own) => own.leaf.as_ref().map(|leaf| &leaf.pair),
        }
    }

    /// What goes into `caBundle`, where that is known.
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
    /// The trusted CAs, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.trusted.iter().map(|ca| ca.pem.as_str()).collect()
    }

    /// The keys of the Secret whose content is not what Wardset wrote.
    #[must_use]
    pub fn damaged(&self) -> &[&'static str] {
        &self.damaged
    }

    /// The CAs that are trusted though nothing needs them any more.
    pub(super) fn retired(&self) -> impl Iterator<Item = &Ca> {
        self.trusted.iter().filter(|ca| !self.needs(ca))
    }

    /// Whether a CA signs now, signs next, or signed the certificate that is there.
    pub(super) fn needs(&self, ca: &Ca) -> bool {
        let chain = self.leaf.as_ref().map_or(&[] as &[_], |leaf| leaf.pair.chain());
        self.current.iter().chain(&self.next).any(|authority| authority.ca == *ca) || chain.contains(&ca.der)
    }

    /// Writes all of it into a Secret; whatever else stands there stays.
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
    /// Takes what an [`Authority`] signed.
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

/// The serial number of the first certificate, where there is one that can be read.
fn serial(chain: &[u8]) -> Option<String> {
    let chain = certificate::certificates(chain).ok()?;
    Facts::of(chain.first()?).ok().map(|facts| facts.serial)
}
