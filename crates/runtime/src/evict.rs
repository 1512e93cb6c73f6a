//! The limit of a cache folder.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Removes the files that were used longest ago, until the others have at most `most` bytes. The time of the last use is the
/// time of modification. Files for whose names `is_ours` returns false neither count nor disappear.
///
/// # Errors
///
/// The folder cannot be listed, or a file cannot be removed.
pub fn evict(folder: &Path, most: u64, is_ours: impl Fn(&OsStr) -> bool) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have removed the file.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && is_ours(&entry.file_name()) {
            files.push((metadata.modified()?, entry.path(), metadata.len()));
        }
    }
    files.sort();
    let mut size: u64 = files.iter().map(|(.., len)| len).sum();
    for (_, path, len) in files {
        if size <= most {
            break;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => size -= len,
        }
    }
    Ok(())
}
