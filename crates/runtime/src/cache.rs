//! Compiled modules on disk, so that the next start does not compile again.
//!
//! A cache file is machine code that this process runs. So it must come from a folder that no other user can write
//! to, be complete, and have the right name: each file begins with the SHA-256 of its name and the rest. Any other
//! file is compiled again. If the folder is not writable, loading still succeeds.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

const DIGEST_LEN: usize = 32;

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// Why a folder can't be the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It can't be made or looked at.
    #[error("failed to open the cache folder `{}`", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Somebody else could put code into it.
    #[error("the cache folder `{}` must belong to the user who runs this and be writable by nobody else", folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
}

impl Cache {
    /// Opens the cache in `folder`, and creates it with mode 0700 if it is missing.
    ///
    /// # Errors
    ///
    /// A folder that cannot be created, that belongs to another user, or that others may write to.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let folder = folder.into();
        let io = |source| CacheError::Io { folder: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
        let metadata = fs::metadata(&folder).map_err(io)?;
        if !is_ours(&metadata) {
            return Err(CacheError::NotOurs { folder });
        }
        Ok(Self { folder })
    }

    /// Returns the compiled module of `digest`, if it is in the folder.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        load(engine, &self.path(engine, digest))
    }

    /// Stores the code of the module of `digest`. A failure only costs time, so it goes to the log.
    pub(crate) fn store(&self, engine: &wasmtime::Engine, digest: &str, code: &[u8]) {
        let path = self.path(engine, digest);
        match store(&path, code) {
            Ok(()) => tracing::debug!(module = digest, "compiled and cached"),
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "a compiled module could not be cached")
            }
        }
    }

    /// One file for each module and each compiler with its settings.
    fn path(&self, engine: &wasmtime::Engine, digest: &str) -> PathBuf {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.folder.join(format!("{digest}-{:016x}.cwasm", hasher.finish()))
    }
}

fn load(engine: &wasmtime::Engine, path: &Path) -> Option<Component> {
    // To open a pipe would wait for somebody to write to it.
    if !fs::metadata(path).ok()?.is_file() {
        tracing::warn!(path = %path.display(), "expected a file as cached module; compiling it again");
        return None;
    }
    let mut open = fs::File::open(path).ok()?;
    if !open.metadata().is_ok_and(|metadata| is_ours(&metadata)) {
        tracing::warn!(path = %path.display(), "a cached module could have been written by others; compiling it again");
        return None;
    }
    let mut file = Vec::new();
    open.read_to_end(&mut file).ok()?;
    let whole = file.split_at_checked(DIGEST_LEN).filter(|(found, code)| **found == digest(path, code));
    let Some((_, code)) = whole else {
        tracing::warn!(path = %path.display(), "a cached module is damaged; compiling it again");
        return None;
    };
    // SAFETY: `deserialize` must only get the compiler's output. `Cache::open` checked that the folder belongs to
    // this process's user and that nobody else may write to it; the file was just checked in the same way. Its digest
    // proves that the file is complete and has this name. So it is the output of `store`, which writes the compiler's
    // output. (wasmtime itself checks the major version only; the hash of its settings in the file's name keeps other
    // builds apart.)
    #[expect(unsafe_code, reason = "the only way to load compiled code; the proof is above")]
    let component = unsafe { Component::deserialize(engine, code) };
    component
        .map_err(|error| tracing::warn!(path = %path.display(), %error, "failed to load a cached module; compiling it again"))
        .ok()
}

/// Writes beside the place and renames, so that no reader ever sees half a file.
fn store(path: &Path, code: &[u8]) -> Result<(), String> {
    // Two threads of this process may compile the same module at once, so the process id alone is not unique.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let write = || {
        // Nobody else may write code, regardless of the umask.
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&digest(path, code))?;
        file.write_all(code)?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error: std::io::Error| {
        // Nothing more can be done for a file that can't be removed either.
        let _ = fs::remove_file(&unfinished);
        error.to_string()
    })
}

/// Of the name too, so that the code of one module is never taken for another's.
fn digest(path: &Path, code: &[u8]) -> [u8; DIGEST_LEN] {
    let mut digest = Sha256::new();
    digest.update(path.file_name().unwrap_or_default().as_bytes());
    digest.update(code);
    digest.finalize().into()
}

/// Belongs to the user who runs this, and only they can write to it.
fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}
