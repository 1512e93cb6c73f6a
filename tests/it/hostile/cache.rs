//! The cache of compiled modules. The host runs the code in its folder, so the folder must be trustworthy.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wardset_runtime::{Cache, CacheError};

use super::*;

#[tokio::test]
async fn a_second_load_uses_the_cached_file() {
    let (folder, cache) = empty_cache();
    load_cached(&cache, "well-behaved").await;
    let file = only_file(&folder);
    let first = (fs::metadata(&file).unwrap().ino(), fs::read(&file).unwrap());
    load_cached(&cache, "well-behaved").await;
    // A second compilation would replace the file.
    let second = (fs::metadata(&file).unwrap().ino(), fs::read(&file).unwrap());
    assert!(first == second);
    assert_eq!(only_file(&folder), file);
}

/// After any kind of damage, the host compiles the module again and replaces the file.
#[tokio::test]
async fn a_damaged_file_is_compiled_again() {
    let (folder, cache) = empty_cache();
    load_cached(&cache, "well-behaved").await;
    let file = only_file(&folder);
    let good = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let longer = [&good[..], b"\0"].concat();
    for (what, damaged) in [
        ("a byte flipped in the digest", flipped(3)),
        ("the first byte of the code flipped", flipped(32)),
        ("a byte flipped in the middle", flipped(good.len() / 2)),
        ("the last byte flipped", flipped(good.len() - 1)),
        ("cut to half", good[..good.len() / 2].to_vec()),
        ("cut within the digest", good[..10].to_vec()),
        ("without its last byte", good[..good.len() - 1].to_vec()),
        ("longer by a byte", longer),
        ("empty", Vec::new()),
    ] {
        fs::write(&file, &damaged).unwrap();
        load_cached(&cache, "well-behaved").await;
        assert!(fs::read(&file).unwrap().len() == good.len(), "{what}: the module was not compiled again");
        assert!(fs::read(&file).unwrap() != damaged, "{what}: the damaged file is still there");
    }
}

/// A valid cache file of another module is stored under this module's name.
#[tokio::test]
async fn the_cache_file_of_another_module_is_not_used() {
    let (folder, cache) = empty_cache();
    load_cached(&cache, "unreachable").await;
    let other = fs::read(only_file(&folder)).unwrap();
    fs::remove_file(only_file(&folder)).unwrap();
    load_cached(&cache, "well-behaved").await;
    let file = only_file(&folder);
    fs::write(&file, &other).unwrap();
    let module = load_cached(&cache, "well-behaved").await;
    assert_eq!(module.manifest.name, "well-behaved");
    assert!(fs::read(&file).unwrap() != other);
}

#[tokio::test]
async fn a_cache_file_is_not_used_if_others_can_write_to_it() {
    let (folder, cache) = empty_cache();
    load_cached(&cache, "well-behaved").await;
    let file = only_file(&folder);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    for mode in [0o620, 0o602, 0o666] {
        let before = fs::metadata(&file).unwrap().ino();
        // Stays open, so that the new file cannot get the inode number of the old one.
        let _held = fs::File::open(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        load_cached(&cache, "well-behaved").await;
        let after = fs::metadata(&file).unwrap();
        assert_ne!(after.ino(), before, "{mode:o}: the cached file was used");
        assert_eq!(after.mode() & 0o777, 0o600);
    }
}

#[test]
fn refuses_a_cache_folder_that_others_can_write_to() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o720, 0o702, 0o777, 0o1777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = Cache::open(folder.path()).err().unwrap();
        assert!(matches!(error, CacheError::NotOurs { .. }), "{mode:o}: {error:?}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Cache::open(folder.path()).is_ok(), "a folder that others may only read is fine");
}

#[test]
fn creates_a_cache_folder_only_for_its_own_user() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("made/here");
    Cache::open(&folder).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn fails_to_open_a_cache_below_a_file() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Cache::open(file.join("below")), Err(CacheError::Io { .. })));
}

/// If the folder is read-only, modules are still loaded. Root may write anywhere, so for root the test removes the
/// folder.
#[tokio::test]
async fn loads_modules_if_the_cache_folder_is_read_only() {
    let (folder, cache) = empty_cache();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    load_cached(&cache, "well-behaved").await;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    load_cached(&cache, "well-behaved").await;
    assert!(!folder.path().exists(), "a load must not create the folder");
}

/// Eight loads run at the same time in one process. Each gets the module, and one complete file remains.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_loads_leave_one_complete_file() {
    let (folder, cache) = empty_cache();
    let bytes = Arc::new(guests::component("well-behaved"));
    for _ in 0..5 {
        let loads: Vec<_> = (0..8)
            .map(|_| {
                let (cache, bytes) = (cache.clone(), Arc::clone(&bytes));
                tokio::spawn(async move { Module::load(&ENGINE, &bytes, Some(&cache)).await.unwrap() })
            })
            .collect();
        for load in loads {
            assert_eq!(load.await.unwrap().manifest.name, "well-behaved");
        }
        let file = only_file(&folder);
        let left = fs::metadata(&file).unwrap().ino();
        load_cached(&cache, "well-behaved").await;
        assert_eq!(fs::metadata(&file).unwrap().ino(), left, "the remaining file was not usable");
        fs::remove_file(&file).unwrap();
    }
}

fn empty_cache() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    (folder, cache)
}

/// Loads the module through the cache, and asserts that it is the right one.
async fn load_cached(cache: &Cache, guest: &str) -> Arc<Module> {
    let module = Arc::new(Module::load(&ENGINE, &guests::component(guest), Some(cache)).await.unwrap());
    assert_eq!(module.manifest.name, guest);
    if guest == "well-behaved" {
        let policies = [(policy("cached", 0, Mode::Enforce, OnError::Fail, "10s"), Arc::clone(&module))];
        let snapshot = Snapshot::new(Arc::clone(&ENGINE), policies).await.unwrap();
        let decision = decide(&snapshot, &review(Of::Create, false)).await;
        assert_eq!((decision.outcome, decision.patch.len()), (Outcome::Allowed, 1));
    }
    module
}

fn only_file(folder: &impl AsRef<Path>) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}
