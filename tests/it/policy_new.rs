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

/// Writes the record that a build writes: digests in the form of `sha256sum`.
fn record_build(project: &std::path::Path, files: &[&str]) {
    let line = |file: &&str| {
        let digest = wardset_runtime::Module::digest_of(&std::fs::read(project.join(file)).unwrap());
        format!("{digest}  {file}\n")
    };
    std::fs::create_dir_all(project.join(".wardset")).unwrap();
    std::fs::write(project.join(".wardset/build.sha256"), files.iter().map(line).collect::<String>())
        .unwrap();
}

#[test]
fn tests_warn_about_a_module_that_is_older_than_its_sources() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["policy", "new", "a", "--lang", "python"]).status.success());
    let project = folder.path().join("a");
    let module = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/built/default-labels.wasm");
    std::fs::copy(module, project.join("a.wasm")).unwrap();
    std::fs::remove_dir_all(project.join("cases")).unwrap();
    std::fs::create_dir(project.join("cases")).unwrap();
    let case = r#"{"name": "a", "settings": {"labels": {"x": "y"}}, "object": {"metadata": {"name": "a"}},
        "expect": {"changes": [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]}}"#;
    std::fs::write(project.join("cases/a.yaml"), case).unwrap();
    let errors = |folder: &std::path::Path, arguments: &[&str]| {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let test = ["policy", "test"];
    // Nothing is known about a module that no build has recorded.
    assert_eq!(errors(&project, &test), "");
    record_build(&project, &["a.wasm", "app.py", "settings.schema.json", "wit/policy.wit"]);
    assert_eq!(errors(&project, &test), "");
    let source = std::fs::read_to_string(project.join("app.py")).unwrap();
    std::fs::write(project.join("app.py"), &source).unwrap();
    assert_eq!(errors(&project, &test), "", "a file that is written again without a change");

    std::fs::write(project.join("app.py"), source.clone() + "\n").unwrap();
    let warning = "warning: `app.py` changed after the module `a.wasm` was built, so these are the results of the older \
                   sources; hint: run `wardset policy build`\n";
    assert_eq!(errors(&project, &test), warning);
    assert_eq!(errors(&project, &["policy", "test", "--module", "file:a.wasm", "-o", "json"]), warning);
    assert_eq!(errors(&project, &["policy", "bench", "--time", "0.1"]), warning);
    let elsewhere = errors(folder.path(), &["policy", "test", "--module", "file:a/a.wasm", "a/cases"]);
    assert!(elsewhere.starts_with("warning: `a/app.py` changed after the module `a/a.wasm`"), "{elsewhere}");
    assert!(elsewhere.ends_with("hint: run `wardset policy build a`\n"), "{elsewhere}");
    std::fs::write(project.join("more.py"), "").unwrap();
    let both = errors(&project, &test);
    assert!(both.starts_with("warning: `app.py` and 1 other source changed after"), "{both}");
    // The build did not write this module.
    std::fs::write(project.join("app.py"), source).unwrap();
    std::fs::copy(project.join("a.wasm"), folder.path().join("other.wasm")).unwrap();
    assert_eq!(errors(&project, &["policy", "test", "--module", "file:../other.wasm"]), "");
}
