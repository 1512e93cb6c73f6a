//! The minor versions of Kubernetes that `tests/cluster` pins, one folder with a Go module for each.

use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::repository::Repository;

/// A minor version of Kubernetes 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Minor(u32);

impl Minor {
    /// Returns the known versions, the oldest first.
    ///
    /// # Errors
    /// The folder of the Go modules cannot be read, or has none for Kubernetes.
    pub(crate) fn known(repository: &Repository) -> Result<Vec<Self>> {
        let folder = repository.control_plane();
        let context = || format!("cannot read `{}`", folder.display());
        let mut known = Vec::new();
        for entry in fs::read_dir(&folder).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let minor = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            known.extend(minor.and_then(|minor| minor.parse::<Self>().ok()));
        }
        if known.is_empty() {
            bail!("expected folders such as `{PREFIX}1.37` in `{}`, found none", folder.display());
        }
        known.sort_unstable();
        Ok(known)
    }

    /// Returns the newest known version.
    ///
    /// # Errors
    /// As [`Minor::known`].
    pub(crate) fn newest(repository: &Repository) -> Result<Self> {
        // The list has at least one element.
        Self::known(repository)?.pop().context("no version of Kubernetes is known")
    }

    /// Returns the name of the folder with its Go module.
    pub(crate) fn folder(self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl FromStr for Minor {
    type Err = NotMinor;

    /// Reads `1.37`.
    fn from_str(text: &str) -> Result<Self, NotMinor> {
        let minor = text.strip_prefix("1.").and_then(|minor| minor.parse().ok());
        // `1.037` and `1.+37` would be other names for the same version.
        minor.map(Self).filter(|minor| minor.to_string() == text).ok_or(NotMinor)
    }
}

impl std::fmt::Display for Minor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// The text has another form than `1.MINOR`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotMinor;

/// The option that selects a version.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Version {
    /// Minor version of Kubernetes, such as 1.36; the default is the newest one in `tests/cluster`
    #[arg(long, value_name = "VERSION")]
    pub(crate) kubernetes: Option<String>,
}

impl Version {
    /// Returns the selected version, or the newest one.
    ///
    /// # Errors
    /// The version is unknown; the error lists the known ones.
    pub(crate) fn select(&self, repository: &Repository) -> Result<Minor> {
        let known = Minor::known(repository)?;
        let Some(typed) = &self.kubernetes else { return Minor::newest(repository) };
        match typed.parse() {
            Ok(minor) if known.contains(&minor) => Ok(minor),
            _ => {
                let known: Vec<String> = known.iter().map(|minor| format!("`{minor}`")).collect();
                bail!(
                    "`--kubernetes`: expected one of {}, found `{typed}`\n\
                     hint: CONTRIBUTING.md says how to add a version",
                    known.join(", ")
                )
            }
        }
    }
}

/// Start of the names of folders with a Go module for one version.
const PREFIX: &str = "kubernetes-";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn repository_with(folders: &[&str]) -> (tempfile::TempDir, Repository) {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join("tests/cluster").join(folder)).unwrap();
        }
        let repository = Repository::at(root.path());
        (root, repository)
    }

    fn typed(text: &str) -> Version {
        Version { kubernetes: Some(text.to_owned()) }
    }

    #[test]
    fn newest_is_the_default_and_numbers_are_not_compared_as_text() {
        let (_root, repository) = repository_with(&["kubernetes-1.100", "kubernetes-1.99", "etcd", "kwok"]);
        let newest = Version::default().select(&repository).unwrap();
        assert_eq!((newest.to_string(), newest.folder()), ("1.100".into(), "kubernetes-1.100".into()));
        assert_eq!(typed("1.99").select(&repository).unwrap().folder(), "kubernetes-1.99");
    }

    #[test]
    fn unknown_version_is_refused_with_the_known_ones() {
        let (_root, repository) = repository_with(&["kubernetes-1.37", "kubernetes-1.36"]);
        for text in ["1.35", "1.36.3", "v1.36", "1.+36", "1.036", "2.36", "newest", ""] {
            assert_eq!(
                typed(text).select(&repository).unwrap_err().to_string(),
                format!(
                    "`--kubernetes`: expected one of `1.36`, `1.37`, found `{text}`\n\
                     hint: CONTRIBUTING.md says how to add a version"
                )
            );
        }
    }

    #[test]
    fn copy_without_a_version_says_so() {
        let (_root, repository) = repository_with(&["etcd"]);
        let error = Version::default().select(&repository).unwrap_err().to_string();
        assert!(error.starts_with("expected folders such as `kubernetes-1.37` in `"), "{error}");
    }

    #[test]
    fn each_module_pins_one_release_of_its_minor_version() {
        let repository = Repository::at(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
        for minor in Minor::known(&repository).unwrap() {
            let path = repository.control_plane().join(minor.folder()).join("go.mod");
            let text = fs::read_to_string(&path).unwrap();
            let module = format!("module wardset/tests/cluster/{}", minor.folder());
            assert!(text.lines().any(|line| line == module), "{minor}: {module}");
            let required: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix("require k8s.io/kubernetes v")).collect();
            let [required] = required[..] else { panic!("{minor}: {required:?}") };
            let release = required.split_whitespace().next().unwrap();
            assert!(release.starts_with(&format!("{minor}.")), "{minor}: {release}");

            // Kubernetes 1.36.3 is published together with version 0.36.3 of its staging modules.
            let staging = format!("v0{}", release.strip_prefix('1').unwrap());
            let replaced: Vec<&str> = text.lines().filter(|line| line.contains(" => ")).collect();
            assert!(replaced.len() > 25, "{minor}: {replaced:?}");
            for line in replaced {
                let (old, new) = line.trim().split_once(" => ").unwrap();
                assert_eq!(new, format!("{old} {staging}"), "{minor}");
            }
            // The builder takes another version for a module that is required and not replaced.
            for line in text.lines().map(str::trim).filter(|line| line.starts_with("k8s.io/")) {
                let name = line.split_whitespace().next().unwrap();
                let is_own = name.contains("/cmd/") || text.contains(&format!("{name} => "));
                let is_released_apart = ["klog", "kube-openapi", "utils", "gengo"]
                    .iter()
                    .any(|apart| name.strip_prefix("k8s.io/").unwrap().starts_with(apart));
                assert!(is_own || is_released_apart, "{minor}: `{name}` is not replaced");
            }
        }
    }
}
