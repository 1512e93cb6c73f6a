//! Modules in files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use wardset_runtime::MAX_MODULE;

/// Reads bytes that may be a module. A policy may name any path, so this reads regular files only, and no more bytes
/// than a module may have.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Checked before opening, because opening a pipe waits for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_MODULE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_MODULE {
        return Err(io::Error::other(format!("expected at most {MAX_MODULE} bytes, found more")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_regular_files_only() {
        for path in ["/dev/zero", "/"] {
            assert_eq!(read(Path::new(path)).unwrap_err().to_string(), "expected a regular file", "{path}");
        }
    }

    #[test]
    fn reads_no_more_bytes_than_a_module_may_have() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (len, taken) in [(MAX_MODULE, true), (MAX_MODULE + 1, false), (1 << 30, false)] {
            file.as_file().set_len(len as u64).unwrap();
            match read(file.path()) {
                Ok(bytes) => assert!(taken && bytes.len() == len, "{len}"),
                Err(error) => {
                    assert!(!taken, "{len}: {error}");
                    assert_eq!(error.to_string(), "expected at most 33554432 bytes, found more");
                }
            }
        }
    }
}
