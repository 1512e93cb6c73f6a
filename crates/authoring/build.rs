//! Assembles the adapter for WASI, and lists the files that the crate embeds: templates, bindings and the Rust SDK.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let crate_folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = crate_folder.join("../..");

    let adapter = crate_folder.join("adapter/wasi_snapshot_preview1.wat");
    watch(&adapter);
    fs::write(out.join("wasi_snapshot_preview1.wasm"), wat::parse_file(&adapter)?)?;

    let mut lists = String::new();
    for (name, folder) in [
        ("TEMPLATES", crate_folder.join("templates")),
        ("BINDINGS", crate_folder.join("bindings")),
        ("SDK", root.join("policies/sdk/src")),
    ] {
        list(&mut lists, name, &folder)?;
    }
    fs::write(out.join("files.rs"), lists)?;
    Ok(())
}

/// Writes a constant with the path and the text of each file in `folder`.
fn list(out: &mut String, name: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    watch(folder);
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.sort();
    writeln!(out, "pub(super) const {name}: &[(&str, &str)] = &[")?;
    for file in files {
        watch(&file);
        let relative = file.strip_prefix(folder)?.to_str().ok_or("a path is not UTF-8")?.replace('\\', "/");
        let absolute = fs::canonicalize(&file)?;
        let absolute = absolute.to_str().ok_or("a path is not UTF-8")?;
        writeln!(out, "    ({relative:?}, include_str!({absolute:?})),")?;
    }
    writeln!(out, "];")?;
    Ok(())
}

/// Collects the files below `folder`, and those behind links to folders.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Tells cargo to run this script again if the file or folder changes.
fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
