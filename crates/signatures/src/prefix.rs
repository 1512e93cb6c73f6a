//! Prefixes of repositories, by which an operator names registries.

use std::fmt;
use std::str::FromStr;

/// A registry, with or without the first segments of a repository, such as `registry.example/policies`; or `*`, which is
/// every registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPrefix(String);

impl RepositoryPrefix {
    /// Returns the prefix of every registry.
    #[must_use]
    pub fn every() -> Self {
        Self("*".to_owned())
    }

    /// Returns whether a repository, such as `registry.example/policies/labels`, starts with these segments.
    #[must_use]
    pub fn covers(&self, repository: &str) -> bool {
        let rest = repository.strip_prefix(&self.0);
        self.0 == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the text. Letters are in lower case, as in a parsed reference.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the length by which the more specific of two prefixes is found. That of `*` is 0.
    pub(crate) fn length(&self) -> usize {
        if self.0 == "*" { 0 } else { self.0.len() }
    }
}

impl fmt::Display for RepositoryPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_whole = !text.is_empty() && text.split('/').all(|segment| !segment.is_empty());
        let is_plain = !text.contains(['*', '@', ' ']) && !text.contains("://");
        if text == "*" || (is_whole && is_plain) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(format!(
            "expected a registry, with or without segments of a repository, such as `registry.example/policies`, or `*`; \
             found `{text}`"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        let covers =
            |prefix: &str, repository| prefix.parse::<RepositoryPrefix>().unwrap().covers(repository);
        assert!(covers("r.example:5000/team", "r.example:5000/team/labels"));
        assert!(covers("R.Example", "r.example/team"), "references have hosts in lower case");
        assert!(covers("*", "r.example/team"));
        assert!(!covers("r.example/team", "r.example/teams"));
        assert!(!covers("r.example", "r.example.org/team"));
        for text in ["", "r/", "/r", "r/*", "https://r", "u@r", "r r"] {
            assert!(text.parse::<RepositoryPrefix>().unwrap_err().ends_with(&format!("found `{text}`")));
        }
    }
}
