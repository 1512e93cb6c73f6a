//! Rust: cargo, and the target without any system.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Build, MissingTool, PolicyBuildError};
use crate::{component, tool};

/// The guest target.
const TARGET: &str = "wasm32-unknown-unknown";

/// Options of the linker: a small stack, and all memory at once. A sandbox starts about twice as fast if its memory
/// does not grow.
const LINK_ARGS: [&str; 2] = ["-zstack-size=65536", "--initial-memory=262144"];

pub(super) fn build(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let install = |tool: &str| {
        let command = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh".to_owned();
        PolicyBuildError::Missing(MissingTool { tool: tool.to_owned(), found: None, command })
    };
    let cargo = tool::find("cargo", &[]).ok_or_else(|| install("`cargo`, which builds Rust"))?;
    let rustc = tool::find("rustc", &[]).ok_or_else(|| install("`rustc`, the Rust compiler"))?;
    let sysroot = build.query(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !has_std(&sysroot) {
        return Err(build.missing("Rust's standard library for wasm32-unknown-unknown"));
    }
    build.step("compiling Rust");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format", "short"])
        .args(["--target-dir", "target"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&build.folder, &sysroot))
        .env_remove("RUSTFLAGS")
        // The folder and the profile of the output are those that this build reads.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET");
    build.run(&mut command)?;
    let library = build.project.name.replace('-', "_");
    let core =
        build.read(&Path::new("target").join(TARGET).join("release").join(format!("{library}.wasm")))?;
    build.step("making the component");
    Ok(component::encode(&core)?)
}

/// Whether the toolchain has the standard library for the guest target.
fn has_std(sysroot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Returns the compiler's flags, with U+001F between. No folder of this machine gets into the module.
fn flags(folder: &Path, sysroot: &Path) -> OsString {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default();
    let mut flags: Vec<OsString> = LINK_ARGS.iter().map(|arg| format!("-Clink-arg={arg}").into()).collect();
    // rustc applies the last prefix that matches, so longer paths come last.
    for (from, to) in [(home.as_path(), "/cargo"), (sysroot, "/rust"), (folder, "/policy")] {
        if !from.as_os_str().is_empty() {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        }
    }
    flags.join(&OsString::from("\u{1f}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_hide_the_folders_and_keep_the_stack_small() {
        let flags = flags(Path::new("/a b/policy"), Path::new("/rust/root")).into_string().unwrap();
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"--remap-path-prefix=/a b/policy=/policy"), "{flags:?}");
        assert!(flags.contains(&"-Clink-arg=-zstack-size=65536"), "{flags:?}");
    }

    #[test]
    fn a_folder_without_the_library_is_no_toolchain() {
        let sysroot = tempfile::tempdir().unwrap();
        assert!(!has_std(sysroot.path()));
        let lib = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libcore-1.rlib"), "").unwrap();
        assert!(!has_std(sysroot.path()));
        fs::write(lib.join("libstd-1.rlib"), "").unwrap();
        assert!(has_std(sysroot.path()));
    }
}
