use super::*;

/// Every language with every kind.
fn all() -> impl Iterator<Item = (Language, PolicyKind, BTreeMap<String, String>)> {
    Language::ALL.into_iter().flat_map(|language| {
        [PolicyKind::Mutating, PolicyKind::Validating].map(|kind| {
            let files = files("team-label", language, kind).unwrap();
            (language, kind, files)
        })
    })
}

#[test]
fn no_file_has_a_word_of_the_template_left() {
    for (language, kind, files) in all() {
        for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
            for word in [
                "{{name",
                "{{Name",
                "{{#",
                "{{/",
                "{{language",
                "{{setup",
                "{{source",
                "{{contract",
                "{{extra",
            ] {
                assert!(!text.contains(word), "{language} {kind:?} {path}: {word}");
            }
        }
    }
}

#[test]
fn each_project_has_what_the_build_and_the_runner_need() {
    for (language, kind, files) in all() {
        let cases = files.keys().filter(|path| path.starts_with("cases/")).count();
        assert!(cases >= 3, "{language} {kind:?}: {cases}");
        for path in ["README.md", "policy.yaml", "daemonset.yaml", language.source()] {
            assert!(files.contains_key(path), "{language} {kind:?}: {path}");
        }
        if language != Language::Cel {
            for path in ["wardset.yaml", "settings.schema.json", ".gitignore"] {
                assert!(files.contains_key(path), "{language} {kind:?}: {path}");
            }
            assert!(files.values().any(|text| text == CONTRACT), "{language} {kind:?}: the contract");
        }
    }
}

#[test]
fn the_readme_names_the_commands_for_authors() {
    for (language, kind, files) in all() {
        for command in ["build", "test", "dev", "bench"] {
            let named = files["README.md"].contains(&format!("\nwardset policy {command}"));
            assert_eq!(
                named,
                language != Language::Cel || command != "build",
                "{language} {kind:?}: {command}"
            );
        }
    }
}

#[test]
fn each_case_is_of_the_form_that_runners_read() {
    for (language, kind, files) in all() {
        for (path, text) in files.iter().filter(|(path, _)| path.starts_with("cases/")) {
            let cases: Vec<wardset_cases::Case> = serde_saphyr::from_multiple(text)
                .unwrap_or_else(|error| panic!("{language} {kind:?} {path}: {error}"));
            assert!(!cases.is_empty(), "{language} {kind:?} {path}");
            if kind == PolicyKind::Validating {
                assert!(cases.iter().all(|case| case.expect.changes.is_empty()), "{language} {path}");
            }
        }
    }
}

#[test]
fn the_manifest_of_a_validating_policy_writes_nothing() {
    for (language, kind, files) in all().filter(|(language, ..)| *language != Language::Cel) {
        let source = &files[language.source()];
        assert_eq!(
            source.contains("/spec/template/spec/affinity"),
            kind == PolicyKind::Mutating,
            "{language}"
        );
    }
}

/// The error of another exception has no stack.
#[test]
fn errors_of_typescript_have_the_stack_of_the_exception() {
    for kind in [PolicyKind::Mutating, PolicyKind::Validating] {
        let source = &files("team-label", Language::Ts, kind).unwrap()["src/policy.ts"];
        for export in ["evaluate", "validateSettings"] {
            let wrapped = format!("export const {export}: Policy[\"{export}\"] = catching((");
            assert!(source.contains(&wrapped), "{kind:?}: {export}");
        }
    }
}

#[test]
fn the_vendored_sdk_is_whole_and_finds_the_contract() {
    let files = files("team-label", Language::Rust, PolicyKind::Mutating).unwrap();
    for path in [
        "vendor/Cargo.toml",
        "vendor/sdk/Cargo.toml",
        "vendor/sdk/src/placement/lib.rs",
        "vendor/sdk/src/cases/lib.rs",
    ] {
        assert!(files.contains_key(path), "{path}");
    }
    assert!(files["vendor/sdk/src/wit.rs"].contains("path: \"wit\""));
    assert_eq!(files["vendor/sdk/wit/policy.wit"], CONTRACT);
    assert!(files["README.md"].contains("| `vendor/sdk/wit/policy.wit` | the contract"));
    assert!(!files["vendor/sdk/Cargo.toml"].contains("path = "));
    let workspace = &files["vendor/Cargo.toml"];
    assert!(workspace.contains("\n[workspace]\nmembers = [\"sdk\"]\n"), "{workspace}");
    assert!(workspace.contains("[workspace.dependencies]") && !workspace.contains("[profile"), "{workspace}");
}

