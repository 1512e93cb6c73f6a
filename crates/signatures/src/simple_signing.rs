//! The older form of cosign's signatures: a JSON payload, and its signature in an annotation. A registry has it under the
//! tag `sha256-….sig`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sigstore_verify::types::SignatureBytes;

use crate::{BadSignature, KeyError, ManifestDigest, PrivateKey, PublicKey};

/// The media type of a payload, which is a layer of the signature's artifact.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of the layer that has the signature.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

const TYPE: &str = "cosign container image signature";

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

/// A payload with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The payload as JSON.
    pub payload: Vec<u8>,
    /// The signature in base64.
    pub signature: String,
}

/// Signs the digest of an artifact. `repository` is its place, such as `registry.example/policies/labels`.
///
/// # Errors
/// The key cannot sign.
pub fn sign(key: &PrivateKey, repository: &str, digest: ManifestDigest) -> Result<Signed, KeyError> {
    let payload = Payload {
        critical: Critical {
            identity: Identity { docker_reference: repository.to_owned() },
            image: Image { docker_manifest_digest: digest.to_string() },
            r#type: TYPE.to_owned(),
        },
        optional: None,
    };
    // Strings can always be written.
    let payload = serde_json::to_vec(&payload).unwrap_or_default();
    let signature = STANDARD.encode(key.sign(&payload)?.as_bytes());
    Ok(Signed { payload, signature })
}

/// Checks that `key` signed the digest. The repository in the payload does not matter, because artifacts are copied.
///
/// # Errors
/// Somebody else signed the payload, or it is about another artifact.
pub fn verify(signed: &Signed, key: &PublicKey, digest: ManifestDigest) -> Result<(), BadSignature> {
    let expected = "a signature of cosign";
    let form = |detail: String| BadSignature::Form { expected, detail };
    let signature = STANDARD.decode(&signed.signature);
    let signature = signature.map_err(|error| form(format!("the annotation is not base64: {error}")))?;
    if !key.made(&SignatureBytes::new(signature), &signed.payload) {
        return Err(BadSignature::Key);
    }
    let payload: Payload =
        serde_json::from_slice(&signed.payload).map_err(|error| form(error.to_string()))?;
    let Critical { image, r#type, .. } = payload.critical;
    if r#type != TYPE {
        return Err(form(format!("expected the type `{TYPE}`, found `{type}`", type = r#type)));
    }
    if image.docker_manifest_digest != digest.to_string() {
        let found = image.docker_manifest_digest;
        return Err(BadSignature::Digest { expected: digest.to_string(), found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::private_key;

    fn digest(byte: &str) -> ManifestDigest {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    #[test]
    fn only_the_key_that_signed_the_digest_verifies() {
        let key = private_key();
        let public = key.public_key().unwrap();
        let signed = sign(&key, "registry.example/labels", digest("0a")).unwrap();
        assert!(verify(&signed, &public, digest("0a")).is_ok());

        let other = verify(&signed, &public, digest("0b")).unwrap_err();
        assert!(matches!(other, BadSignature::Digest { .. }), "{other}");
        let stranger = private_key().public_key().unwrap();
        assert!(matches!(verify(&signed, &stranger, digest("0a")), Err(BadSignature::Key)));
        let mut changed = signed.clone();
        *changed.payload.last_mut().unwrap() = b' ';
        assert!(matches!(verify(&changed, &public, digest("0a")), Err(BadSignature::Key)));
        let no_base64 = Signed { signature: "?".into(), ..signed };
        assert!(matches!(verify(&no_base64, &public, digest("0a")), Err(BadSignature::Form { .. })));
    }

    #[test]
    fn the_payload_is_the_one_that_cosign_writes() {
        let key = private_key();
        let signed = sign(&key, "registry.example/labels", digest("0a")).unwrap();
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/labels"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            digest("0a")
        );
        assert_eq!(String::from_utf8(signed.payload).unwrap(), expected);
    }
}
