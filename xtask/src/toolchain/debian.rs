//! A toolchain for the guest target made of Debian's packages, without installing anything.
//!
//! Debian ships `rustc-web` with the sources of its standard library (`rust-web-src`), so the library can be built
//! for any target. rustup's compiler cannot take its place: the standard library builds with its own version only.
//! The linker is the `rust-lld` of the toolchain that runs this command.
//!
//! ```text
//! apt-get download ─► dpkg -x ─► + rust-lld, wrapper ─► cargo build -Zbuild-std ─► rename: now it exists
//! └──────────────────── target/wasm-toolchain.new, under a lock ────────────────┘  target/wasm-toolchain
//! ```
//!
//! It never takes a half-made toolchain for a whole one: only the last step gives it its name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{TARGET, has_std, host, rust_lld, sysroot};
use crate::process;

/// The compiler package, and the sources of its standard library.
const COMPILER: &str = "rustc-web";
const SOURCES: &str = "rust-web-src";

/// What every machine has that can run xtask at all: its C library and a C compiler for build scripts.
const GIVEN: [&str; 6] = ["libc6", "libgcc-s1", "libstdc++6", "gcc", "libc-dev", "binutils"];

/// The compiler of the toolchain in `target`, which is made if it is not there. `default_rustc` lends the linker.
pub(super) fn toolchain(target: &Path, default_rustc: &Path) -> Result<PathBuf> {
    let whole = target.join("wasm-toolchain");
    let rustc = wrapper(&whole);
    if rustc.is_file() {
        return Ok(rustc);
    }
    for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("tar", "tar")] {
        process::stdout(Command::new(program).arg("--version"))
            .with_context(|| format!("this way needs a Debian system with `{package}`"))?;
    }

    fs::create_dir_all(target).with_context(|| format!("cannot make `{}`", target.display()))?;
    let lock_path = target.join("wasm-toolchain.lock");
    let lock = File::create(&lock_path).with_context(|| format!("cannot make `{}`", lock_path.display()))?;
    if lock.try_lock().is_err() {
        eprintln!("compiler: another run is making the toolchain; waiting for it");
        lock.lock().with_context(|| format!("cannot lock `{}`", lock_path.display()))?;
    }
    // The one that had the lock before may have made it.
    if rustc.is_file() {
        return Ok(rustc);
    }

    eprintln!("compiler: making one from Debian's `{COMPILER}`; takes a few minutes, once");
    let start = Instant::now();
    let new = target.join("wasm-toolchain.new");
    remove(&new)?; // of a run that was ended
    make(&new, default_rustc)?;
    remove(&whole)?; // without a compiler, as seen above
    fs::rename(&new, &whole).with_context(|| format!("cannot rename `{}`", new.display()))?;
    eprintln!("compiler: made in {} s, kept in `{}`", start.elapsed().as_secs(), whole.display());
    Ok(rustc)
}

/// Makes a toolchain in `dir`, which is not there yet. It can be moved afterwards.
fn make(dir: &Path, default_rustc: &Path) -> Result<()> {
    let lld = rust_lld(default_rustc, &sysroot(default_rustc)?).context(
        "the toolchain that runs this command lends its linker\nhint: use a toolchain from rustup",
    )?;

    let debs = dir.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot make `{}`", debs.display()))?;
    let packages = packages()?;
    let mut download = Command::new("apt-get");
    // Where root runs this, apt's own user may not write here; saying so keeps apt from warning about it.
    download.args(["--quiet", "--quiet", "--option", "APT::Sandbox::User=root", "download"]);
    download.args(&packages).current_dir(&debs);
    process::show(&mut download).context("cannot download Debian's packages\nhint: is there a network?")?;
    for deb in entries(&debs)? {
        if file_name(&deb).starts_with(SOURCES) {
            extract_library(&deb, dir)?;
        } else {
            process::show(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(dir))?;
        }
    }
    remove(&debs)?;

    let usr = dir.join("usr");
    let libraries = entries(&usr.join("lib"))?
        .into_iter()
        .find(|path| {
            entries(path).is_ok_and(|e| e.iter().any(|f| file_name(f).starts_with("librustc_driver")))
        })
        .context("Debian's packages hold no `librustc_driver`")?;
    let rustc = wrapper(dir);
    write_wrapper(&rustc, &file_name(&libraries))?;
    let host = host(&rustc).context("Debian's rustc does not run\nhint: which library does it miss?")?;

    let bin = usr.join("lib/rustlib").join(&host).join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make `{}`", bin.display()))?;
    // Linked, not copied: it looks for its libraries from where it really is.
    link(&lld, &bin.join("rust-lld"))?;

    let library = entries(&usr.join("src"))?
        .into_iter()
        .map(|source| source.join("library"))
        .find(|library| library.is_dir())
        .with_context(|| format!("`{SOURCES}` holds no standard library"))?;
    build_std(dir, &rustc, &library)?;
    if !has_std(&usr) {
        bail!("the build of the standard library left no `libstd`");
    }
    Ok(())
}

