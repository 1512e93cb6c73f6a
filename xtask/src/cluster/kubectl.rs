//! kubectl as tasks run it: with the kubeconfig of one control plane, and nothing of the user's.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process;

/// kubectl, and whom it talks to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kubectl {
    /// The program.
    pub(crate) program: PathBuf,
    /// The API server's address and the client's identity.
    pub(crate) kubeconfig: PathBuf,
    /// Its cache of the API server's resources. Ports are reused, and the next server on one may have others.
    cache: PathBuf,
}

impl Kubectl {
    /// kubectl with its state in `folder`.
    pub(crate) fn new(program: &Path, kubeconfig: &Path, folder: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache: folder.join("kubectl-cache"),
        }
    }

    /// The environment with which a process's kubectl behaves the same.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 3] {
        [("KUBECONFIG", &self.kubeconfig), ("KUBECACHEDIR", &self.cache), ("KUBERC", Path::new("off"))]
    }

    /// A command, with a bound on each request.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.environment()).arg("--request-timeout=60s");
        command
    }

    /// # Errors
    /// The server on this port of loopback does not say that it is well.
    pub(crate) fn check(&self, port: u16, path: &str) -> Result<()> {
        let server = format!("--server=https://127.0.0.1:{port}");
        process::stdout(self.command().args([&server, "get", "--raw", path])).map(drop)
    }

    /// Returns the output of `kubectl get`.
    ///
    /// # Errors
    /// kubectl fails, or does not print JSON.
    pub(crate) fn get(&self, args: &[&str]) -> Result<Value> {
        let text = process::stdout(self.command().arg("get").args(args).arg("-o=json"))?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Creates the objects.
    ///
    /// # Errors
    /// kubectl fails; the error ends with its output.
    pub(crate) fn create(&self, objects: &Value) -> Result<()> {
        let mut command = self.command();
        command.args(["create", "--filename=-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", process::line(&command)))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it does not read to the end, its status says why.
            let _ = stdin.write_all(objects.to_string().as_bytes());
        }
        let output = child.wait_with_output().context("cannot wait for kubectl")?;
        if !output.status.success() {
            bail!(
                "{} failed ({}): {}",
                process::line(&command),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}
