//! The names of a release's files.

use crate::dependencies;
use crate::image::{self, VERSION};

/// The names that contain a version or a processor.
#[derive(Debug)]
pub(crate) struct Names {
    /// The archive with the program.
    pub(crate) program: String,
    /// The archive of the image.
    pub(crate) image: String,
    /// The package of the chart, as Helm names it.
    pub(crate) chart: String,
    /// The archive with the built-in modules.
    pub(crate) policies: String,
    /// The software bill of materials.
    pub(crate) sbom: String,
}

impl Names {
    /// Returns the names for a processor, as images name it, and for a version of the chart.
    pub(crate) fn new(architecture: &str, chart: &str) -> Self {
        Self {
            program: format!("wardset-{VERSION}-linux-{architecture}.tar.gz"),
            image: image::archive_name(architecture),
            chart: format!("wardset-{chart}.tgz"),
            policies: format!("wardset-policies-{VERSION}.tar.gz"),
            sbom: format!("wardset-{VERSION}.cdx.json"),
        }
    }

    /// Returns the names of all files with their purpose, in the order of the release notes.
    pub(crate) fn all(&self) -> [(&str, &'static str); 10] {
        [
            (&self.program, "the program `wardset` for Linux, with its licences"),
            (&self.image, "the container image, as an archive for `skopeo`, `ctr` and `docker load`"),
            (&self.chart, "the Helm chart"),
            (INSTALL, "everything except policies, as one manifest"),
            (POLICIES, "the default set of policies"),
            (&self.policies, "the built-in modules, to push them to a registry"),
            (&self.sbom, "all crates in the program, as CycloneDX"),
            (NOTICE, "the licences of these crates"),
            (SUMS, "the digests of the files above"),
            (NOTES, "the release notes"),
        ]
    }
}

const INSTALL: &str = "install.yaml";
const POLICIES: &str = "policies.yaml";

/// The manifests in `deploy`.
pub(crate) const MANIFESTS: [&str; 2] = [INSTALL, POLICIES];

/// The licences of all crates.
pub(crate) const NOTICE: &str = dependencies::NOTICE;

/// The digests of all files but itself and the release notes.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// The release notes.
pub(crate) const NOTES: &str = "RELEASE.md";

/// The processor in the file names of the manuals.
pub(crate) const ARCHITECTURE_OF_MANUALS: &str = "amd64";
