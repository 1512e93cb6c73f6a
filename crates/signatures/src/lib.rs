//! Signatures of policy modules in registries.
//!
//! ```text
//! PrivateKey ─► simple_signing::sign, bundle::sign ─► the registry, beside the artifact
//! the registry ─► Evidence ─┐
//! Trust (rules of the operator) ─► Rule ─► check ─► TrustedSigner or SignatureRefusal
//! ```
//!
//! A signature is about the digest of an artifact's manifest, and the manifest names the digest of the module. The crate
//! reads no files and opens no connections.

pub mod bundle;
mod digest;
mod encrypted;
mod key;
mod prefix;
pub mod simple_signing;
mod trust;

pub use digest::{DigestError, ManifestDigest};
pub use key::{KeyError, PrivateKey, PublicKey};
pub use prefix::RepositoryPrefix;
pub use trust::{Evidence, Rule, SignatureRefusal, Trust, TrustRulesError, TrustedSigner};

/// A reason why a signature proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadSignature {
    /// The signature has another form than cosign writes.
    #[error("expected {expected}: {detail}")]
    Form {
        /// Such as `a sigstore bundle`.
        expected: &'static str,
        /// The problem.
        detail: String,
    },
    /// The signature is about another artifact.
    #[error("expected a signature of {expected}, found one of {found}")]
    Digest {
        /// The digest of the artifact's manifest.
        expected: String,
        /// The digest in the signature.
        found: String,
    },
    /// No trusted key made the signature, or somebody changed what it signs.
    #[error("the key does not verify the signature")]
    Key,
    /// The certificate, its signer or the entry in the transparency log is not trusted.
    #[error("{0}")]
    Keyless(String),
}
