//! `src/certificate`, as far as it only looks at bytes.

#[path = "../../../src/certificate/facts.rs"]
mod facts;
#[expect(dead_code, reason = "what serves the pair is left out")]
#[path = "../../../src/certificate/pair.rs"]
mod pair;
#[path = "../../../src/certificate/trust.rs"]
pub mod trust;

pub use facts::{Facts, FactsError, certificates};
pub use pair::{Pair, PairError};

/// A certificate's bytes.
pub type Der = rustls::pki_types::CertificateDer<'static>;
