//! Repositories in registries.

use std::fmt;
use std::str::FromStr;

/// Maximum length of a repository's name, in bytes: the limit of the registries.
const MAX_NAME: usize = 255;

/// A repository in a registry: `oci://HOST[:PORT]/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciRepository {
    host: String,
    name: String,
}

impl OciRepository {
    /// Returns a repository of the registry `host`, which is well formed.
    pub(super) fn new(host: &str, name: &str) -> Result<Self, String> {
        if !is_repository(name) {
            return Err(format!(
                "expected a name of a-z, 0-9, `.`, `_`, `-` and `/` after the host, with a letter or digit at both \
                 ends of each part, found `{name}`"
            ));
        }
        Ok(Self { host: host.to_ascii_lowercase(), name: name.to_owned() })
    }

    /// Returns the registry: `HOST` or `HOST:PORT`, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the repository's name, such as `team/policy`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for OciRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.host, self.name)
    }
}

impl FromStr for OciRepository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, name) = host_and_path(text, "oci://HOST/NAME")?;
        if let Some(at) = name.find([':', '@']) {
            return Err(format!(
                "expected a repository without a tag and a digest, found `{}` after its name; hint: write \
                 `oci://{host}/{}`",
                &name[at..],
                &name[..at]
            ));
        }
        Self::new(host, name)
    }
}

/// Returns the parts of `oci://HOST/…` with a well-formed host. `expected` is the whole form, for messages.
pub(super) fn host_and_path<'t>(text: &'t str, expected: &str) -> Result<(&'t str, &'t str), String> {
    let Some((host, path)) = text.strip_prefix("oci://").and_then(|rest| rest.split_once('/')) else {
        return Err(format!("expected `{expected}`, found `{text}`"));
    };
    // Before any message that repeats the host.
    if host.contains('@') {
        return Err(
                "expected no user and password in a reference, found `@` before the host; hint: `docker login` and \
                 `podman login` store them in a file that Wardset reads"
                    .to_owned(),
            );
    }
    if !is_host(host) {
        return Err(format!("expected `HOST` or `HOST:PORT` after `oci://`, found `{host}`"));
    }
    Ok((host, path))
}

/// Returns whether `text` is a host or an IP address (IPv6 in brackets), with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<core::net::Ipv6Addr>().is_ok() => ("address", rest),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port && host.len() <= MAX_NAME && host.split('.').all(label)
}

/// Returns whether `name` is a repository: parts between `/`, each of lower-case words with separators between them.
fn is_repository(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|byte| is_word(*byte)))
            && part.split(|letter: char| letter.is_ascii() && is_word(letter as u8)).all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            })
    };
    name.len() <= MAX_NAME && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_a_host_and_a_name_and_nothing_more() {
        let repository: OciRepository = "oci://R.Example:5000/team/labels".parse().unwrap();
        assert_eq!((repository.host(), repository.name()), ("r.example:5000", "team/labels"));
        assert_eq!(repository.to_string(), "oci://r.example:5000/team/labels");
        for (text, problem) in [
            ("r.example/a", "expected `oci://HOST/NAME`, found `r.example/a`"),
            ("oci://jo:secret@r/a", "expected no user and password in a reference"),
            ("oci://r/A", "found `A`"),
            ("oci://r/a:1", "found `:1` after its name; hint: write `oci://r/a`"),
            ("oci://r/a@sha256:0", "found `@sha256:0` after its name; hint: write `oci://r/a`"),
        ] {
            let error = text.parse::<OciRepository>().unwrap_err();
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
    }
}
