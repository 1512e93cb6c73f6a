//! The digest of an artifact's manifest.

use std::fmt;
use std::str::FromStr;

use sigstore_verify::types::Sha256Hash;

/// The SHA-256 of a manifest, as registries write it: `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ManifestDigest(Sha256Hash);

/// A text that is no digest.
#[derive(Debug, thiserror::Error)]
#[error("expected `sha256:` and 64 hexadecimal digits in lower case, found `{found}`")]
pub struct DigestError {
    found: String,
}

impl ManifestDigest {
    pub(crate) fn hash(self) -> Sha256Hash {
        self.0
    }
}

impl FromStr for ManifestDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.bytes().all(is_digit));
        let hash = digits.and_then(|digits| Sha256Hash::from_hex(digits).ok());
        hash.map(Self).ok_or_else(|| DigestError { found: text.chars().take(100).collect() })
    }
}

impl fmt::Display for ManifestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0.to_hex())
    }
}

impl fmt::Debug for ManifestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_form_of_registries_alone() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(digest.parse::<ManifestDigest>().unwrap().to_string(), digest);
        for wrong in
            ["", "sha256:", "sha256:0a", &"0a".repeat(32), &digest.to_uppercase(), &format!("{digest}0")]
        {
            let error = wrong.parse::<ManifestDigest>().unwrap_err().to_string();
            assert!(error.contains(&format!("found `{wrong}`")), "{error}");
        }
    }
}
