//! Compiled modules on disk, so that the next start does not compile again.
//!
//! A cache file is machine code that this process runs. So it must come from a folder that no other user can write
//! to, be complete, and have the right name: each file begins with the SHA-256 of its name and the rest. Any other
//! file is compiled again. If the folder is not writable, loading still succeeds.
//!
//! If the files have more than 512 MiB, those that were used longest ago are removed.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::evict::evict;

const DIGEST_LEN: usize = 32;

/// Maximum size of all files, in bytes. The code of a built-in module has 460 to 710 KiB, and no module's has more than
/// 128 MiB.
const MAX_SIZE: u64 = 512 << 20;

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
    #[error("expected a cache folder that only the current user can write to, found `{}`", folder.display())]
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
            Ok(()) => {
                tracing::debug!(module = digest, "compiled and cached");
                if let Err(error) = evict(&self.folder, MAX_SIZE, is_cached) {
                    tracing::warn!(folder = %self.folder.display(), %error, "failed to remove old cached modules");
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "failed to cache a compiled module")
            }
        }
    }

    /// One file for each module and each compiler with its settings. The hash includes wasmtime's full version.
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
    // The time of the last use, for `evict`. A failure makes the file look older than it is.
    let _ = open.set_modified(SystemTime::now());
    // SAFETY: `deserialize` must only get the output of this very compiler. `Cache::open` checked that the folder
    // belongs to this process's user and that nobody else may write to it; the file was just checked in the same way.
    // Its digest proves that the file is complete and was written under this name. So it is the output of `store`,
    // which writes the compiler's output. wasmtime's own check compares the major version only, and not all settings.
    // The compatibility hash in the file's name covers all settings and the patch release: code of another compiler has
    // another name, and under this name it has the wrong digest.
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

/// Returns whether `store` writes files of this name, finished or not. The folder may hold files of others.
fn is_cached(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ours =
        |(digest, rest): (&[u8], &[u8])| digest.iter().all(u8::is_ascii_hexdigit) && rest.starts_with(b"-");
    name.split_at_checked(2 * DIGEST_LEN).is_some_and(ours)
        && (name.ends_with(b".cwasm") || name.ends_with(b".part"))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use wasmtime::{Config, Engine, ModuleVersionStrategy};

    use super::*;
    use crate::engine;

    /// A component without content.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn cache() -> (TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        (folder, cache)
    }

    fn digest_of(module: u8) -> String {
        format!("{module:02x}").repeat(DIGEST_LEN)
    }

    fn engine(change: impl FnOnce(&mut Config)) -> Engine {
        let mut config = engine::code();
        change(&mut config);
        Engine::new(&config).unwrap()
    }

    /// Returns an engine that claims to be of another release of wasmtime.
    fn of_release(version: &str) -> Engine {
        engine(|config| {
            config.module_version(ModuleVersionStrategy::Custom(version.to_owned())).unwrap();
        })
    }

    /// Returns the version of wasmtime in `Cargo.lock`.
    fn wasmtime_version() -> &'static str {
        let lock = include_str!("../../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap();
        package.split_once('"').unwrap().0
    }

    fn is_loaded(cache: &Cache, engine: &Engine, module: u8) -> bool {
        cache.load(engine, &digest_of(module)).is_some()
    }

    #[test]
    fn the_name_of_a_file_holds_the_patch_release_of_the_compiler() {
        let (_folder, cache) = cache();
        let ours = cache.path(&engine(|_| {}), &digest_of(1));
        let (minor, patch) = wasmtime_version().rsplit_once('.').unwrap();
        let name_of = |patch: u32| cache.path(&of_release(&format!("{minor}.{patch}")), &digest_of(1));
        let patch: u32 = patch.parse().unwrap();
        assert_eq!(name_of(patch), ours);
        assert_ne!(name_of(patch + 1), ours);
    }

    #[test]
    fn code_of_another_compiler_is_never_loaded() {
        let ours = engine(|_| {});
        let major = wasmtime_version().split('.').next().unwrap();
        let others = [
            // wasmtime compares the major version only, so this stands for another patch release.
            of_release(major),
            engine(|config| {
                config.cranelift_nan_canonicalization(false);
            }),
        ];
        for (module, other) in (1..).zip(others) {
            let (_folder, cache) = cache();
            let digest = digest_of(module);
            let code = other.precompile_component(EMPTY).unwrap();
            // SAFETY: the code is the output of the same compiler, from a few lines above.
            #[expect(unsafe_code, reason = "shows that wasmtime's own check is not enough")]
            let accepted = unsafe { Component::deserialize(&ours, &code) }.is_ok();
            assert!(accepted, "wasmtime's own check is enough");

            cache.store(&other, &digest, &code);
            assert!(is_loaded(&cache, &other, module));
            assert!(!is_loaded(&cache, &ours, module), "loaded under the other name");
            fs::copy(cache.path(&other, &digest), cache.path(&ours, &digest)).unwrap();
            assert!(!is_loaded(&cache, &ours, module), "loaded after a change of the name");
            cache.store(&ours, &digest, &ours.precompile_component(EMPTY).unwrap());
            assert!(is_loaded(&cache, &ours, module));
        }
    }

    /// Creates a file without content that takes `len` bytes of the limit and was used at this second.
    fn file(folder: &TempDir, name: &str, len: u64, used: u64) {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        file.set_len(len).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(used)).unwrap();
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_files_used_longest_ago_are_removed_until_the_others_fit() {
        let (folder, _cache) = cache();
        let named = |module, end: &str| format!("{}-0123456789abcdef.{end}", digest_of(module));
        let (old, unfinished, new) = (named(3, "cwasm"), named(2, "7-0.part"), named(1, "cwasm"));
        file(&folder, &old, 10, 1);
        file(&folder, &unfinished, 10, 2);
        file(&folder, &new, 10, 3);
        file(&folder, "notes.cwasm", 100, 0);
        file(&folder, &digest_of(4), 100, 0);
        let mut left =
            vec![old.clone(), unfinished.clone(), new.clone(), "notes.cwasm".to_owned(), digest_of(4)];
        left.sort();
        for (most, gone) in
            [(30, None), (29, Some(&old)), (20, None), (10, Some(&unfinished)), (9, Some(&new))]
        {
            evict(folder.path(), most, is_cached).unwrap();
            left.retain(|name| Some(name) != gone);
            assert_eq!(names(&folder), left, "at most {most} bytes");
        }
    }

    #[test]
    fn a_stored_module_replaces_those_used_longest_ago_and_a_load_counts_as_use() {
        let (folder, cache) = cache();
        let engine = engine(|_| {});
        let code = engine.precompile_component(EMPTY).unwrap();
        cache.store(&engine, &digest_of(1), &code);
        let used = cache.path(&engine, &digest_of(1));
        fs::File::open(&used).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(is_loaded(&cache, &engine, 1));

        let unused = format!("{}-0123456789abcdef.cwasm", digest_of(2));
        file(&folder, &unused, MAX_SIZE, 1);
        cache.store(&engine, &digest_of(3), &code);
        assert!(!folder.path().join(unused).exists());
        assert!(is_loaded(&cache, &engine, 1) && is_loaded(&cache, &engine, 3));
    }
}
