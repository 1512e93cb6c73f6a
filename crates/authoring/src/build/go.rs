//! Go: the official toolchain, and a snapshot of the started runtime.

use std::process::Command;

use super::{Build, MissingTool, PolicyBuildError};
use crate::{component, snapshot, tool};

/// The oldest version of Go whose code the bindings are: 1.25.
const OLDEST: (u32, u32) = (1, 25);

pub(super) fn build(build: &mut Build<'_>) -> Result<Vec<u8>, PolicyBuildError> {
    let go = tool::find("go", &[]).ok_or_else(|| missing(None))?;
    // In the project's folder: the file `go.mod` asks for a version, which a newer Go fetches itself.
    let version = build.query(Command::new(&go).args(["env", "GOVERSION"]))?;
    if parse(version.trim()).is_none_or(|version| version < OLDEST) {
        return Err(missing(Some(version.trim().to_owned())));
    }
    let core_path = build.work_folder()?.join("core.wasm");
    build.step("compiling Go");
    build.run(
        Command::new(go)
            // The runtime grows its memory through `runtime.sbrk`, which the bindings reach by `linkname`.
            .args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -checklinkname=0", "-o"])
            .arg(&core_path)
            .arg("./internal/module")
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            .env_remove("GOFLAGS")
            .env_remove("GOWASM"),
    )?;
    let core = build.read(&core_path)?;
    build.step("starting Go's runtime once");
    let started = snapshot::snapshot(&core)?;
    build.step("making the component");
    Ok(component::encode(&started)?)
}

fn missing(found: Option<String>) -> PolicyBuildError {
    let (major, minor) = OLDEST;
    PolicyBuildError::Missing(MissingTool {
        tool: format!("Go {major}.{minor} or newer"),
        found,
        command: install(),
    })
}

/// Returns the command that installs Go on a machine like this one.
fn install() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "sudo rm -rf /usr/local/go && curl -fL https://go.dev/dl/go1.26.0.{system}-{processor}.tar.gz | sudo tar -C /usr/local -xz && export \
         PATH=/usr/local/go/bin:$PATH"
    )
}

/// Parses `go1.26.8`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix("go")?.split(['.', 'r', 'b', ' ', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_installs_a_version_that_is_new_enough() {
        let command = install();
        let version = command.split("/dl/").nth(1).unwrap();
        assert!(parse(version).unwrap() >= OLDEST, "{command}");
        assert!(!command.contains("x86_64") && !command.contains("macos"), "{command}");
    }

    #[test]
    fn names_the_expected_and_the_found_version() {
        let message = missing(Some("go1.20".to_owned())).to_string();
        assert!(message.starts_with("expected Go 1.25 or newer, found `go1.20`\nhint: run `"), "{message}");
        assert!(missing(None).to_string().starts_with("failed to find Go 1.25 or newer\nhint: run `"));
    }

    #[test]
    fn parses_versions_of_go() {
        assert_eq!(parse("go1.26.8"), Some((1, 26)));
        assert_eq!(parse("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse("go1.9"), Some((1, 9)));
        assert_eq!(parse("devel"), None);
        assert!(parse("go1.9").unwrap() < OLDEST);
    }
}