/// The packages to download, with versions. What is installed already is left out.
fn packages() -> Result<BTreeSet<String>> {
    let version = match candidate()? {
        Some(version) => version,
        None => {
            eprintln!("compiler: apt knows no `{COMPILER}`; updating its lists");
            process::show(Command::new("apt-get").args(["--quiet", "--quiet", "update"]))
                .context("cannot update apt's lists\nhint: run `apt-get update` as root")?;
            candidate()?.with_context(|| {
                format!("apt knows no `{COMPILER}` after an update either\nhint: Debian 12 and later have it")
            })?
        }
    };
    let mut wanted = BTreeSet::new();
    let mut open = vec![format!("{COMPILER}={version}"), format!("{SOURCES}={version}")];
    while let Some(package) = open.pop() {
        let name = package.split('=').next().unwrap_or(&package);
        // Its own packages count even where they are installed: a compiler looks for its libraries beside itself.
        let own = name.contains("rust");
        if GIVEN.contains(&name) || (!own && is_installed(name)) {
            continue;
        }
        let record =
            process::stdout(Command::new("apt-cache").args(["show", "--no-all-versions", &package]))?;
        if wanted.insert(package) {
            open.extend(dependencies(&record));
        }
    }
    Ok(wanted)
}

/// The version of the compiler package that apt would install.
fn candidate() -> Result<Option<String>> {
    let policy = process::stdout(Command::new("apt-cache").args(["policy", COMPILER]))?;
    Ok(policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .map(str::to_owned))
}

fn is_installed(name: &str) -> bool {
    process::stdout(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}\n", name]))
        .is_ok_and(|status| status.lines().any(|line| line == "installed"))
}

/// What a package's record says it depends on, as `name` or `name=version`; of alternatives the first.
fn dependencies(record: &str) -> Vec<String> {
    record
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: ").or_else(|| line.strip_prefix("Pre-Depends: ")))
        .flat_map(|list| list.split(','))
        .filter_map(|dependency| dependency.split('|').next())
        .filter_map(|dependency| {
            let (name, rest) = dependency.trim().split_once(' ').unwrap_or((dependency.trim(), ""));
            let name = name.split(':').next().filter(|name| !name.is_empty())?;
            let exact = rest.strip_prefix("(= ").and_then(|rest| rest.strip_suffix(')'));
            Some(exact.map_or_else(|| name.to_owned(), |version| format!("{name}={version}")))
        })
        .collect()
}

/// Extracts the standard library alone: the rest of the sources is ten times its size.
fn extract_library(deb: &Path, dir: &Path) -> Result<()> {
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--fsys-tarfile").arg(deb).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut unpacking = unpack.spawn().with_context(|| format!("cannot start {}", process::line(&unpack)))?;
    let pipe = unpacking.stdout.take().context("a pipe that was asked for")?;
    let mut tar = Command::new("tar");
    // In this order: tar extracts into the last directory named before a pattern.
    tar.arg("--extract").arg("--directory").arg(dir).args(["--wildcards", "./usr/src/*/library/*"]);
    let tarred = tar.stdin(pipe).status().with_context(|| format!("cannot start {}", process::line(&tar)))?;
    let unpacked = unpacking.wait().with_context(|| format!("cannot wait for {}", process::line(&unpack)))?;
    if !tarred.success() || !unpacked.success() {
        bail!("cannot extract `{}`", deb.display());
    }
    Ok(())
}

/// Where the compiler of a toolchain is.
fn wrapper(dir: &Path) -> PathBuf {
    dir.join("bin/rustc")
}