#[test]
fn writes_the_files_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("team-label");
    let written = create(&project, "team-label", Language::C, PolicyKind::Validating).unwrap();
    assert!(written.contains(&PathBuf::from("src/policy.c")));
    for path in &written {
        assert!(project.join(path).is_file(), "{}", path.display());
    }
    let read = crate::Project::read(&project).unwrap();
    assert_eq!((read.language, read.name.as_str()), (Language::C, "team-label"));
}

#[test]
fn an_empty_folder_and_a_fresh_repository_are_fine() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".git")).unwrap();
    create(folder.path(), "a", Language::Cel, PolicyKind::Mutating).unwrap();
    assert!(folder.path().join("policy.yaml").is_file());
}

#[test]
fn never_overwrites_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = create(folder.path(), "a", Language::Go, PolicyKind::Mutating).unwrap_err().to_string();
    assert!(error.contains("found `notes.txt` in it") && error.contains("hint: "), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn refuses_names_that_a_language_cannot_have() {
    for (name, language) in
        [("Team", Language::Go), ("a/../b", Language::C), ("", Language::Ts), ("serde", Language::Rust)]
    {
        let error = files(name, language, PolicyKind::Mutating).unwrap_err().to_string();
        assert!(error.contains(&format!("found `{name}`")) && error.contains("hint: "), "{error}");
    }
    assert!(files("serde", Language::C, PolicyKind::Mutating).is_ok());
}

#[test]
fn typescript_reads_a_missing_value_as_null_or_undefined() {
    // QuickJS gives null, and StarlingMonkey gives undefined. Only `wardset.ts` talks to the contract.
    for kind in [PolicyKind::Mutating, PolicyKind::Validating] {
        let files = files("team-label", Language::Ts, kind).unwrap();
        assert!(files["src/wardset.ts"].contains("text == null ? undefined"));
        assert!(!files["src/policy.ts"].contains("document"), "{kind:?}");
    }
}

#[test]
fn c_and_zig_compile_as_the_adapter_and_the_build_expect() {
    for language in [Language::C, Language::Zig] {
        let files = files("team-label", language, PolicyKind::Mutating).unwrap();
        // The build embeds the contract, so an empty function stands for the generators' object file.
        assert!(files["bindings/policy.c"].contains("__component_type_object_force_link_policy"));
        assert!(
            files["bindings/component_type.c"].contains("__component_type_object_force_link_policy(void) {}")
        );
        assert!(files["requirements.txt"].starts_with("ziglang=="), "{language}");
    }
}

#[test]
fn versions_of_tools_are_exact() {
    let ts = &files("a", Language::Ts, PolicyKind::Mutating).unwrap()["package.json"];
    for tool in ["componentize-qjs", "esbuild", "typescript"] {
        let version = ts.split(&format!("\"{tool}\": \"")).nth(1).unwrap();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{tool}");
    }
    let python = &files("a", Language::Python, PolicyKind::Mutating).unwrap()["requirements.txt"];
    assert!(python.contains("componentize-py=="));
    let go = files("a", Language::Go, PolicyKind::Mutating).unwrap();
    let required = go["go.mod"].split("require ").nth(1).unwrap().trim();
    assert!(go["go.sum"].contains(&format!("{required} h1:")), "{required}");
}

#[test]
fn git_ignores_all_that_a_build_writes() {
    for (language, kind, files) in all().filter(|(language, ..)| *language != Language::Cel) {
        let ignored: Vec<&str> = files[".gitignore"].lines().collect();
        assert!(ignored.contains(&"/*.wasm"), "{language} {kind:?}");
        let work = if language == Language::Rust { "/target" } else { "/build" };
        assert!(ignored.contains(&work), "{language} {kind:?}");
    }
}
