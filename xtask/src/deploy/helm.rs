//! Helm, of the version that `xtask/helm/go.mod` names, built and kept by Go's own cache.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::repository::Repository;

/// How to do without.
const HINT: &str =
    "hint: Helm is built by Go 1.26 or newer; `cargo xtask deploy --check --no-render` needs neither";

/// The release name of the rendered chart. Its objects don't show it.
const RELEASE: &str = "wardset";

/// A Helm that starts, and the chart that it is for.
#[derive(Debug)]
pub(crate) struct Helm {
    program: PathBuf,
    chart: PathBuf,
    /// The folder that it may write to, in place of the user's home.
    home: PathBuf,
}

impl Helm {
    /// Builds Helm if it is missing from Go's cache: minutes.
    ///
    /// # Errors
    /// Go is missing, or the build fails.
    pub(crate) fn find(repository: &Repository) -> Result<Self> {
        let mut go = Command::new("go");
        // Builds it, and returns its path.
        go.current_dir(repository.helm()).args(["tool", "-n", "helm"]);
        let output = match go.stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
            Ok(output) if output.status.success() => output,
            Ok(output) => bail!("{} failed ({})\n{HINT}", process::line(&go), output.status),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("`go` is missing\n{HINT}"),
            Err(error) => return Err(error).with_context(|| format!("cannot start {}", process::line(&go))),
        };
        let program = String::from_utf8(output.stdout).context("Go's cache is at a path that is no UTF-8")?;
        let home = repository.target()?.join("helm");
        Ok(Self { program: program.trim().into(), chart: repository.chart(), home })
    }

    /// The path of the program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Holds the chart to Helm's own rules; a warning is an error.
    ///
    /// # Errors
    /// It breaks one.
    pub(crate) fn lint(&self) -> Result<()> {
        let mut lint = self.command();
        // It prints its findings on stdout.
        process::show(lint.args(["lint", "--strict", "--quiet"]).arg(&self.chart))
    }

    /// The objects of the chart with these further arguments, as YAML.
    ///
    /// # Errors
    /// The values are refused, or a template fails.
    pub(crate) fn render(&self, args: &[&str]) -> Result<String> {
        let mut template = self.command();
        process::stdout(template.args(["template", RELEASE]).arg(&self.chart).args(args))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Settings and plugins of the user's own Helm have no say, and its namespace neither.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("HELM_") {
                command.env_remove(variable);
            }
        }
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.home.join(folder));
        }
        command
    }
}
