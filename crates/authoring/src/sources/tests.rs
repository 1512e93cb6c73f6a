use super::*;
use crate::{PolicyKind, create};

/// A new project, and a module that a build has written and recorded.
fn built(language: Language) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "a", language, PolicyKind::Mutating).unwrap();
    let project = Project::read(folder.path()).unwrap();
    let sources = digests(folder.path(), &project).unwrap();
    fs::write(folder.path().join("a.wasm"), "module").unwrap();
    record(folder.path(), &project, b"module", &sources);
    (folder, project)
}

/// The languages with a build.
fn languages() -> impl Iterator<Item = Language> {
    Language::ALL.into_iter().filter(|language| *language != Language::Cel)
}

fn changes(folder: &Path) -> Vec<(String, SourceChange)> {
    let found = changed_sources(folder).into_iter();
    found.map(|found| (found.path.display().to_string(), found.change)).collect()
}

#[test]
fn a_change_of_a_source_is_found_in_each_language() {
    for language in languages() {
        let (folder, _) = built(language);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(changes(folder.path()), [], "{language}");
        for name in [language.source(), "settings.schema.json"] {
            let before = fs::read(at(name)).unwrap();
            fs::write(at(name), "new").unwrap();
            let expected = [(name.to_owned(), SourceChange::Changed)];
            assert_eq!(changes(folder.path()), expected, "{language}");
            fs::write(at(name), before).unwrap();
            assert_eq!(changes(folder.path()), [], "{language}: the same content again");
        }
        fs::remove_file(at(language.source())).unwrap();
        assert_eq!(changes(folder.path()), [(language.source().to_owned(), SourceChange::Removed)]);
    }
    let (folder, _) = built(Language::C);
    fs::write(folder.path().join("src/more.c"), "").unwrap();
    assert_eq!(changes(folder.path()), [("src/more.c".to_owned(), SourceChange::Added)]);
}

#[test]
fn other_files_of_a_project_are_no_sources() {
    for language in languages() {
        let (folder, _) = built(language);
        for name in [
            ".git/index",
            ".venv/lib/x.py",
            "Cargo.lock",
            "README.md",
            "build/policy.js",
            "build/x.c",
            "cases/new.yaml",
            "daemonset.yaml",
            "gen/x.py",
            "go.sum",
            "golden/stored.yaml",
            "node_modules/x/index.js",
            "package-lock.json",
            "policy.yaml",
            "src/.policy.ts.swp",
            "src/__pycache__/app.pyc",
            "src/policy.c~",
            "target/debug/build/x/out/x.rs",
            "wardset.yaml~",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "new").unwrap();
        }
        assert_eq!(changes(folder.path()), [], "{language}");
    }
    for (language, path) in [(Language::Rust, "tests/cases.rs"), (Language::Go, "policy_test.go")] {
        assert!(!is_source(language, path), "{path}");
    }
}

#[test]
fn without_a_record_of_the_module_there_is_no_answer() {
    let change = |folder: &Path| fs::write(folder.join("src/policy.c"), "new").unwrap();
    // A module from elsewhere, such as an older revision of a repository.
    let (folder, _) = built(Language::C);
    change(folder.path());
    fs::write(folder.path().join("a.wasm"), "another").unwrap();
    assert_eq!(changes(folder.path()), []);
    fs::remove_file(folder.path().join("a.wasm")).unwrap();
    assert_eq!(changes(folder.path()), []);

    let record = |folder: &Path| folder.join(FOLDER).join(RECORD);
    for text in ["", "x", "abc  a.wasm\n"] {
        let (folder, _) = built(Language::C);
        change(folder.path());
        fs::write(record(folder.path()), text).unwrap();
        assert_eq!(changes(folder.path()), [], "{text:?}");
    }
    let (folder, _) = built(Language::C);
    change(folder.path());
    fs::remove_file(record(folder.path())).unwrap();
    assert_eq!(changes(folder.path()), []);
    assert_eq!(changes(tempfile::tempdir().unwrap().path()), []);
}

#[test]
fn git_ignores_the_record() {
    let (folder, _) = built(Language::C);
    assert_eq!(fs::read_to_string(folder.path().join(".wardset/.gitignore")).unwrap(), "*\n");
}

#[cfg(unix)]
#[test]
fn the_record_is_not_written_through_a_link() {
    for link in [FOLDER.to_owned(), format!("{FOLDER}/{RECORD}")] {
        let (folder, project) = built(Language::C);
        let outside = tempfile::tempdir().unwrap();
        fs::remove_dir_all(folder.path().join(FOLDER)).unwrap();
        let link = folder.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x"), &link).unwrap();
        fs::create_dir(outside.path().join("x")).unwrap();
        record(folder.path(), &project, b"module", &SourceDigests::new());
        assert_eq!(fs::read_dir(outside.path().join("x")).unwrap().count(), 0, "{}", link.display());
    }
}
