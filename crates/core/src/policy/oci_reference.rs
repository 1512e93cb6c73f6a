//! References to artifacts in registries.

use std::fmt;
use std::str::FromStr;

use super::oci_repository::{OciRepository, host_and_path};

/// Maximum length of a tag, in bytes: the limit of the registries.
const MAX_TAG: usize = 128;

/// A reference to an artifact: `oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]`, with a tag, a digest or both. If it has
/// both, the digest decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    repository: OciRepository,
    tag: Option<String>,
    digest: Option<String>,
}

impl OciReference {
    /// Returns the registry: `HOST` or `HOST:PORT`, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        self.repository.host()
    }

    /// Returns the repository's name, such as `team/policy`.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.repository.name()
    }

    /// Returns the repository that has the artifact.
    #[must_use]
    pub fn in_repository(&self) -> &OciRepository {
        &self.repository
    }

    /// Returns the registry and the repository's name: `HOST/NAME`.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{}/{}", self.host(), self.repository())
    }

    /// Returns the reference of a tag in a repository, if the tag is well formed.
    #[must_use]
    pub fn of_tag(repository: &OciRepository, tag: &str) -> Option<Self> {
        let (repository, digest) = (repository.clone(), None);
        is_tag(tag).then(|| Self { repository, tag: Some(tag.to_owned()), digest })
    }

    /// Returns the tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest of the artifact's manifest, as `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the digest, else the tag: the artifact's name in its repository.
    #[must_use]
    pub fn version(&self) -> &str {
        // One of them is always there.
        self.digest().or(self.tag()).unwrap_or_default()
    }

    /// Returns the same reference with a digest, which no move of the tag changes. A malformed digest changes nothing.
    #[must_use]
    pub fn pinned(self, digest: &str) -> Self {
        if Self::is_digest(digest) { Self { digest: Some(digest.to_owned()), ..self } } else { self }
    }

    /// Returns whether `text` is `sha256:` and 64 lower-case hexadecimal digits. Registries may also have other digests,
    /// which Wardset does not compute.
    #[must_use]
    pub fn is_digest(text: &str) -> bool {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for OciReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, path) = host_and_path(text, "oci://HOST/NAME@sha256:…")?;
        let (name, digest) = match path.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (path, None),
        };
        let (name, tag) = match name.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (name, None),
        };
        let repository = OciRepository::new(host, name)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(format!(
                "expected a tag of 1 to {MAX_TAG} letters, digits, `.`, `_` and `-`, found `{tag}`"
            ));
        }
        if let Some(digest) = digest.filter(|digest| !Self::is_digest(digest)) {
            return Err(format!("expected `sha256:` and 64 of 0-9 and a-f after `@`, found `{digest}`"));
        }
        if tag.is_none() && digest.is_none() {
            return Err(format!(
                "expected a digest after `{name}`, found none; hint: `@sha256:…` names one artifact for ever, and a tag \
                 such as `:1.0.0` works too"
            ));
        }
        Ok(Self { repository, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_reference_has_a_host_a_name_and_a_tag_or_a_digest() {
        for (text, host, name, tag, digest) in [
            (format!("oci://r.example/a@{DIGEST}"), "r.example", "a", None, Some(DIGEST)),
            (format!("oci://r.example/a:1@{DIGEST}"), "r.example", "a", Some("1"), Some(DIGEST)),
            (
                "oci://localhost:5000/team/a-b__c.d:v1.0_x-y".into(),
                "localhost:5000",
                "team/a-b__c.d",
                Some("v1.0_x-y"),
                None,
            ),
            ("oci://[::1]:5000/a---b:latest".into(), "[::1]:5000", "a---b", Some("latest"), None),
            ("oci://127.0.0.1/0:1".into(), "127.0.0.1", "0", Some("1"), None),
        ] {
            let reference: OciReference = text.parse().unwrap();
            let found = (reference.host(), reference.repository(), reference.tag(), reference.digest());
            assert_eq!(found, (host, name, tag, digest), "{text}");
            assert_eq!(reference.version(), digest.or(tag).unwrap());
            assert_eq!(reference.to_string(), text);
        }
        assert_eq!("oci://R.Example/a:1".parse::<OciReference>().unwrap().host(), "r.example");
    }

    #[test]
    fn a_malformed_reference_names_its_wrong_part() {
        let short = DIGEST.trim_end_matches('f');
        for (text, problem) in [
            ("oci:r/a:1", "expected `oci://HOST/NAME@sha256:…`, found `oci:r/a:1`"),
            ("oci://r", "expected `oci://HOST/NAME@sha256:…`, found `oci://r`"),
            ("oci:///a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found ``"),
            ("oci://r:0/a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found `r:0`"),
            ("oci://r:port/a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found `r:port`"),
            ("oci://r:+5/a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found `r:+5`"),
            ("oci://-r/a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found `-r`"),
            ("oci://[::g]/a:1", "expected `HOST` or `HOST:PORT` after `oci://`, found `[::g]`"),
            (
                "oci://r/Team/a:1",
                "expected a name of a-z, 0-9, `.`, `_`, `-` and `/` after the host, with a letter or \
              digit at both ends of each part, found `Team/a`",
            ),
            ("oci://r/a:b/c", "expected a tag of 1 to 128 letters, digits, `.`, `_` and `-`, found `b/c`"),
            ("oci://r/a:", "expected a tag of 1 to 128 letters, digits, `.`, `_` and `-`, found ``"),
            (
                "oci://r/a",
                "expected a digest after `a`, found none; hint: `@sha256:…` names one artifact for ever, and a \
              tag such as `:1.0.0` works too",
            ),
            (
                &format!("oci://r/a@{short}"),
                &format!("expected `sha256:` and 64 of 0-9 and a-f after `@`, found `{short}`"),
            ),
            ("oci://r/a@sha512:00", "expected `sha256:` and 64 of 0-9 and a-f after `@`, found `sha512:00`"),
        ] {
            assert_eq!(text.parse::<OciReference>().unwrap_err(), problem, "{text}");
        }
        for name in ["a..b", "a.-b", "a___b", "/a", "a//b", "a/", "_a", "a-", "é"] {
            let error = format!("oci://r/{name}:1").parse::<OciReference>().unwrap_err();
            assert!(error.ends_with(&format!("found `{name}`")), "{error}");
        }
    }

    #[test]
    fn a_password_in_a_reference_appears_in_no_message() {
        let error = "oci://jo:secret@r/a:1".parse::<OciReference>().unwrap_err();
        assert!(error.starts_with("expected no user and password in a reference"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_pinned_reference_keeps_its_tag_and_takes_only_a_digest() {
        let tagged: OciReference = "oci://r/a:1".parse().unwrap();
        assert_eq!(tagged.clone().pinned(DIGEST).to_string(), format!("oci://r/a:1@{DIGEST}"));
        assert_eq!(tagged.clone().pinned("../x"), tagged);
    }
}
