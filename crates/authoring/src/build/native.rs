//! C and Zig: one wheel of PyPI with clang, the linker, the C library for WASI, and Zig.

use std::fs;
use std::process::Command;

use super::{Build, PolicyBuildError, io_error};
use crate::{component, tool};

/// The target of C and Zig.
const TARGET: &str = "wasm32-wasi";

pub(super) fn build_c(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let mut zig = zig(build)?;
    let core = build.work_folder()?.join("core.wasm");
    let sources = c_sources(build)?;
    build.step("compiling C");
    zig.arg("cc")
        .args([&format!("--target={TARGET}"), "-mexec-model=reactor", "-std=c23", "-O2", "-flto", "-s"])
        // The default is 16 MiB, which is all memory of a sandbox.
        .arg("-Wl,-z,stack-size=65536")
        .args(["-Wall", "-Wextra", "-Ibindings", "-Isrc"])
        .args(sources)
        .args(["bindings/policy.c", "bindings/component_type.c", "-o"])
        .arg(&core);
    build.run(&mut zig)?;
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
