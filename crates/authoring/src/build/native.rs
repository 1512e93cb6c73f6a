//! C and Zig: one wheel of PyPI with clang, the linker, the C library for WASI, and Zig.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::{Build, PolicyBuildError, io_error};
use crate::{component, tool};

/// The target of C and Zig.
const TARGET: &str = "wasm32-wasi";

pub(super) fn build_c(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let mut compiler = c_compiler(build)?;
    let core = build.work_folder()?.join("core.wasm");
    let sources = c_sources(build)?;
    build.step("compiling C");
    compiler
        .args([&format!("--target={TARGET}"), "-mexec-model=reactor", "-std=c23", "-O2", "-flto", "-s"])
        // The default is 16 MiB, which is all memory of a sandbox.
        .arg("-Wl,-z,stack-size=65536")
        .args(["-Wall", "-Wextra", "-Ibindings", "-Isrc"])
        .args(sources)
        .args(["bindings/policy.c", "bindings/component_type.c", "-o"])
        .arg(&core);
    build.run(&mut compiler)?;
    let core = build.read(&core)?;
    build.step("making the component");
    Ok(component::encode(&core)?)
}

pub(super) fn build_zig(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let work = build.work_folder()?;
    let (core, header) = (work.join("core.wasm"), work.join("c.zig"));
    build.step("translating the contract");
    let mut zig_translate = zig(build)?;
    zig_translate.args(["translate-c", "bindings/policy.h", "-target", TARGET, "-lc"]);
    let text = build.query(&mut zig_translate)?;
    let header_path = build.folder.join(&header);
    fs::write(&header_path, text).map_err(|source| io_error(&header_path, source))?;
    build.step("compiling Zig");
    let mut zig = zig(build)?;
    zig.args(["build-exe", "-target", TARGET, "-mexec-model=reactor", "-lc", "-Ibindings"])
        // The default stack is 16 MiB, which is all memory of a sandbox.
        .args(["-OReleaseSmall", "-fstrip", "-fno-entry", "--stack", "65536", "--name", "core"])
        .arg(format!("-femit-bin={}", core.display()))
        .args(["bindings/policy.c", "bindings/component_type.c", "--dep", "c", "--dep", "settings_schema"])
        .arg(format!("-Mroot={}", build.project.language.source()))
        .arg(format!("-Mc={}", header.display()))
        .arg("-Msettings_schema=settings.schema.json");
    build.run(&mut zig)?;
    let core = build.read(&core)?;
    build.step("making the component");
    Ok(component::encode(&core)?)
}

/// Returns the compiler of C: that of Zig, or else a clang that has the C library for WASI.
fn c_compiler(build: &mut Build<'_>) -> Result<Command, PolicyBuildError> {
    let missing = match zig(build) {
        Ok(mut zig) => {
            zig.arg("cc");
            return Ok(zig);
        }
        Err(missing) => missing,
    };
    let sdk: Vec<PathBuf> =
        env::var_os("WASI_SDK_PATH").map(|sdk| Path::new(&sdk).join("bin")).into_iter().collect();
    for name in ["clang", "clang-22", "clang-21", "clang-20", "clang-19"] {
        let Some(clang) = tool::find(name, &sdk) else { continue };
        // A clang that does not start is as good as none.
        let version = build.query(Command::new(&clang).arg("--version")).unwrap_or_default();
        let library = build
            .query(Command::new(&clang).args([&format!("--target={TARGET}"), "-print-file-name=libc.a"]));
        // clang prints the bare name of a library that it does not find.
        let has_library = library.is_ok_and(|path| Path::new(path.trim()).is_absolute());
        if has_library && parse(&version).is_some_and(|version| version >= OLDEST_CLANG) {
            return Ok(Command::new(clang));
        }
    }
    Err(missing)
}

/// The oldest clang that knows `#embed` and C23.
const OLDEST_CLANG: u32 = 19;

/// Parses the major version of `Debian clang version 19.1.7 (3)`.
fn parse(version: &str) -> Option<u32> {
    version.split_once("clang version ")?.1.split('.').next()?.parse().ok()
}

/// Returns the command of Zig: the program, or the module of Python's package `ziglang`.
fn zig(build: &Build<'_>) -> Result<Command, PolicyBuildError> {
    let folders = build.python_folders();
    // The package installs the program as `python-zig`.
    if let Some(zig) = tool::find("python-zig", &folders).or_else(|| tool::find("zig", &folders)) {
        return Ok(Command::new(zig));
    }
    Err(build.missing("`zig`, which has the compilers of C and Zig"))
}

/// Returns the C sources of the policy, sorted: the order is part of the module's bytes.
fn c_sources(build: &Build<'_>) -> Result<Vec<String>, PolicyBuildError> {
    let folder = build.folder.join("src");
    let mut sources = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|source| io_error(&folder, source))? {
        let name = entry.map_err(|source| io_error(&folder, source))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".c") {
            sources.push(format!("src/{name}"));
        }
    }
    sources.sort();
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_versions_of_clang() {
        assert_eq!(parse("Debian clang version 19.1.7 (3~deb12u1)\nTarget: x86_64"), Some(19));
        assert_eq!(parse("clang version 21.1.4-wasi-sdk"), Some(21));
        assert_eq!(parse("gcc 14.2"), None);
    }
}
