//! The build of Rust for the guest target: the target, the linker's options, and an environment without paths and
//! settings of this machine. The built-in policies are built in the same way.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{error, fmt};

/// The guest target: the WebAssembly core without any system.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Options of the linker. A guest lives for one evaluation, and its memory is cleared after it. So it gets a small
/// stack and all of its memory at once: growth during an evaluation costs more.
pub const LINK_ARGS: [&str; 2] = ["-zstack-size=65536", "--initial-memory=262144"];

/// Returns whether a toolchain has the standard library for the guest target. Its folder may exist without it.
#[must_use]
pub fn has_std(sysroot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Gives cargo the compiler's flags, and removes each variable that decides about the bytes of a module. In the module,
/// `folder` is called `name`, so that no folder of this machine gets into it.
///
/// # Errors
///
/// A folder has a control character that cargo cannot pass on.
pub fn configure(
    cargo: &mut Command,
    folder: &Path,
    name: &str,
    sysroot: &Path,
) -> Result<(), UnusableFolder> {
    for (variable, _) in
        env::vars_os().filter(|(variable, _)| decides_about_bytes(&variable.to_string_lossy()))
    {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", join(&flags(folder, name, sysroot))?);
    Ok(())
}

/// Whether a variable of cargo would put something of this machine into a module.
fn decides_about_bytes(variable: &str) -> bool {
    const PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_WASM32_"];
    let decides = variable == "RUSTFLAGS" || PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
    decides && variable != "CARGO_BUILD_JOBS"
}

fn flags(folder: &Path, name: &str, sysroot: &Path) -> Vec<OsString> {
    let source = sysroot.join("lib/rustlib/src/rust");
    let mut flags: Vec<OsString> = LINK_ARGS.iter().map(|arg| format!("-Clink-arg={arg}").into()).collect();
    // rustc applies the last prefix that matches, so longer paths come last.
    for (from, to) in
        [(&*cargo_home(), "/cargo"), (sysroot, "/rust"), (&*source, "/rust/src"), (folder, name)]
    {
        if !from.as_os_str().is_empty() {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        }
    }
    flags
}

/// Returns cargo's folder for sources; empty if there is no home.
fn cargo_home() -> PathBuf {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => env::home_dir().map(|home| home.join(".cargo")),
    };
    home.and_then(|home| std::path::absolute(home).ok()).unwrap_or_default()
}

/// Joins flags as `CARGO_ENCODED_RUSTFLAGS` has them: with U+001F between, so that a path may have spaces.
fn join(flags: &[OsString]) -> Result<OsString, UnusableFolder> {
    match flags.iter().find(|flag| flag.to_string_lossy().contains('\u{1f}')) {
        Some(flag) => Err(UnusableFolder { flag: flag.to_string_lossy().replace('\u{1f}', "\\u{1f}") }),
        None => Ok(flags.join(&OsString::from("\u{1f}"))),
    }
}

/// A folder with a control character that cargo cannot pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableFolder {
    /// The flag with the folder.
    pub flag: String,
}

impl fmt::Display for UnusableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected folders without control characters, found `{}`\nhint: rename the folder",
            self.flag
        )
    }
}

impl error::Error for UnusableFolder {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_hide_the_folders_and_keep_the_stack_small() {
        let flags = flags(Path::new("/a b/policy"), "/policy", Path::new("/rust/root"));
        for flag in [
            "--remap-path-prefix=/a b/policy=/policy",
            "--remap-path-prefix=/rust/root=/rust",
            "-Clink-arg=-zstack-size=65536",
        ] {
            assert!(flags.contains(&flag.into()), "{flag}: {flags:?}");
        }
        let place = |part: &str| flags.iter().position(|flag| flag.to_string_lossy().contains(part));
        assert!(place("=/rust/src") > place("=/rust"), "{flags:?}");
    }

    #[test]
    fn keeps_flags_whose_paths_have_spaces_apart() {
        let flags = join(&["--remap-path-prefix=/a b=/x".into(), "-Clink-arg=-z".into()]).unwrap();
        assert_eq!(flags, "--remap-path-prefix=/a b=/x\u{1f}-Clink-arg=-z");
    }

    #[test]
    fn refuses_flags_that_cannot_be_passed_on() {
        let error = join(&["a\u{1f}b".into()]).unwrap_err().to_string();
        assert!(error.contains("found `a\\u{1f}b`\nhint: "), "{error}");
    }

    #[test]
    fn drops_what_the_environment_would_put_into_modules() {
        for variable in
            ["RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"]
        {
            assert!(decides_about_bytes(variable), "{variable}");
        }
        for variable in
            ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS", "RUSTUP_TOOLCHAIN"]
        {
            assert!(!decides_about_bytes(variable), "{variable}");
        }
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
