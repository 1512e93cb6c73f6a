//! The pause image: the process that holds the namespaces of a pod. Kubernetes' own source, built here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cluster::Version;
use crate::process;
use crate::repository::Repository;

/// The name of the program and of its image.
pub(crate) const NAME: &str = "pause";

/// Builds the program from the source in Kubernetes' Go module.
///
/// # Errors
/// Go or the C compiler fails.
pub(crate) fn build(repository: &Repository, home: &Path) -> Result<PathBuf> {
    let module = repository.control_plane().join(Version::default().select(repository)?.folder());
    let mut go = Command::new("go");
    go.current_dir(module).env("GOWORK", "off").args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]);
    let source = process::stdout(&mut go)?;
    let program = home.join(NAME);
    let mut cc = Command::new("cc");
    cc.args(["-Os", "-DVERSION=wardset", "-o"]).arg(&program);
    cc.arg(Path::new(source.trim()).join("build/pause/linux/pause.c"));
    process::stdout(&mut cc).context("failed to build the pause program")?;
    Ok(program)
}

/// Returns the image of the example DaemonSet, whose pods run the pause program instead.
///
/// # Errors
/// The example has no image.
pub(crate) fn example_image(repository: &Repository) -> Result<String> {
    let path = repository.root().join("examples/fluentd-ds.yaml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let image = text.lines().find_map(|line| line.trim().strip_prefix("image: "));
    image.map(str::to_owned).with_context(|| format!("expected a line `image: …` in `{}`", path.display()))
}
