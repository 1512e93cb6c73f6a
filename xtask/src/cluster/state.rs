//! The files that a control plane leaves in its folder. With them, another process can find it, check it, and end it.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::component::Record;
use super::kubectl::Kubectl;

/// The folder of one control plane: its processes, keys, logs and data. Readable by its owner only.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// The processes that were started, as `state.json` has them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Whether the start came to its end.
    pub(crate) ready: bool,
    /// The client of this control plane.
    pub(crate) kubectl: Kubectl,
    /// The processes, in the order of their start.
    pub(crate) processes: Vec<Record>,
}

impl Folder {
    /// The folder at `path`, whether there is one or not.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The address.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The output of the processes.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    /// The kubelet's kubeconfig.
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.path.join("kubelet.kubeconfig")
    }

    /// The keys.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.path.join("certificates")
    }

    /// Makes it anew, and drops the old content: see [`Folder::end`] for processes.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn make(&self) -> Result<()> {
        self.remove()?;
        for folder in [&self.path, &self.logs(), &self.certificates()] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        Ok(())
    }

    /// Returns the last written state; `None` if no control plane was started.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn state(&self) -> Result<Option<State>> {
        let path = self.state_file();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("cannot read `{}`", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Replaces the last written state.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let path = self.state_file();
        let next = path.with_extension("next");
        let text = serde_json::to_vec_pretty(state).context("cannot write JSON")?;
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Ends the processes that are left of a control plane, the last first, and removes the folder. Returns how many
    /// were alive.
    ///
    /// # Errors
    /// A process or a file resists.
    pub(crate) fn end(&self) -> Result<usize> {
        let mut alive = 0;
        if let Some(state) = self.state()? {
            for record in state.processes.iter().rev() {
                alive += usize::from(record.is_alive());
                record.kill()?;
            }
        }
        self.remove()?;
        Ok(alive)
    }

    /// Removes all but the logs.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn keep_logs(&self) -> Result<()> {
        let context = || format!("cannot tidy up `{}`", self.path.display());
        for entry in fs::read_dir(&self.path).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path == self.logs() {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(context)?;
        }
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::super::component::Component;
    use super::*;

    #[test]
    fn ends_what_another_process_started() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("run"));
        assert!(folder.state().unwrap().is_none());
        assert_eq!(folder.end().unwrap(), 0);

        folder.make().unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let mut component =
            Component::start("kwok", Command::new("sleep").arg("60"), 1, &folder.logs().join("kwok.log"))
                .unwrap();
        let kubectl = Kubectl::new(Path::new("kubectl"), &folder.kubeconfig(), folder.path());
        let processes = vec![component.record().clone()];
        folder.write(&State { ready: true, kubectl, processes }).unwrap();

        assert_eq!(folder.state().unwrap().unwrap().processes.len(), 1);
        assert_eq!(folder.end().unwrap(), 1);
        assert!(component.ended().is_some());
        assert!(!folder.path().exists());
    }

    #[test]
    fn keeps_nothing_but_the_logs() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("run"));
        folder.make().unwrap();
        fs::write(folder.logs().join("etcd.log"), "words").unwrap();
        fs::write(folder.kubeconfig(), "").unwrap();
        folder.keep_logs().unwrap();
        assert!(folder.logs().join("etcd.log").is_file());
        assert!(!folder.kubeconfig().exists() && !folder.certificates().exists());
    }
}
