//! Whether files have changed, by looking: kubelet and people both replace files, and neither tells.
//!
//! kubelet fills a folder behind a symlink (`..data`) and swaps the link, so a watch on a file sees the first swap only, and one
//! on the folder depends on the file system. Looking each second costs a few system calls and misses nothing.
//!
//! It owns no file and reads no content: what changed is for its user to read.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files and folders, as they were when somebody last looked.
///
/// Make it *before* reading the files: what is written in between then counts as a change.
#[derive(Debug, Clone)]
pub struct Folder {
    paths: Vec<PathBuf>,
    seen: Vec<Entry>,
}

impl Folder {
    /// Looks at `paths` for the first time. Of a folder, itself and what stands directly in it count, not what stands in folders
    /// below it. What isn't there counts as absent, so that its coming is a change.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<_> = paths.into_iter().collect();
        let seen = look(&paths);
        Self { paths, seen }
    }

    /// Looks at these `paths` from now on. One that was not looked at before counts as seen as it is now.
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

    /// Whether anything has changed since the last look, and remembers what it sees now. A change is another target of a
    /// symlink on the way, another file, size or time of writing; not one that leaves all of these as they are.
    pub fn changed(&mut self) -> bool {
        let now = look(&self.paths);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

/// A path, and what it led to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    path: PathBuf,
    /// None where nothing is there, or nothing that can be looked at.
    found: Option<Found>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// With every symlink followed.
    target: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. The change time counts as well, since a copy may keep the old time of writing.
    written: (i64, i64),
    changed: (i64, i64),
}

fn look(paths: &[PathBuf]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in paths {
        entries.push(Entry::at(path));
        // A file has no entries, and a folder that can't be read has none that we know.
        for inside in fs::read_dir(path).into_iter().flatten().flatten() {
            entries.push(Entry::at(&inside.path()));
        }
    }
    entries.sort();
    entries
}

impl Entry {
    fn at(path: &Path) -> Self {
        let found =
            fs::canonicalize(path).and_then(|target| Ok(Found::new(&fs::metadata(&target)?, target))).ok();
        Self { path: path.to_owned(), found }
    }
}

impl Found {
    fn new(metadata: &Metadata, target: PathBuf) -> Self {
        Self {
            target,
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
    fn a_folder_that_nobody_touches_has_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let mut seen = Folder::new([folder.path().to_owned()]);
        assert!(!seen.changed() && !seen.changed());
    }

    #[test]
    fn files_that_come_change_and_go_are_each_seen_once() {
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
    fn a_file_that_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later");
        let mut seen = Folder::new([file.clone()]);
        assert!(!seen.changed());
        fs::write(&file, "").unwrap();
        assert!(seen.changed());
    }

    #[test]
    fn each_swap_of_a_symlink_is_seen() {
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
