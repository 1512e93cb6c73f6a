//! Detects changed files by polling. Both kubelet and people replace files, and neither sends a notification.
//!
//! kubelet fills a folder behind a symlink (`..data`) and swaps the link. A watch on a file sees only the first swap,
//! and a watch on the folder depends on the file system. Polling costs a few system calls and misses nothing.
//!
//! [`Folder`] never reads the content of a file. Its caller reads the files that changed.

pub mod tree;

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A set of files and folders, with their state at the last poll.
///
/// Create it *before* you read the files, so that a write between the two steps counts as a change.
#[derive(Debug, Clone)]
pub struct Folder {
    paths: Vec<PathBuf>,
    seen: Vec<PolledFile>,
}

impl Folder {
    /// Records the current state of `paths`. For a folder, this covers the folder and its direct entries, but not its
    /// subfolders. A missing path is recorded as absent, so its creation counts as a change.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<_> = paths.into_iter().collect();
        let seen = look(&paths);
        Self { paths, seen }
    }

    /// Polls `paths` from now on. A path that was not in the set before starts with its current state.
    pub fn follow(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let paths: Vec<_> = paths.into_iter().collect();
        if paths != self.paths {
            let known = std::mem::take(&mut self.seen);
            self.seen = look(&paths)
                .into_iter()
                .map(|entry| known.iter().find(|known| known.path == entry.path).cloned().unwrap_or(entry))
                .collect();
            self.paths = paths;
        }
    }

    /// Returns whether anything has changed since the last poll, and records the current state. A change is another
    /// file behind the path, a new size or a new time. An edit that keeps all of these goes unnoticed.
    pub fn changed(&mut self) -> bool {
        let now = look(&self.paths);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

/// A path and the file that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PolledFile {
    path: PathBuf,
    /// `None` if the path leads to nothing or cannot be read.
    found: Option<Found>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// With the inode, names the file behind all symlinks.
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. The change time is part of the state because a copied file may keep its old
    /// modification time.
    written: (i64, i64),
    changed: (i64, i64),
}

fn look(paths: &[PathBuf]) -> Vec<PolledFile> {
    let mut entries = Vec::new();
    for path in paths {
        entries.push(PolledFile::at(path));
        // Reading a file as a folder fails, and so does an unreadable folder; neither adds entries.
        for inside in fs::read_dir(path).into_iter().flatten().flatten() {
            entries.push(PolledFile::at(&inside.path()));
        }
    }
    entries.sort();
    entries
}

impl PolledFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), found: fs::metadata(path).ok().as_ref().map(Found::new) }
    }
}

impl Found {
    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn reports_no_change_if_nobody_touches_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let mut seen = Folder::new([folder.path().to_owned()]);
        assert!(!seen.changed() && !seen.changed());
    }

    #[test]
    fn reports_each_creation_change_and_removal_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let mut seen = Folder::new([folder.path().to_owned()]);
        for change in [|| Some("1"), || Some("22"), || None] {
            match change() {
                Some(text) => fs::write(&file, text).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            assert!(seen.changed());
            assert!(!seen.changed());
        }
    }

    #[test]
    fn reports_the_creation_of_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later");
        let mut seen = Folder::new([file.clone()]);
        assert!(!seen.changed());
        fs::write(&file, "").unwrap();
        assert!(seen.changed());
    }

    #[test]
    fn reports_each_swap_of_a_symlink() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for generation in ["..1", "..2"] {
            fs::create_dir(at(generation)).unwrap();
            fs::write(at(generation).join("file"), "the same").unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/file", at("file")).unwrap();
        let mut whole = Folder::new([folder.path().to_owned()]);
        let mut file = Folder::new([at("file")]);
        for generation in ["..2", "..1", "..2"] {
            symlink(generation, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            assert!(whole.changed() && file.changed());
            assert!(!whole.changed() && !file.changed());
        }
    }
}
