//! The chart as the package that `helm install` accepts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::archive::{self, Files};

/// The chart, and the facts in its `Chart.yaml` that a release needs.
#[derive(Debug)]
pub(crate) struct Chart {
    folder: PathBuf,
    /// The chart's name, which is also the folder in its package.
    name: String,
    /// The version of the chart.
    pub(crate) version: String,
    /// The version of the program that it installs.
    pub(crate) app_version: String,
}

impl Chart {
    /// Reads the chart in a folder.
    ///
    /// # Errors
    /// `Chart.yaml` cannot be read, or has no name or version.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("Chart.yaml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let value = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            let value = value.map(|value| value.trim().trim_matches('"').to_owned());
            value.with_context(|| format!("`{}`: expected a line `{key}: …`, found none", path.display()))
        };
        Ok(Self {
            folder: folder.to_owned(),
            name: value("name")?,
            version: value("version")?,
            app_version: value("appVersion")?,
        })
    }

    /// Packs the chart.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn pack(&self, time: Timestamp) -> Result<Vec<u8>> {
        let mut files = Files::new();
        collect(&self.folder, "", &mut files)?;
        archive::pack(&self.name, &files, time)
            .with_context(|| format!("failed to pack `{}`", self.folder.display()))
    }
}

/// Adds the files in a folder and below, except those that `.helmignore` excludes.
fn collect(folder: &Path, prefix: &str, files: &mut Files) -> Result<()> {
    let context = || format!("failed to list `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().with_context(context)?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else if !IGNORED.iter().any(|end| name.ends_with(end)) {
            let bytes = fs::read(entry.path())
                .with_context(|| format!("failed to read `{}`", entry.path().display()))?;
            files.insert(path, (bytes, 0o644));
        }
    }
    Ok(())
}

/// The lines of `.helmignore` without their asterisk. They are ends of file names.
const IGNORED: [&str; 4] = [".orig", ".swp", "~", ".DS_Store"];

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::repository::Repository;

    #[test]
    fn package_has_the_files_of_the_chart_below_its_name() {
        let chart = Chart::read(&Repository::find().unwrap().chart()).unwrap();
        let packed = chart.pack(Timestamp::UNIX_EPOCH).unwrap();
        assert!(packed == chart.pack(Timestamp::UNIX_EPOCH).unwrap());
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
        let paths: Vec<String> = tar::Archive::new(&tar[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        for path in ["wardset/Chart.yaml", "wardset/values.yaml", "wardset/templates/deployment.yaml"] {
            assert!(paths.iter().any(|found| found == path), "{paths:?}");
        }
    }

    #[test]
    fn leaves_out_the_files_of_helmignore() {
        let chart = Repository::find().unwrap().chart();
        let patterns = fs::read_to_string(chart.join(".helmignore")).unwrap();
        let ends: Vec<&str> = patterns.lines().map(|line| line.trim_start_matches('*')).collect();
        assert_eq!(ends, IGNORED);
        let folder = tempfile::tempdir().unwrap();
        for name in ["values.yaml", "values.yaml.orig", ".values.yaml.swp", "values.yaml~", ".DS_Store"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut files = Files::new();
        collect(folder.path(), "", &mut files).unwrap();
        assert_eq!(files.into_keys().collect::<Vec<_>>(), ["values.yaml"]);
    }

    #[test]
    fn names_the_missing_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Chart.yaml"), "name: wardset\n").unwrap();
        let error = Chart::read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("Chart.yaml`: expected a line `version: …`, found none"), "{error}");
    }
}
