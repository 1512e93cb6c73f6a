//! The modules of `src/certificate` that only parse bytes.

#[path = "../../../src/certificate/facts.rs"]
mod facts;
#[expect(dead_code, reason = "this crate lacks the server, which uses the rest")]
#[path = "../../../src/certificate/pair.rs"]
mod pair;
#[path = "../../../src/certificate/trust.rs"]
pub mod trust;

pub use facts::{Facts, FactsError, certificates};
pub use pair::{Pair, PairError};

/// A certificate's bytes.
pub type Der = rustls::pki_types::CertificateDer<'static>;
