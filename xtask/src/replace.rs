//! Files and folders that are replaced as a whole, so that no half of one is left after a failure.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Replaces a path by a new version of it: `write` gets a path beside it.
///
/// # Errors
/// `write` fails, or the system refuses the change.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let context = || format!("failed to write `{}`", path.display());
    let partial = path.with_extension("partial");
    remove(&partial).with_context(context)?;
    write(&partial).with_context(context)?;
    remove(path).with_context(context)?;
    fs::rename(&partial, path).with_context(context)
}

fn remove(path: &Path) -> std::io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
