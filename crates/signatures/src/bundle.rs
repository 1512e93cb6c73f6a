//! The newer form of cosign's signatures: a sigstore bundle. A registry has it as a referrer of the artifact.
//!
//! The bundle signs a statement (in-toto) about the digest of the artifact. With a key, that is all. Without one
//! (keyless), it also has a short-lived certificate with the name of the signer, and an entry of a transparency log.

use std::fmt;

use serde::Deserialize;
use serde_json::json;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::bundle::{MediaType, PublicKeyIdentifier, VerificationMaterial};
use sigstore_verify::types::bundle::{SignatureContent, VerificationMaterialContent};
use sigstore_verify::types::{Bundle, DsseEnvelope, DsseSignature, KeyId, PayloadBytes};
use sigstore_verify::{VerificationPolicy, Verifier};

use crate::{BadSignature, KeyError, ManifestDigest, PrivateKey, PublicKey};

/// The media type of a bundle, and the type of its artifact in a registry.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The kind of statement that signs an artifact. Other kinds describe it, such as a list of its parts.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

const STATEMENT: &str = "application/vnd.in-toto+json";
const EXPECTED: &str = "a sigstore bundle";

/// The authorities and logs that keyless signatures depend on, as `cosign trusted-root create` writes them.
pub struct Authorities(Verifier);

/// The signer of a keyless signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who confirmed the name, such as `https://token.actions.githubusercontent.com`.
    pub issuer: String,
    /// The name: an email address, or the URL of a workflow.
    pub subject: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (issuer {})", self.subject, self.issuer)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

/// A trusted root that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("expected a trusted root of sigstore (JSON): {0}")]
pub struct AuthoritiesError(String);

impl Authorities {
    /// Reads a trusted root.
    ///
    /// # Errors
    /// The text has another form, or a key or certificate in it is broken.
    pub fn from_json(text: &str) -> Result<Self, AuthoritiesError> {
        let root = TrustedRoot::from_json(text).map_err(|error| AuthoritiesError(error.to_string()))?;
        Verifier::new(&root).map(Self).map_err(|error| AuthoritiesError(error.to_string()))
    }
}

/// Signs the digest of an artifact with a key. Returns the bundle as JSON.
///
/// # Errors
/// The key cannot sign.
pub fn sign(key: &PrivateKey, digest: ManifestDigest) -> Result<String, KeyError> {
    let form = |detail: String| KeyError::Form { expected: "a key that can sign", detail };
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hash().to_hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {},
    });
    let payload = PayloadBytes::new(statement.to_string().into_bytes());
    let signed = sigstore_verify::types::dsse::pae(STATEMENT, payload.as_bytes());
    let signature = DsseSignature::new(key.sign(&signed)?, KeyId::new(""));
    let hint = PublicKeyIdentifier::new(key.public_key()?.id());
    let material = VerificationMaterial::new(VerificationMaterialContent::PublicKey(hint));
    let envelope = DsseEnvelope::new(STATEMENT, payload, signature);
    let bundle = Bundle::new(MediaType::Bundle0_3, material, SignatureContent::DsseEnvelope(envelope));
    bundle.to_json().map_err(|error| form(error.to_string()))
}

/// Checks that `key` signed the digest. An entry of a transparency log is neither needed nor checked: the operator knows the
/// key.
///
/// # Errors
/// Somebody else signed it, or it is about another artifact.
pub fn verify_key(bundle: &str, key: &PublicKey, digest: ManifestDigest) -> Result<(), BadSignature> {
    let (_, envelope) = read(bundle, digest)?;
    if key.made(&envelope.signature.sig, &envelope.pae()) { Ok(()) } else { Err(BadSignature::Key) }
}

/// Returns who signed the digest without a key: the name in the certificate. The certificate has to be one of `authorities`,
/// and the signature has to be in one of their transparency logs.
///
/// # Errors
/// The bundle has no certificate, the certificate or the log is unknown, or it is about another artifact.
pub fn signer(
    bundle: &str,
    authorities: &Authorities,
    digest: ManifestDigest,
) -> Result<Identity, BadSignature> {
    let (bundle, _) = read(bundle, digest)?;
    let verified = authorities.0.verify(digest.hash(), &bundle, &VerificationPolicy::any_identity());
    let verified = verified.map_err(|error| BadSignature::Keyless(error.to_string()))?;
    match (verified.issuer(), verified.identity()) {
        (Some(issuer), Some(subject)) => {
            Ok(Identity { issuer: issuer.to_owned(), subject: subject.as_str().to_owned() })
        }
        _ => Err(BadSignature::Keyless("the certificate names no issuer or no signer".to_owned())),
    }
}

