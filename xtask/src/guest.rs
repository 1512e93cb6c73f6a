//! Building policies for the guest target and turning them into components.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

use crate::digests::Policy;
use crate::process;
use crate::repository::Repository;
use crate::toolchain::{Compiler, LINK_ARGS, TARGET};

/// Builds `policies` and returns their components by name.
///
/// The bytes depend on the sources, the compiler and this program, and not on the folders.
pub(crate) fn build(
    repository: &Repository,
    compiler: &Compiler,
    policies: &[&Policy],
) -> Result<BTreeMap<String, Vec<u8>>> {
    let target = repository.policies_target()?;
    let mut cargo = process::cargo(&repository.policies());
    for (name, _) in env::vars_os() {
        if decides_about_bytes(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .args(policies.iter().flat_map(|policy| ["--package", &policy.spec]))
        .env("RUSTC", compiler.rustc())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(repository, compiler)?);
    process::show(&mut cargo).context("the policies do not build")?;

    policies
        .iter()
        .map(|policy| {
            let path = target.join(TARGET).join("release").join(format!("{}.wasm", policy.library));
            let core = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let component = encode(&core)
                .with_context(|| format!("`{}` cannot be turned into a component", policy.name))?;
            Ok((policy.name.clone(), component))
        })
        .collect()
}

/// Variables of cargo that would put something of this machine into a module.
fn decides_about_bytes(variable: &str) -> bool {
    const PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_WASM32_"];
    variable == "RUSTFLAGS" || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// The compiler's flags, in the form that lets a path have spaces.
fn flags(repository: &Repository, compiler: &Compiler) -> Result<OsString> {
    let mut flags: Vec<OsString> = LINK_ARGS.iter().map(|arg| format!("-Clink-arg={arg}").into()).collect();
    // rustc applies the last prefix that matches, so longer paths come last.
    for (from, to) in [
        (cargo_home()?, "/cargo"),
        (compiler.sysroot().to_owned(), "/rust"),
        (compiler.sysroot().join("lib/rustlib/src/rust"), "/rust/src"),
        (repository.root().to_owned(), "/wardset"),
    ] {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    join(&flags)
}

/// Flags as `CARGO_ENCODED_RUSTFLAGS` has them: with U+001F between.
fn join(flags: &[OsString]) -> Result<OsString> {
    if let Some(flag) = flags.iter().find(|flag| flag.to_string_lossy().contains('\u{1f}')) {
        bail!("`{}` has a control character that cargo cannot pass on", flag.display());
    }
    Ok(flags.join(&OsString::from("\u{1f}")))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return std::path::absolute(Path::new(&home)).context("cannot resolve `CARGO_HOME`");
    }
    Ok(env::home_dir().context("there is no home directory, and `CARGO_HOME` is not set")?.join(".cargo"))
}

/// Makes a component of a core module that was built with `wit-bindgen`, as `wasm-tools component new` does.
pub(crate) fn encode(core: &[u8]) -> Result<Vec<u8>> {
    // No adapter: a policy that imports WASI by accident is an error here, not a surprise in the sandbox.
    ComponentEncoder::default().module(core)?.validate(true).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_flags_whose_paths_have_spaces_apart() {
        let flags = join(&["--remap-path-prefix=/a b=/x".into(), "-Clink-arg=-z".into()]).unwrap();
        assert_eq!(flags, "--remap-path-prefix=/a b=/x\u{1f}-Clink-arg=-z");
    }

    #[test]
    fn refuses_flags_that_cannot_be_passed_on() {
        join(&["a\u{1f}b".into()]).unwrap_err();
    }

    #[test]
    fn drops_what_the_environment_would_put_into_modules() {
        for variable in ["RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_BUILD_RUSTFLAGS"] {
            assert!(decides_about_bytes(variable), "{variable}");
        }
        for variable in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN"] {
            assert!(!decides_about_bytes(variable), "{variable}");
        }
    }

    #[test]
    fn refuses_what_is_no_module() {
        encode(b"not wasm").unwrap_err();
    }
}
