//! Checks the crate graph: placement and expression ← core ← runtime ← edges; the policies share the first two.

use std::process::Command;

use serde_json::Value;

/// Returns the names of the direct dependencies of `package`, which is in the root's workspace.
fn dependencies(package: &str) -> Vec<String> {
    dependencies_in(".", package)
}

/// Returns the names of the direct dependencies of `package`, which is in the workspace in `folder`.
fn dependencies_in(folder: &str, package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|found| found["name"] == package).unwrap();
    let normal =
        package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
    normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn core_depends_only_on_allowed_crates() {
    let allowed = [
        "base64",
        "jsonptr",
        "schemars",
        "serde",
        "serde_json",
        "strsim",
        "thiserror",
        "wardset-expression",
        "wardset-placement",
    ];
    for dependency in dependencies("wardset-core") {
        assert!(allowed.contains(&dependency.as_str()), "wardset-core must not depend on `{dependency}`");
    }
}

#[test]
fn the_crates_that_policies_share_depend_on_readers_alone() {
    assert_eq!(dependencies("wardset-placement"), ["serde"]);
    assert_eq!(dependencies("wardset-expression"), ["cel", "regex-lite", "serde", "serde_json"]);
    assert_eq!(dependencies("wardset-cases"), ["serde", "serde_json"]);
}

/// The conditions of policies and the rules of the module `cel` are evaluated by one crate.
#[test]
fn only_the_crate_of_expressions_knows_the_library() {
    for package in ["wardset-core", "wardset-runtime", "wardset"] {
        assert!(!dependencies(package).contains(&"cel".to_owned()), "{package} must not depend on `cel`");
    }
    let link = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/cel/src/expression");
    assert_eq!(std::fs::read_link(link).unwrap(), std::path::Path::new("../../../crates/expression/src"));
}

#[test]
fn the_policies_depend_on_no_crate_of_the_host() {
    let sdk = dependencies_in("policies", "wardset-policy-sdk");
    assert!(!sdk.iter().any(|dependency| dependency.starts_with("wardset")), "{sdk:?}");
}

#[test]
fn authoring_depends_on_no_crate_of_the_host() {
    let authoring = dependencies("wardset-authoring");
    let of_host = |name: &&String| name.starts_with("wardset") || name.starts_with("wasmtime");
    assert_eq!(authoring.iter().filter(of_host).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn only_the_runtime_depends_on_wasmtime_and_on_no_edge() {
    let runtime = dependencies("wardset-runtime");
    assert!(runtime.contains(&"wasmtime".to_owned()));
    for edge in ["wardset", "axum", "axum-server", "clap", "kube", "rustls", "libyaml-safer"] {
        assert!(!runtime.contains(&edge.to_owned()), "wardset-runtime must not depend on `{edge}`");
    }
    let edges = dependencies("wardset");
    assert!(!edges.iter().any(|dependency| dependency.starts_with("wasm")), "{edges:?}");
}

#[test]
fn the_pure_crates_use_no_clock_io_or_threads_of_std() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut folders = ["core/src", "expression/src", "placement/src", "signatures/src"]
        .map(|folder| crates.join(folder))
        .to_vec();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for outside in [
                "std::fs",
                "std::env",
                "std::net",
                "std::thread",
                "std::process",
                "Instant",
                "SystemTime",
                "async fn",
            ] {
                assert!(!text.contains(outside), "{} uses `{outside}`", path.display());
            }
        }
    }
    assert!(seen > 25, "expected more than 25 files, found {seen}");
}
