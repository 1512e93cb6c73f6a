//! Compares the packages for npm and PyPI in `packages/` with the templates, the contract and each other. `BLESS=1`
//! rewrites the generated files. `cargo xtask packages` compares the types for Python, which need their own tool.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wardset_authoring::{CONTRACT, Language, PolicyKind, files};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packages")
}

/// Compares a file with the text that is generated for it.
fn check(path: &str, text: &str) {
    let file = folder().join(path);
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "packages/{path} is stale: run the test with BLESS=1");
}

/// Returns a file of a new project.
fn of_project(language: Language, path: &str) -> String {
    files("team-label", language, PolicyKind::Mutating).unwrap().remove(path).unwrap()
}

#[test]
fn the_package_for_npm_has_the_types_and_helpers_of_new_projects() {
    check("npm/contract.d.ts", &of_project(Language::Ts, "types/wardset.d.ts"));
    let helpers = of_project(Language::Ts, "src/wardset.ts");
    // `preserve`: the compiler drops other references from the types that it writes.
    let reference = "/// <reference path=\"../contract.d.ts\" preserve=\"true\" />\n\n";
    check("npm/src/index.ts", &(reference.to_owned() + &helpers));
}

#[test]
fn the_package_for_pypi_has_the_helper_of_new_projects() {
    let package = fs::read_to_string(folder().join("pypi/wardset_policy_sdk/__init__.py")).unwrap();
    let (_, helper) = package.split_once("\n\ndef read(").unwrap();
    let project = of_project(Language::Python, "app.py");
    assert!(project.contains(&format!("\n\ndef read({helper}")), "copy `read` from the template:\n{helper}");
}

#[test]
fn both_packages_have_the_contract() {
    for path in ["npm/wit/policy.wit", "pypi/wardset_policy_sdk/policy.wit"] {
        check(path, CONTRACT);
    }
}

#[test]
fn the_three_packages_have_the_same_name_version_and_licence() {
    let npm = fs::read_to_string(folder().join("npm/package.json")).unwrap();
    let npm: Value = serde_json::from_str(&npm).unwrap();
    let pypi = fs::read_to_string(folder().join("pypi/pyproject.toml")).unwrap();
    let sdk = folder().join("../../../policies/sdk/Cargo.toml");
    let sdk = fs::read_to_string(sdk).unwrap();

    let (name, version, license) = (&npm["name"], &npm["version"], &npm["license"]);
    assert_eq!((name, version), (&"wardset-policy-sdk".into(), &env!("CARGO_PKG_VERSION").into()));
    for line in [format!("name = {name}"), format!("version = {version}"), format!("license = {license}")] {
        assert!(pypi.lines().any(|found| found == line), "pyproject.toml: {line}");
    }
    let line = format!("name = {name}");
    assert!(sdk.lines().any(|found| found == line), "policies/sdk/Cargo.toml: {line}");
    // The SDK inherits these.
    let workspace = fs::read_to_string(folder().join("../../../policies/Cargo.toml")).unwrap();
    for line in [format!("version = {version}"), format!("license = {license}")] {
        assert!(workspace.lines().any(|found| found == line), "policies/Cargo.toml: {line}");
    }
}

#[test]
fn the_package_for_npm_needs_the_compiler_of_new_projects() {
    let npm = fs::read_to_string(folder().join("npm/package.json")).unwrap();
    let compiler = |text: &str| {
        let package: Value = serde_json::from_str(text).unwrap();
        package["devDependencies"]["typescript"].clone()
    };
    assert_eq!(compiler(&npm), compiler(&of_project(Language::Ts, "package.json")));
}