/// Reads a bundle and its envelope, and checks that it is about the digest. This does not check the signature.
fn read(text: &str, digest: ManifestDigest) -> Result<(Bundle, DsseEnvelope), BadSignature> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        predicate_type: String,
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: std::collections::BTreeMap<String, String>,
    }
    let form = |detail: String| BadSignature::Form { expected: EXPECTED, detail };
    let bundle = Bundle::from_json(text).map_err(|error| form(error.to_string()))?;
    let SignatureContent::DsseEnvelope(envelope) = bundle.content.clone() else {
        return Err(form("expected a statement in an envelope (DSSE), found a plain signature".to_owned()));
    };
    if envelope.payload_type != STATEMENT {
        return Err(form(format!("expected a payload `{STATEMENT}`, found `{}`", envelope.payload_type)));
    }
    let statement: Statement =
        serde_json::from_slice(envelope.payload.as_bytes()).map_err(|error| form(error.to_string()))?;
    if statement.predicate_type != PREDICATE_TYPE {
        let found = statement.predicate_type;
        return Err(form(format!("expected a signature (`{PREDICATE_TYPE}`), found a statement `{found}`")));
    }
    let wanted = digest.hash().to_hex();
    let found: Vec<&String> =
        statement.subject.iter().filter_map(|subject| subject.digest.get("sha256")).collect();
    if !found.contains(&&wanted) {
        let found = found.first().map_or_else(|| "no digest".to_owned(), |found| format!("sha256:{found}"));
        return Err(BadSignature::Digest { expected: digest.to_string(), found });
    }
    Ok((bundle, envelope))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::key::tests::private_key;

    fn digest(byte: &str) -> ManifestDigest {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    #[test]
    fn only_the_key_that_signed_the_digest_verifies() {
        let key = private_key();
        let public = key.public_key().unwrap();
        let bundle = sign(&key, digest("0a")).unwrap();
        verify_key(&bundle, &public, digest("0a")).unwrap();

        let other = verify_key(&bundle, &public, digest("0b")).unwrap_err();
        assert!(matches!(other, BadSignature::Digest { .. }), "{other}");
        let stranger = private_key().public_key().unwrap();
        assert!(matches!(verify_key(&bundle, &stranger, digest("0a")), Err(BadSignature::Key)));
    }

    /// Changes the statement of a bundle without a new signature.
    fn with_statement(bundle: &str, change: impl FnOnce(&mut Value)) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let mut bundle: Value = serde_json::from_str(bundle).unwrap();
        let payload = &mut bundle["dsseEnvelope"]["payload"];
        let text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        let mut statement: Value = serde_json::from_slice(&text).unwrap();
        change(&mut statement);
        *payload = STANDARD.encode(statement.to_string()).into();
        bundle.to_string()
    }

    #[test]
    fn a_changed_statement_is_no_signature() {
        let key = private_key();
        let public = key.public_key().unwrap();
        let bundle = sign(&key, digest("0a")).unwrap();
        let moved = with_statement(&bundle, |statement| {
            statement["subject"][0]["digest"]["sha256"] = "0b".repeat(32).into();
        });
        assert!(matches!(verify_key(&moved, &public, digest("0b")), Err(BadSignature::Key)));
        let described = with_statement(&bundle, |statement| {
            statement["predicateType"] = "https://spdx.dev/Document".into()
        });
        let error = verify_key(&described, &public, digest("0a")).unwrap_err().to_string();
        assert!(error.contains("found a statement `https://spdx.dev/Document`"), "{error}");
        let error = verify_key("{}", &public, digest("0a")).unwrap_err().to_string();
        assert!(error.starts_with("expected a sigstore bundle: "), "{error}");
    }

    #[test]
    fn a_signature_of_a_key_has_no_identity() {
        let bundle = sign(&private_key(), digest("0a")).unwrap();
        let empty = json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"});
        let authorities = Authorities::from_json(&empty.to_string()).unwrap();
        let error = signer(&bundle, &authorities, digest("0a")).unwrap_err();
        assert!(matches!(error, BadSignature::Keyless(_)), "{error}");
    }
}
