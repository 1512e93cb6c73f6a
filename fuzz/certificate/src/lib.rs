//! The modules of `src/certificates` that only parse bytes.

#[path = "../../../src/certificates/facts.rs"]
mod facts;
#[expect(dead_code, reason = "this crate lacks the server, which uses the rest")]
#[path = "../../../src/certificates/pair.rs"]
mod pair;
#[path = "../../../src/certificates/trust.rs"]
pub mod trust;

pub use facts::{Facts, FactsError, certificates};
pub use pair::{Pair, PairError};

/// A certificate's bytes.
pub type Der = rustls::pki_types::CertificateDer<'static>;
