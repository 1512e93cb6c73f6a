//! The content of files in folders and all of their subfolders, to notice each save.
//!
//! Tools write files again without a change, and editors write a file in several steps. So a change here is a change
//! of content, and it counts once the files are quiet.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Found;

/// Interval of the poll for changes. A change counts after at most three of them.
const POLL: Duration = Duration::from_millis(100);

/// Seconds since the last change after which a file with the same metadata is not read again.
const SETTLED_SECONDS: i64 = 2;

/// The files of some folders. Two trees are equal if they have the same files with the same content.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<PathBuf, ReadFile>,
}

/// A file and the hash of its content. The hash only detects changes; it is not cryptographic.
#[derive(Debug, Clone, Copy)]
struct ReadFile {
    found: Found,
    content: u64,
}

impl Tree {
    /// Reads the files of `paths` and of all subfolders, without paths that `skips` names. A file with the
    /// same metadata as in `before` is not read again.
    #[must_use]
    pub fn read(paths: &[PathBuf], skips: impl Fn(&Path) -> bool, before: &Self) -> Self {
        let mut tree = Self::default();
        for path in paths {
            tree.add(path, &skips, before);
        }
        tree
    }

    fn add(&mut self, path: &Path, skips: &impl Fn(&Path) -> bool, before: &Self) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if !metadata.is_dir() {
            let found = Found::new(&metadata);
            let known = before.files.get(path).filter(|known| known.found == found && is_settled(&metadata));
            let content = known.map_or_else(|| content(path), |known| known.content);
            self.files.insert(path.to_owned(), ReadFile { found, content });
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let inside = entry.path();
            // A link to a folder could lead to its own parent.
            let is_link_to_folder = entry.file_type().is_ok_and(|kind| kind.is_symlink()) && inside.is_dir();
            if !is_link_to_folder && !skips(&inside) {
                self.add(&inside, skips, before);
            }
        }
    }
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|((path, file), (other_path, other))| {
                path == other_path && file.content == other.content
            })
    }
}

/// Waits until the content differs from `before` and is the same in two polls. Returns the new content.
pub async fn changed(before: Tree, read: impl Fn(&Tree) -> Tree) -> Tree {
    let mut last = before.clone();
    loop {
        tokio::time::sleep(POLL).await;
        let now = read(&last);
        if now != before && now == last {
            return now;
        }
        last = now;
    }
}

/// Returns whether a later change of the file would get another timestamp. Timestamps have the resolution of the kernel's
/// clock.
fn is_settled(metadata: &fs::Metadata) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).is_ok_and(|now| metadata.ctime() + SETTLED_SECONDS <= now)
}

/// Returns the hash of a file's content. A file that cannot be read has the hash of an empty one.
fn content(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A read of a named pipe would block.
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let bytes = if is_file { fs::read(path).unwrap_or_default() } else { Vec::new() };
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(folder: &Path, before: &Tree) -> Tree {
        Tree::read(&[folder.to_owned()], |path| path.ends_with("skipped"), before)
    }

    #[test]
    fn a_change_is_a_change_of_content_in_any_subfolder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "1").unwrap();
        let mut before = all(folder.path(), &Tree::default());
        fs::write(&file, "1").unwrap();
        assert!(all(folder.path(), &before) == before, "the same content is not a change");
        let changes: [fn(&Path); 3] = [
            |file| fs::write(file, "2").unwrap(),
            |file| fs::write(file.with_file_name("new"), "").unwrap(),
            |file| fs::remove_file(file).unwrap(),
        ];
        for (at, change) in changes.iter().enumerate() {
            change(&file);
            let now = all(folder.path(), &before);
            assert!(now != before, "change {at}");
            before = now;
        }
    }

    #[test]
    fn skipped_paths_and_links_to_folders_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        let before = all(folder.path(), &Tree::default());
        fs::create_dir(folder.path().join("skipped")).unwrap();
        fs::write(folder.path().join("skipped/file"), "").unwrap();
        assert!(all(folder.path(), &before) == before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_once_the_files_are_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "0").unwrap();
        let before = all(folder.path(), &Tree::default());
        let polls = std::cell::Cell::new(0);
        let after = changed(before, |last| {
            polls.set(polls.get() + 1);
            // Two polls see a file that is still being written.
            if polls.get() <= 2 {
                fs::write(&file, polls.get().to_string()).unwrap();
            }
            all(folder.path(), last)
        });
        let after = after.await;
        assert_eq!(polls.get(), 3);
        assert!(after == all(folder.path(), &Tree::default()));
    }
}
