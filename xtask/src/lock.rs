//! One run at a time, if two would disturb each other.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;

/// Takes the lock of the file `path`, creates it if it is missing, and holds it until the file is dropped. It waits
/// without a limit, and says so: `whose` names the holder.
///
/// # Errors
/// The file cannot be created or locked, or the wait is interrupted.
pub(crate) fn take(path: &Path, whose: &str, interrupt: &Interrupt) -> Result<File> {
    let context = || format!("cannot lock `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let file = File::options().write(true).create(true).truncate(false).open(path).with_context(context)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Tried again instead of a wait inside the system, which a signal would not end.
            Err(TryLockError::WouldBlock) => {
                if !told {
                    eprintln!("waiting for {whose}, which has the lock `{}`", path.display());
                    told = true;
                }
                interrupt.pause(Duration::from_millis(100))?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
    }
}
