//! Keys in the files of cosign and openssl.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sigstore_verify::crypto::{KeyPair, VerificationKey};
use sigstore_verify::types::{DerPublicKey, SignatureBytes};

use crate::encrypted;

/// A key that checks signatures.
pub struct PublicKey {
    der: DerPublicKey,
    key: VerificationKey,
}

/// A key of ECDSA with the curve P-256, which makes signatures.
pub struct PrivateKey(KeyPair);

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not one block of PEM.
    #[error("expected {expected} in PEM: {detail}")]
    Pem {
        /// Such as `a public key`.
        expected: &'static str,
        /// The problem.
        detail: String,
    },
    /// The block contains something else.
    #[error("expected {expected}, found a block `{found}`")]
    Label {
        /// The labels that are possible.
        expected: &'static str,
        /// The label.
        found: String,
    },
    /// The content of the block has a wrong form.
    #[error("expected {expected}: {detail}")]
    Form {
        /// Such as `a public key`.
        expected: &'static str,
        /// The problem.
        detail: String,
    },
    /// The key is encrypted, and no password was given.
    #[error("expected a password for the encrypted key, found none; hint: set `COSIGN_PASSWORD`")]
    NoPassword,
    /// The password does not open the key.
    #[error("failed to decrypt the private key: wrong password")]
    Password,
}

impl PublicKey {
    /// Reads a public key, such as `cosign.pub`.
    ///
    /// # Errors
    /// The text is not a block `PUBLIC KEY`, or its algorithm is unknown.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = block(text, "a public key")?;
        if block.tag() != "PUBLIC KEY" {
            let found = block.tag().to_owned();
            return Err(KeyError::Label { expected: "a block `PUBLIC KEY`", found });
        }
        Self::from_der(DerPublicKey::new(block.into_contents()))
    }

    fn from_der(der: DerPublicKey) -> Result<Self, KeyError> {
        let key = VerificationKey::from_spki(&der);
        let key =
            key.map_err(|error| KeyError::Form { expected: "a public key", detail: error.to_string() })?;
        Ok(Self { der, key })
    }

    /// Returns a short name of the key: the SHA-256 of its text in DER, in base64.
    #[must_use]
    pub fn id(&self) -> String {
        STANDARD.encode(sigstore_verify::crypto::sha256(self.der.as_bytes()).as_bytes())
    }

    pub(crate) fn made(&self, signature: &SignatureBytes, data: &[u8]) -> bool {
        self.key.verify(data, signature).is_ok()
    }
}

impl PrivateKey {
    /// Reads a private key: `cosign.key`, which is encrypted, or a block `PRIVATE KEY` of openssl.
    ///
    /// # Errors
    /// The text has another form, the algorithm is not ECDSA with P-256, or the password is missing or wrong.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let block = block(text, "a private key")?;
        let content = match block.tag() {
            "PRIVATE KEY" => block.into_contents(),
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                encrypted::decrypt(block.contents(), password.ok_or(KeyError::NoPassword)?)?
            }
            found => {
                return Err(KeyError::Label {
                    expected: "`cosign.key`, or a block `PRIVATE KEY` (PKCS #8)",
                    found: found.to_owned(),
                });
            }
        };
        let pair = KeyPair::from_pkcs8_der(&content);
        let form = |detail: String| KeyError::Form { expected: "a private key of ECDSA with P-256", detail };
        Ok(Self(pair.map_err(|error| form(error.to_string()))?))
    }

    /// Returns the key that checks the signatures of this one.
    ///
    /// # Errors
    /// Never for a key that was read.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let form = |detail: String| KeyError::Form { expected: "a public key", detail };
        PublicKey::from_der(self.0.public_key_der().map_err(|error| form(error.to_string()))?)
    }

    pub(crate) fn sign(&self, data: &[u8]) -> Result<SignatureBytes, KeyError> {
        let form = |detail: String| KeyError::Form { expected: "a key that can sign", detail };
        self.0.sign(data).map_err(|error| form(error.to_string()))
    }
}

fn block(text: &str, expected: &'static str) -> Result<pem::Pem, KeyError> {
    pem::parse(text).map_err(|error| KeyError::Pem { expected, detail: error.to_string() })
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.id()).finish()
    }
}

impl fmt::Debug for PrivateKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a new key in a block `PRIVATE KEY`.
    pub(crate) fn pem() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    /// Returns the public half in a block `PUBLIC KEY`.
    pub(crate) fn public_pem(key: &PrivateKey) -> String {
        key.public_key().unwrap().der.to_pem()
    }

    pub(crate) fn private_key() -> PrivateKey {
        PrivateKey::from_pem(&pem(), None).unwrap()
    }

    #[test]
    fn an_encrypted_key_is_the_same_key() {
        let text = pem();
        let plain = PrivateKey::from_pem(&text, None).unwrap();
        let content = pem::parse(&text).unwrap().into_contents();
        for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
            let sealed = encrypted::tests::encrypt(&content, b"pass").to_string();
            let sealed = pem::encode(&pem::Pem::new(label, sealed));
            let opened = PrivateKey::from_pem(&sealed, Some(b"pass")).unwrap();
            assert_eq!(opened.public_key().unwrap().id(), plain.public_key().unwrap().id());
            assert!(matches!(PrivateKey::from_pem(&sealed, None), Err(KeyError::NoPassword)));
            assert!(matches!(PrivateKey::from_pem(&sealed, Some(b"")), Err(KeyError::Password)));
        }
    }

    #[test]
    fn a_wrong_file_is_named() {
        let public = |text: &str| PublicKey::from_pem(text).unwrap_err().to_string();
        let private = |text: &str| PrivateKey::from_pem(text, None).unwrap_err().to_string();
        assert!(public("key").contains("expected a public key in PEM"), "{}", public("key"));
        assert_eq!(public(&pem()), "expected a block `PUBLIC KEY`, found a block `PRIVATE KEY`");
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", *b"x"));
        assert!(private(&certificate).ends_with("found a block `CERTIFICATE`"), "{}", private(&certificate));
        let empty = pem::encode(&pem::Pem::new("PRIVATE KEY", *b"x"));
        assert!(
            private(&empty).starts_with("expected a private key of ECDSA with P-256"),
            "{}",
            private(&empty)
        );
    }
}
