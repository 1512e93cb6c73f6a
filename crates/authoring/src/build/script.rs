//! TypeScript and JavaScript: the type checker, a bundler, and QuickJS with the started program.

use std::path::PathBuf;
use std::process::Command;

use super::{Build, MissingTool, PolicyBuildError};
use crate::tool;

pub(super) fn build(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    if tool::find("node", &[]).is_none() {
        return Err(PolicyBuildError::Missing(MissingTool {
            tool: "`node` (version 18 or newer), which runs the tools of TypeScript".to_owned(),
            found: None,
            command: "apt-get install nodejs npm".to_owned(),
        }));
    }
    let bin = build.folder.join("node_modules/.bin");
    let find = |build: &Build<'_>, name: &str| -> Result<PathBuf, PolicyBuildError> {
        // Only the project's own tools: their versions are in `package.json`.
        let path = bin.join(name);
        if path.is_file() { Ok(path) } else { Err(build.missing(&format!("`{name}` in `node_modules`"))) }
    };
    let (tsc, esbuild, componentize) =
        (find(build, "tsc")?, find(build, "esbuild")?, find(build, "componentize-qjs")?);
    let work = build.work_folder()?;
    let (bundle, module) = (work.join("policy.js"), work.join("policy.wasm"));

    build.step("checking types");
    build.run(Command::new(tsc).args(["-p", "."]))?;
    build.step("bundling");
    let source = build.project.language.source();
    build.run(
        Command::new(esbuild)
            .arg(source)
            // Not minified: the stack of an exception names functions and lines of this file. The text costs 0.2 % of
            // the module.
            .args(["--bundle", "--format=esm", "--platform=neutral", "--target=es2022"])
            // The contract wants the schema of the settings as text.
            .args(["--loader:.json=text", "--external:wardset:*", "--log-level=warning"])
            .arg(format!("--outfile={}", bundle.display())),
    )?;
    build.step("storing the started program in QuickJS");
    // `--sync`: the other runtime needs the asynchronous ABI. `--stub-wasi`: the contract has no WASI.
    build.run(
        Command::new(componentize)
            .args(["-w", "wit", "-n", "policy", "--stub-wasi", "--sync", "-j"])
            .arg(&bundle)
            .arg("-o")
            .arg(&module),
    )?;
    build.read(&module)
}
