//! Archives that depend on nothing but their files: entries belong to root and have one time.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

/// The files of an archive by their path: bytes and mode.
pub(crate) type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// Packs files below the folder `prefix`, in the order of their paths.
///
/// # Errors
/// A path is too long for an archive.
pub(crate) fn pack(prefix: &str, files: &Files, time: Timestamp) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, (bytes, mode)) in files {
        append_file(&mut tar, &format!("{prefix}/{path}"), bytes, *mode, time)?;
    }
    gzip(&tar.into_inner()?)
}

/// Appends a folder.
///
/// # Errors
/// The path is too long for an archive, or the system refuses the write.
pub(crate) fn append_folder(tar: &mut tar::Builder<impl Write>, path: &str, time: Timestamp) -> Result<()> {
    append(tar, tar::EntryType::Directory, &format!("{path}/"), &[], 0o755, time)
}

/// Appends a file with its mode.
///
/// # Errors
/// The path is too long for an archive, or the system refuses the write.
pub(crate) fn append_file(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    bytes: &[u8],
    mode: u32,
    time: Timestamp,
) -> Result<()> {
    append(tar, tar::EntryType::Regular, path, bytes, mode, time)
}

/// Compresses without a name, a time or the name of a system.
///
/// # Errors
/// None in memory; the compressor's interface has one.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    const UNKNOWN_SYSTEM: u8 = 255;
    let packed = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut packed = packed.write(Vec::new(), Compression::new(6));
    packed.write_all(bytes)?;
    packed.finish()
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    kind: tar::EntryType,
    path: &str,
    bytes: &[u8],
    mode: u32,
    time: Timestamp,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    // Never negative: `SOURCE_DATE_EPOCH` allows no time before 1970.
    header.set_mtime(u64::try_from(time.as_second()).unwrap_or_default());
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn same_files_make_the_same_archive() {
        let files = [("b/program", "x", 0o755), ("a.txt", "y", 0o644)];
        let map = |files: &[(&str, &str, u32)]| -> Files {
            files
                .iter()
                .map(|(path, text, mode)| ((*path).to_owned(), (text.as_bytes().to_vec(), *mode)))
                .collect()
        };
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        let one = pack("top", &map(&files), time).unwrap();
        let mut other = files;
        other.reverse();
        assert!(one == pack("top", &map(&other), time).unwrap());
        assert!(one != pack("top", &map(&files), Timestamp::UNIX_EPOCH).unwrap());

        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut tar).unwrap();
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 1_700_000_000));
            entries.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
        }
        let expected = [("top/a.txt", 0o644), ("top/b/program", 0o755)];
        assert_eq!(entries, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
