//! Manifests, modules and signatures on disk, by digest, so that a start needs no registry.
//!
//! The name of a manifest or module is the SHA-256 of its content, and each read checks it. So a damaged or forged file is
//! pulled again, and the folder needs no owner of its own. Signatures have the digest of their artifact and a suffix.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use wardset_runtime::evict;
use wardset_signatures::Evidence;

use super::artifact::digest_of;

/// Maximum size of all files, in bytes: four modules of the maximum size. The chart's volume has room for it beside the
/// compiled modules.
const MAX_SIZE: u64 = 128 << 20;

/// The end of the names of files with signatures.
const SIGNATURES: &str = ".signatures";

/// A folder of content from registries.
#[derive(Debug, Clone)]
pub struct ContentCache {
    folder: PathBuf,
}

impl ContentCache {
    /// Returns the cache in `folder`, which the first write creates.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the content of a digest, if the folder has it. `most` is the maximum size, in bytes.
    pub(super) fn get(&self, digest: &str, most: u64) -> Option<Vec<u8>> {
        let path = self.path(digest)?;
        let bytes = read(&path, most)?;
        if bytes.len() as u64 > most || digest_of(&bytes) != digest {
            tracing::warn!(path = %path.display(), "a cached file of a registry is damaged; pulling it again");
            return None;
        }
        Some(bytes)
    }

    /// Stores content. A failure only costs another pull, so it goes to the log.
    pub(super) fn put(&self, digest: &str, bytes: &[u8]) {
        let Some(path) = self.path(digest) else { return };
        let stored = self.write(&path, bytes).and_then(|()| evict(&self.folder, MAX_SIZE, is_ours));
        if let Err(error) = stored {
            tracing::warn!(path = %path.display(), %error, "failed to cache content of a registry");
        }
    }

    /// Returns the signatures of an artifact that were good when they were stored. The caller checks them by the current rules.
    pub(super) fn signatures(&self, digest: &str) -> Option<Vec<Evidence>> {
        serde_json::from_slice(&read(&self.signatures_path(digest)?, MAX_SIZE)?).ok()
    }

    /// Stores the signatures of an artifact, so that its module can load while the registry is unreachable.
    pub(super) fn put_signatures(&self, digest: &str, signatures: &[Evidence]) {
        let Some(path) = self.signatures_path(digest) else { return };
        // Texts and bytes can always be written.
        let bytes = serde_json::to_vec(signatures).unwrap_or_default();
        if let Err(error) = self.write(&path, &bytes) {
            tracing::warn!(path = %path.display(), %error, "failed to cache signatures of a module");
        }
    }

    fn signatures_path(&self, digest: &str) -> Option<PathBuf> {
        let mut path = self.path(digest)?.into_os_string();
        path.push(SIGNATURES);
        Some(path.into())
    }

    /// Writes beside the place and renames, so that no reader ever sees half a file.
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        // Two threads of this process may store the same content at once, so the process id alone is not unique.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("part-{}-{number}", std::process::id()));
        fs::create_dir_all(&self.folder)?;
        let written = File::create(&unfinished).and_then(|mut file| file.write_all(bytes));
        written.and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
            // Nothing more can be done for a file that can't be removed either.
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// Returns the file of a digest, or none if the digest is malformed.
    fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        is_content(hex).then(|| self.folder.join(hex))
    }
}

/// Returns the content of a file, and records its use for [`evict`]. If it has more than `most` bytes, one more is returned.
fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    // Opening a pipe blocks until somebody writes to it.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    (&file).take(most + 1).read_to_end(&mut bytes).ok()?;
    // A failure makes the file look older than it is.
    let _ = file.set_modified(SystemTime::now());
    Some(bytes)
}

/// Returns whether the cache writes files of this name. Unfinished files of killed processes count, too.
fn is_ours(name: &OsStr) -> bool {
    let is_ours =
        |name: &str| is_content(name.strip_suffix(SIGNATURES).unwrap_or(name)) || name.starts_with("part-");
    name.to_str().is_some_and(is_ours)
}

fn is_content(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MOST: u64 = 1000;

    #[test]
    fn returns_only_content_that_matches_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ContentCache::at(folder.path().join("new"));
        let digest = digest_of(b"content");
        assert_eq!(cache.get(&digest, MOST), None);
        cache.put(&digest, b"content");
        assert_eq!(cache.get(&digest, MOST).unwrap(), b"content");
        assert_eq!(cache.get(&digest, 6), None, "it has seven bytes");

        let path = cache.path(&digest).unwrap();
        fs::write(&path, b"forged").unwrap();
        assert_eq!(cache.get(&digest, MOST), None);
        cache.put(&digest, b"content");
        assert_eq!(cache.get(&digest, MOST).unwrap(), b"content");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(cache.get(&digest, MOST), None);
    }

    #[test]
    fn signatures_stay_as_long_as_their_artifact_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ContentCache::at(folder.path());
        let (used, unused) = (digest_of(b"used"), digest_of(b"unused"));
        let signatures = [Evidence::Bundle("x".to_owned())];
        cache.put_signatures(&used, &signatures);
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        File::open(cache.signatures_path(&used).unwrap()).unwrap().set_modified(long_ago).unwrap();
        cache.put(&unused, b"unused");
        assert_eq!(cache.signatures(&used).unwrap(), signatures);
        evict(&cache.folder, 16, is_ours).unwrap();
        assert_eq!((cache.signatures(&used).is_some(), cache.get(&unused, MOST)), (true, None));
        fs::remove_file(cache.signatures_path(&used).unwrap()).unwrap();
        fs::create_dir(cache.signatures_path(&used).unwrap()).unwrap();
        assert_eq!(cache.signatures(&used), None);
    }

    #[test]
    fn a_malformed_digest_names_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ContentCache::at(folder.path());
        for digest in
            ["", "sha256:", "sha256:../../etc/passwd", "../x", &format!("sha256:{}", "A".repeat(64))]
        {
            cache.put(digest, b"");
            assert_eq!(cache.get(digest, MOST), None, "{digest}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_files_used_longest_ago_are_removed_until_the_others_fit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ContentCache::at(folder.path());
        let names = ["a", "b", "c"].map(|name| name.repeat(64));
        for (used, name) in (1..).zip(&names) {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_len(10).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(used)).unwrap();
        }
        File::create(folder.path().join("notes")).unwrap().set_len(100).unwrap();
        for (most, left) in [(30, 3), (29, 2), (20, 2), (10, 1), (9, 0)] {
            evict(&cache.folder, most, is_ours).unwrap();
            let found = names.iter().filter(|name| folder.path().join(name).exists());
            assert_eq!(
                found.collect::<Vec<_>>(),
                names[3 - left..].iter().collect::<Vec<_>>(),
                "{most} bytes"
            );
        }
        assert!(folder.path().join("notes").exists());
    }
}
