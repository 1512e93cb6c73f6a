//! `wardset policy new` and `build`: the projects of all languages, and errors. `cargo xtask languages` builds them.

use std::process::{Command, Output};

use crate::support;

/// Runs the program in a folder.
fn run(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(arguments)
        .current_dir(folder)
        .env("WARDSET_CACHE_DIR", support::cache_folder())
        .env_remove("WARDSET_LOG")
        .output()
        .unwrap()
}

/// Asserts that the command fails with exit code 2, and returns its error.
fn error(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn writes_a_project_in_each_language() {
    let folder = tempfile::tempdir().unwrap();
    for language in ["rust", "ts", "go", "python", "c", "zig"] {
        for (kind, name) in
            [("--mutating", format!("a-{language}")), ("--validating", format!("b-{language}"))]
        {
            let output = run(folder.path(), &["policy", "new", &name, "--lang", language, kind]);
            assert!(output.status.success(), "{output:?}");
            assert!(String::from_utf8(output.stdout).unwrap().contains("wardset policy build"));
            let project = wardset_authoring::Project::read(&folder.path().join(&name)).unwrap();
            assert_eq!((project.name.as_str(), project.language.word()), (name.as_str(), language));
        }
    }
}

#[test]
fn a_project_of_cel_passes_its_tests_as_generated() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["policy", "new", "rules", "--lang", "cel"]);
    assert!(output.status.success(), "{output:?}");
    let output = run(&folder.path().join("rules"), &["policy", "test"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn wrong_input_has_an_error_that_names_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let unknown = error(at, &["policy", "new", "a", "--lang", "cobol"]);
    assert!(unknown.contains("zig") && unknown.contains("found `cobol`"), "{unknown}");
    assert!(error(at, &["policy", "new", "Team_Label", "--lang", "c"]).contains("found `Team_Label`"));
    std::fs::create_dir(at.join("full")).unwrap();
    std::fs::write(at.join("full/notes"), "").unwrap();
    let full = error(at, &["policy", "new", "full", "--lang", "c"]);
    assert!(full.contains("full") && full.contains("notes"), "{full}");
    std::fs::write(at.join("file"), "").unwrap();
    let folder_is_a_file = error(at, &["policy", "new", "b", "--lang", "c", "--folder", "file"]);
    assert!(folder_is_a_file.contains("Not a directory"), "{folder_is_a_file}");
    let no_project = error(at, &["policy", "build"]);
    assert!(no_project.contains("wardset.yaml") && no_project.contains("hint:"), "{no_project}");
}

#[test]
fn tests_of_a_project_need_its_module() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["policy", "new", "a", "--lang", "c"]).status.success());
    let error = error(&folder.path().join("a"), &["policy", "test"]);
    assert!(
        error.contains("the module `a.wasm` does not exist; hint: run `wardset policy build` first"),
        "{error}"
    );
}
