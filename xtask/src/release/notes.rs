//! The release notes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::names::Names;
use crate::digests;
use crate::image::VERSION;

/// The facts in the release notes.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    /// The commit; `None` if files differ from it.
    pub(crate) revision: Option<&'a str>,
    /// The digest of the image, as registries show it.
    pub(crate) image: &'a str,
    /// The library that the program of the archive needs; `None` if it is static.
    pub(crate) needs: Option<&'a str>,
    /// The changes, as the changelog lists them.
    pub(crate) changes: &'a str,
    pub(crate) names: &'a Names,
}

impl Notes<'_> {
    /// Returns the notes of a release with these files.
    pub(crate) fn write(&self, files: &BTreeMap<String, Vec<u8>>) -> String {
        let commit = self
            .revision
            .map_or("files that differ from a commit".to_owned(), |revision| format!("commit `{revision}`"));
        let program =
            self.needs.map_or("is static: it needs no library".to_owned(), |needs| format!("needs {needs}"));
        let mut notes = format!(
            "# Wardset {VERSION}\n\n\
             Built from {commit}. The image has the digest `{}`.\n\
             The program in `{}` {program}.\n\n\
             `sha256sum --check SHA256SUMS` compares the files with their digests.\n\n\
             | file | content | bytes | SHA-256 |\n|---|---|---:|---|\n",
            self.image, self.names.program,
        );
        for (name, purpose) in self.names.all() {
            let Some(bytes) = files.get(name) else { continue };
            // Writing to a String cannot fail.
            let _ =
                writeln!(notes, "| `{name}` | {purpose} | {} | `{}` |", bytes.len(), digests::sha256(bytes));
        }
        let _ = write!(notes, "\n## Changes\n\n{}\n", self.changes);
        notes
    }
}

/// Returns the section of a version in the changelog, or else that of the changes without a release.
pub(crate) fn changes<'t>(changelog: &'t str, version: &str) -> &'t str {
    let section = |title: &str| {
        let mut sections = changelog.split("\n## ").skip(1);
        let is_of = |section: &&str| section.split_whitespace().next() == Some(title);
        sections.find(is_of).map(|section| section.split_once('\n').map_or("", |(_, text)| text).trim())
    };
    section(version).or_else(|| section("Unreleased")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_size_and_digest_of_each_file() {
        let names = Names::new("amd64", "0.1.0");
        let files = [(names.chart.clone(), b"x".to_vec())].into();
        let notes = Notes {
            revision: Some("0123"),
            image: "sha256:45",
            needs: None,
            changes: "- One.",
            names: &names,
        };
        let text = notes.write(&files);
        assert!(text.contains("Built from commit `0123`. The image has the digest `sha256:45`.\n"));
        assert!(text.contains(
            "| `wardset-0.1.0.tgz` | the Helm chart | 1 | `2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881` |\n"
        ));
        assert!(text.ends_with("\n## Changes\n\n- One.\n"));
    }

    #[test]
    fn changes_are_those_of_the_version() {
        let changelog = "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.2.0 (2026-01-01)\n\n### Added\n\n- Two.\n\n## 0.1.0\n\n- One.\n";
        assert_eq!(changes(changelog, "0.2.0"), "### Added\n\n- Two.");
        assert_eq!(changes(changelog, "0.1.0"), "- One.");
        assert_eq!(changes(changelog, "0.3.0"), "- New.");
        assert_eq!(changes("", "0.3.0"), "");
    }
}
