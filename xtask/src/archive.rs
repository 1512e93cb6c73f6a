//! Archives that depend on nothing but their files: entries belong to root and have one time.

use std::io::{Result, Write};

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

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
