//! Every command that the README shows is run, and prints what the README says.

use std::path::Path;
use std::process::Command;

use crate::support;

const README: &str = include_str!("../../README.md");

/// The commands of ```console blocks, each with the output that stands below it.
fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for block in README.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for one in block.split("$ ").skip(1) {
            let (command, output) = one.split_once('\n').unwrap();
            commands.push((command.to_owned(), output.to_owned()));
        }
    }
    commands
}

#[test]
fn commands_print_what_the_readme_says() {
    let mut compared = 0;
    for (command, output) in commands() {
        if command == "cargo test --workspace" {
            // This very command; it is abbreviated in the README, and marked so.
            assert!(output.contains('…'));
            continue;
        }
        let here = command.replace("cargo run --quiet --", env!("CARGO_BIN_EXE_wardset"));
        let here = here.replace("cargo run --", env!("CARGO_BIN_EXE_wardset"));
        assert_ne!(here, command, "a command that isn't ours: {command}");
        let ran = Command::new("sh")
            .args(["-c", &here])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("WARDSET_CACHE_DIR", support::cache_folder())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            output,
            "{command}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        compared += 1;
    }
    assert!(compared >= 3, "{compared} commands compared");
}

#[test]
fn what_the_readme_names_is_there() {
    for link in README.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = link.split('#').next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "`{path}`");
    }
    for line in [
        "curl --cacert certs/dev/ca.pem -H 'Content-Type: application/json' --data @certs/dev/review.json https://localhost:8443/mutate",
        "cargo run --quiet -- serve\n",
    ] {
        assert!(README.contains(line), "{line}");
    }
}
