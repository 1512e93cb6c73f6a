//! Rust: cargo, and the target without any system.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Build, MissingTool, PolicyBuildError};
use crate::guest::{self, TARGET};
use crate::{component, tool};

pub(super) fn build(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let install = |tool: &str| {
        let command = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh".to_owned();
        PolicyBuildError::Missing(MissingTool { tool: tool.to_owned(), found: None, command })
    };
    let cargo = tool::find("cargo", &[]).ok_or_else(|| install("`cargo`, which builds Rust"))?;
    let rustc = tool::find("rustc", &[]).ok_or_else(|| install("`rustc`, the Rust compiler"))?;
    let sysroot = build.query(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !guest::has_std(&sysroot) {
        return Err(build.missing("Rust's standard library for wasm32-unknown-unknown"));
    }
    build.step("compiling Rust");
    let mut command = Command::new(cargo);
    guest::configure(&mut command, &build.folder, "/policy", &sysroot)?;
    command
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format", "short"])
        .args(["--target-dir", "target"])
        // The folder of the output is the one that this build reads.
        .env_remove("CARGO_TARGET_DIR");
    build.run(&mut command)?;
    let library = build.project.name.replace('-', "_");
    let core =
        build.read(&Path::new("target").join(TARGET).join("release").join(format!("{library}.wasm")))?;
    build.step("making the component");
    Ok(component::encode(&core)?)
}
