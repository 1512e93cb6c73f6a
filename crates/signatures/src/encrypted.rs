//! Private keys that cosign encrypted: scrypt makes a key from the password, and NaCl's secretbox encrypts with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{Key, KeyInit as _, Nonce, XSalsa20Poly1305};
use serde::Deserialize;

use crate::KeyError;

/// Memory for scrypt, in bytes. cosign needs 64 MiB; a hostile file could ask for more than the machine has.
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;

#[derive(Deserialize)]
struct EncryptedKey {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: Costs,
    salt: String,
}

#[derive(Deserialize)]
struct Costs {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Decrypts the content of a PEM block of cosign. The result is a private key in PKCS #8.
pub(crate) fn decrypt(content: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let form = |detail: String| KeyError::Form { expected: "a private key that cosign encrypted", detail };
    let key: EncryptedKey = serde_json::from_slice(content).map_err(|error| form(error.to_string()))?;
    let (kdf, cipher) = (&*key.kdf.name, &*key.cipher.name);
    if (kdf, cipher) != ("scrypt", "nacl/secretbox") {
        return Err(form(format!("expected `scrypt` and `nacl/secretbox`, found `{kdf}` and `{cipher}`")));
    }
    let bytes = |field: &'static str, text: &str| {
        STANDARD.decode(text).map_err(|error| form(format!("`{field}` is not base64: {error}")))
    };
    let salt = bytes("kdf.salt", &key.kdf.salt)?;
    let nonce = bytes("cipher.nonce", &key.cipher.nonce)?;
    let sealed = bytes("ciphertext", &key.ciphertext)?;
    let nonce: [u8; 24] = nonce
        .try_into()
        .map_err(|nonce: Vec<u8>| form(format!("`cipher.nonce` has {} bytes, expected 24", nonce.len())))?;
    let derived = derive(&key.kdf.params, password, &salt).map_err(form)?;
    let opened = XSalsa20Poly1305::new(&Key::from(derived)).decrypt(&Nonce::from(nonce), &*sealed);
    opened.map_err(|_| KeyError::Password)
}

fn derive(Costs { n, r, p }: &Costs, password: &[u8], salt: &[u8]) -> Result<[u8; 32], String> {
    let memory = n.saturating_mul(u64::from(*r)).saturating_mul(u64::from(*p)).saturating_mul(128);
    if !n.is_power_of_two() || memory > MAX_SCRYPT_MEMORY {
        return Err(format!(
            "expected costs of scrypt as cosign sets them (N 65536, r 8, p 1), found {n}, {r}, {p}"
        ));
    }
    let log = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let costs = scrypt::Params::new(log, *r, *p).map_err(|error| error.to_string())?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &costs, &mut key).map_err(|error| error.to_string())?;
    Ok(key)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Encrypts as cosign does, with lower costs.
    pub(crate) fn encrypt(content: &[u8], password: &[u8]) -> Value {
        let (salt, nonce) = ([7; 32], [9; 24]);
        let derived = derive(&Costs { n: 16, r: 8, p: 1 }, password, &salt).unwrap();
        let sealed =
            XSalsa20Poly1305::new(&Key::from(derived)).encrypt(&Nonce::from(nonce), content).unwrap();
        json!({
            "kdf": {"name": "scrypt", "params": {"N": 16, "r": 8, "p": 1}, "salt": STANDARD.encode(salt)},
            "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode(nonce)},
            "ciphertext": STANDARD.encode(sealed),
        })
    }

    #[test]
    fn opens_with_the_password_alone() {
        let sealed = encrypt(b"secret", b"pass").to_string();
        assert_eq!(decrypt(sealed.as_bytes(), b"pass").unwrap(), b"secret");
        assert!(matches!(decrypt(sealed.as_bytes(), b"Pass"), Err(KeyError::Password)));
    }

    #[test]
    fn names_what_is_wrong_with_a_file() {
        for (pointer, value, expected) in [
            ("/kdf/name", json!("argon2"), "found `argon2` and `nacl/secretbox`"),
            ("/cipher/name", json!("aes"), "found `scrypt` and `aes`"),
            ("/kdf/salt", json!("?"), "`kdf.salt` is not base64"),
            ("/cipher/nonce", json!("AAAA"), "`cipher.nonce` has 3 bytes, expected 24"),
            ("/kdf/params/N", json!(1_u64 << 40), "found 1099511627776, 8, 1"),
            ("/kdf/params/N", json!(0), "found 0, 8, 1"),
            ("/kdf/params/N", json!(48), "found 48, 8, 1"),
            ("/ciphertext", json!(5), "invalid type: integer `5`, expected a string"),
        ] {
            let mut sealed = encrypt(b"secret", b"pass");
            *sealed.pointer_mut(pointer).unwrap() = value;
            let error = decrypt(sealed.to_string().as_bytes(), b"pass").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
