//! Python: CPython with the started program.

use std::process::Command;

use super::{Build, PolicyBuildError};
use crate::tool;

pub(super) fn build(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let componentize = tool::find("componentize-py", &build.python_folders())
        .ok_or_else(|| build.missing("`componentize-py`, which builds Python"))?;
    // Packages that the policy imports. The tool looks for them in the active environment only.
    let environment = build.folder.join(".venv");
    let work = build.work_folder()?;
    let module = work.join("policy.wasm");
    if !build.folder.join("gen").is_dir() {
        build.step("writing types for editors");
        build.run(Command::new(&componentize).args(["-d", "wit", "-w", "policy", "bindings", "gen"]))?;
    }
    build.step("storing the started program in CPython");
    // `--stub-wasi`: the contract has no WASI.
    let mut command = Command::new(componentize);
    command.args(["-d", "wit", "-w", "policy", "componentize", "app", "--stub-wasi", "-o"]).arg(&module);
    if environment.is_dir() {
        command.env("VIRTUAL_ENV", environment);
    }
    build.run(&mut command)?;
    build.read(&module)
}
