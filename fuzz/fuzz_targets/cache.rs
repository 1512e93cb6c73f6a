//! A corrupt file instead of a compiled module. The cache must replace it and never load it. If the input starts with
//! `good:`, its other bytes overwrite the good file, from the offset in the first two. Otherwise it is the whole file.
//!
//! The module is an empty component: it compiles at once, and loading fails because it lacks a policy's exports. Any
//! other error shows that the cache loaded the file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wardset_runtime::{Cache, Engine, EngineOptions, LoadError, Module};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

struct Setup {
    engine: Arc<Engine>,
    runtime: Runtime,
    cache: Cache,
    file: PathBuf,
    good: Vec<u8>,
    _folder: TempDir,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let engine = Engine::new(EngineOptions { sandboxes: 1 }).expect("an engine");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(folder.path()).expect("a cache");
    load(&runtime, &engine, &cache);
    let mut files = fs::read_dir(folder.path()).expect("a folder");
    let file = files.next().expect("a cached module").expect("a file").path();
    let good = fs::read(&file).expect("a file");
    Setup { engine, runtime, cache, file, good, _folder: folder }
});

fuzz_target!(|bytes: &[u8]| {
    let setup = &*SETUP;
    let content = match bytes.strip_prefix(b"good:") {
        Some([high, low, changed @ ..]) => {
            let mut content = setup.good.clone();
            let from = usize::from(u16::from_be_bytes([*high, *low])) % (content.len() + 1);
            let until = content.len().min(from + changed.len());
            content.splice(from..until, changed.iter().copied());
            content
        }
        _ => bytes.to_vec(),
    };
    fs::write(&setup.file, &content).expect("a file");
    load(&setup.runtime, &setup.engine, &setup.cache);
    let after = fs::read(&setup.file).expect("a file");
    assert!(after == setup.good, "a file of {} bytes is still there", content.len());
});

fn load(runtime: &Runtime, engine: &Arc<Engine>, cache: &Cache) {
    let loaded = runtime.block_on(Module::load(engine, COMPONENT, Some(cache)));
    assert!(matches!(loaded.err(), Some(LoadError::World(_))), "something else was loaded");
}
