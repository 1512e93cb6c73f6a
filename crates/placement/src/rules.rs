//! The rules of one Kubernetes version.

use std::{fmt, str::FromStr};

/// A minor version of Kubernetes 1, with its rules of placement.
///
/// Versions differ in one rule: since 1.35, the numeric operators of tolerations, `Lt` and `Gt`, exist behind the
/// feature gate `TaintTolerationComparisonOperators`. It is off by default in each known version
/// (pkg/features/kube_features.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesVersion {
    minor: u32,
    numeric_tolerations: bool,
}

/// The reason why a text is not a supported version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionError {
    /// The text has another form than `1.MINOR`.
    Form,
    /// The version is older or newer than the known ones.
    Unknown,
}

impl KubernetesVersion {
    /// The oldest version whose rules are known.
    pub const OLDEST: Self = Self { minor: 34, numeric_tolerations: false };

    /// The newest version whose rules are known.
    pub const NEWEST: Self = Self { minor: 37, numeric_tolerations: false };

    /// Returns the version with the feature gate `TaintTolerationComparisonOperators` on. Versions before 1.35 do not
    /// have the gate, so they stay as they are.
    #[must_use]
    pub fn with_numeric_tolerations(self) -> Self {
        Self { numeric_tolerations: self.minor >= 35, ..self }
    }

    /// Whether `Lt` and `Gt` tolerate taints.
    #[must_use]
    pub fn has_numeric_tolerations(self) -> bool {
        self.numeric_tolerations
    }
}

impl Default for KubernetesVersion {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    /// Reads `1.37`. A leading `v` and a patch version, as in `v1.37.2`, are ignored.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
        let (Some("1"), Some(minor)) = (parts.next(), parts.next()) else { return Err(VersionError::Form) };
        // Some providers add a plus sign to the minor version.
        let minor = minor.strip_suffix('+').unwrap_or(minor).parse().map_err(|_| VersionError::Form)?;
        if !(Self::OLDEST.minor..=Self::NEWEST.minor).contains(&minor) {
            return Err(VersionError::Unknown);
        }
        Ok(Self { minor, numeric_tolerations: false })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oldest, newest) = (KubernetesVersion::OLDEST, KubernetesVersion::NEWEST);
        match self {
            Self::Form => write!(f, "expected a version such as {newest}"),
            Self::Unknown => write!(f, "expected a version from {oldest} to {newest}"),
        }
    }
}

impl std::error::Error for VersionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_versions_that_clusters_report() {
        for text in ["1.36", "v1.36", "1.36.4", "v1.36.4-gke.100", "1.36+"] {
            assert_eq!(
                text.parse::<KubernetesVersion>().map(|version| version.to_string()),
                Ok("1.36".into())
            );
        }
        for text in ["", "1", "2.36", "1.x", "136", "v"] {
            assert_eq!(text.parse::<KubernetesVersion>(), Err(VersionError::Form), "{text}");
        }
        for text in ["1.33", "1.38", "1.0"] {
            assert_eq!(text.parse::<KubernetesVersion>(), Err(VersionError::Unknown), "{text}");
        }
    }

    #[test]
    fn only_versions_since_1_35_can_have_numeric_tolerations() {
        let with = |text: &str| text.parse::<KubernetesVersion>().map(|v| v.with_numeric_tolerations());
        assert_eq!(with("1.34").map(|v| v.has_numeric_tolerations()), Ok(false));
        assert_eq!(with("1.35").map(|v| v.has_numeric_tolerations()), Ok(true));
    }
}