/// A script that starts the compiler with its libraries, wherever the toolchain is.
fn write_wrapper(rustc: &Path, libraries: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh\n\
         usr=${{0%/*}}/../usr\n\
         LD_LIBRARY_PATH=$usr/lib/{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n\
         export LD_LIBRARY_PATH\n\
         exec \"$usr/bin/rustc\" \"$@\"\n"
    );
    let dir = rustc.parent().context("a program without a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    fs::write(rustc, script).with_context(|| format!("cannot write `{}`", rustc.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(rustc, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make `{}` executable", rustc.display()))?;
    }
    Ok(())
}

/// Builds the standard library for the guest target and puts it into the toolchain in `dir`.
fn build_std(dir: &Path, rustc: &Path, library: &Path) -> Result<()> {
    // cargo looks for the sources there, and needs some package to build the library for.
    let src = dir.join("usr/lib/rustlib/src/rust");
    fs::create_dir_all(&src).with_context(|| format!("cannot make `{}`", src.display()))?;
    let seed = dir.join("seed");
    fs::create_dir_all(seed.join("src")).with_context(|| format!("cannot make `{}`", seed.display()))?;
    let library = library.strip_prefix(dir).context("the sources are outside the toolchain")?;
    link(&Path::new("../../../../..").join(library), &src.join("library"))?;
    let library = dir.join(library);
    fs::write(seed.join("src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        seed.join("Cargo.toml"),
        "[package]\nname = \"seed\"\nedition = \"2021\"\n\n[workspace]\n\n\
         [profile.release]\nopt-level = 3\npanic = \"abort\"\n",
    )?;

    // The compiler knows the sources by the path behind the link or before it.
    let mut flags = String::from("-Cembed-bitcode=yes");
    for path in [dir, &src.join("library"), &library] {
        flags.push_str(&format!("\u{1f}--remap-path-prefix={}=/rust/src/library", path.display()));
    }
    let out = seed.join("target");
    let mut cargo = process::cargo(&seed);
    cargo
        .args(["build", "--quiet", "--release", "--offline", "--target", TARGET, "--target-dir"])
        .arg(&out)
        .arg("-Zbuild-std=std,panic_abort")
        .args(["--config", "source.crates-io.replace-with='vendored'", "--config"])
        .arg(format!("source.vendored.directory='{}'", library.join("vendor").display()))
        .env("RUSTC", rustc)
        // Debian's compiler is a stable one; so is cargo, which does not build std otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    process::show(&mut cargo).context("the standard library does not build")?;

    let libraries = dir.join("usr/lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries).with_context(|| format!("cannot make `{}`", libraries.display()))?;
    for built in entries(&out.join(TARGET).join("release/deps"))? {
        let name = file_name(&built);
        if name.ends_with(".rlib") && !name.starts_with("libseed-") {
            fs::copy(&built, libraries.join(&name))
                .with_context(|| format!("cannot copy `{}`", built.display()))?;
        }
    }
    remove(&seed)
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot link `{}`", at.display()))
}

#[cfg(not(unix))]
fn link(_to: &Path, at: &Path) -> Result<()> {
    bail!("cannot link `{}` on this system", at.display())
}

/// What is in a directory, in order of name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list `{}`", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(cannot)? {
        paths.push(entry.with_context(cannot)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a directory that may not be there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_package_depends_on() {
        let record = "Package: rustc-web\n\
                      Pre-Depends: dpkg (>= 1.17)\n\
                      Depends: libc6 (>= 2.34), libstd-rust-web-dev (= 1.96.0+dfsg1-1~deb12u2), libllvm22:any, gcc | clang\n\
                      Recommends: cargo-web\n";
        assert_eq!(
            dependencies(record),
            ["dpkg", "libc6", "libstd-rust-web-dev=1.96.0+dfsg1-1~deb12u2", "libllvm22", "gcc"]
        );
    }

    #[test]
    fn takes_a_toolchain_that_is_there_as_it_is() {
        let target = tempfile::tempdir().unwrap();
        let rustc = wrapper(&target.path().join("wasm-toolchain"));
        fs::create_dir_all(rustc.parent().unwrap()).unwrap();
        fs::write(&rustc, "").unwrap();
        assert_eq!(toolchain(target.path(), Path::new("no-such-rustc")).unwrap(), rustc);
    }

    #[cfg(unix)]
    #[test]
    fn wrapper_finds_its_compiler_after_a_move_to_a_path_with_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let (new, moved) = (dir.path().join("new"), dir.path().join("moved here"));
        write_wrapper(&wrapper(&new), "any-linux-gnu").unwrap();
        fs::create_dir_all(new.join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("/bin/echo", new.join("usr/bin/rustc")).unwrap();
        fs::rename(&new, &moved).unwrap();
        assert_eq!(process::stdout(Command::new(wrapper(&moved)).arg("-V")).unwrap(), "-V\n");
    }
}
