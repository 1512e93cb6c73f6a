//! The few things of the machine outside the namespaces: a cgroup, and mount points that do not exist yet.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::namespaces::FOLDERS;

/// The changes of the machine, which [`Machine::restore`] undoes. They stay if this process is killed; the next run
/// removes them.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The cgroup in each hierarchy.
    cgroups: Vec<PathBuf>,
    /// Created mount points, the outer ones first.
    created: Vec<PathBuf>,
}

/// Returns the name of the cgroup. Each checkout has another one.
pub(crate) fn cgroup(home: &Path) -> String {
    let mut name = "wardset-node-".to_owned();
    for byte in &Sha256::digest(home.as_os_str().as_encoded_bytes())[..4] {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

impl Machine {
    /// Creates a cgroup in each hierarchy, and the mount points.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn prepare(home: &Path) -> Result<Self> {
        let text = fs::read_to_string(MOUNTS).with_context(|| format!("failed to read `{MOUNTS}`"))?;
        let name = cgroup(home);
        let cgroups: Vec<PathBuf> = hierarchies(&text).into_iter().map(|path| path.join(&name)).collect();
        if cgroups.is_empty() {
            bail!(
                "expected a file system of cgroups in `{MOUNTS}`, found none\nhint: mount one at `/sys/fs/cgroup`"
            );
        }
        for cgroup in &cgroups {
            // A run that was killed leaves them.
            remove(cgroup)?;
            fs::create_dir(cgroup).with_context(|| format!("failed to create `{}`", cgroup.display()))?;
        }
        let mut created = Vec::new();
        for folder in FOLDERS.map(Path::new) {
            let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
            for path in missing.into_iter().rev() {
                fs::create_dir(path).with_context(|| format!("failed to create `{}`", path.display()))?;
                created.push(path.to_owned());
            }
        }
        Ok(Self { cgroups, created })
    }

    /// Removes them.
    ///
    /// # Errors
    /// A process is left in a cgroup, or the system refuses.
    pub(crate) fn restore(self) -> Result<()> {
        for folder in self.created.iter().rev() {
            fs::remove_dir(folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
        }
        self.cgroups.iter().try_for_each(|cgroup| remove(cgroup))
    }
}

/// Removes a cgroup with all cgroups in it. The kernel ends killed processes a moment later.
fn remove(cgroup: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match remove_once(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && start.elapsed() < LIMIT => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "failed to remove the cgroup `{0}`\nhint: `cat {0}/cgroup.procs` lists its processes",
                        cgroup.display()
                    )
                });
            }
        }
    }
}

fn remove_once(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match remove_once(&entry.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    fs::remove_dir(cgroup)
}

/// Returns the mount points of cgroups (version 1: one for each controller) in `/proc/self/mounts`.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        if let (Some(place), Some("cgroup" | "cgroup2")) = (words.next(), words.next()) {
            found.push(place.into());
        }
    }
    found
}

const MOUNTS: &str = "/proc/self/mounts";

/// Time that killed processes get.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_versions_of_cgroups() {
        let mounts = "proc /proc proc rw 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let expected = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(hierarchies(mounts), expected);
    }

    #[test]
    fn checkouts_have_different_cgroups() {
        assert_ne!(cgroup(Path::new("/a/target/node")), cgroup(Path::new("/b/target/node")));
    }

    #[test]
    fn removes_folders_from_the_leaves_up() {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = folder.path().join("pods");
        fs::create_dir_all(cgroup.join("a/b")).unwrap();
        fs::create_dir_all(cgroup.join("c")).unwrap();
        remove(&cgroup).unwrap();
        assert!(!cgroup.exists());
        remove(&cgroup).unwrap();
    }
}
