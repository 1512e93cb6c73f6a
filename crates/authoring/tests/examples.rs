//! Compares `examples/languages` with new projects. `BLESS=1` rewrites the examples.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use wardset_authoring::{Language, PolicyKind, files};

fn folder(language: Language) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/languages").join(language.word())
}

/// Returns a new project; the SDK is that of the checkout.
fn example(language: Language) -> BTreeMap<String, String> {
    let files = files("workers-only", language, PolicyKind::Mutating).unwrap();
    files
        .into_iter()
        .filter(|(path, _)| !path.starts_with("vendor/"))
        .map(|(path, text)| match (language, path.as_str()) {
            (Language::Rust, "Cargo.toml") => {
                let text = text.replace(" Its sources are part of the project until it is on crates.io.", "");
                let text = text.replace("path = \"vendor/sdk\"", "path = \"../../../policies/sdk\"");
                (path, text.replace("[workspace]\nexclude = [\"vendor\"]\n", "[workspace]\n"))
            }
            (Language::Rust, "README.md") => {
                let text = text.replace("| `vendor/` | the Rust SDK, until it is on crates.io |\n", "");
                (path, text.replace("`vendor/sdk/wit/policy.wit`", "`../../../wit/policy.wit`"))
            }
            _ => (path, text),
        })
        .collect()
}

#[test]
fn each_example_is_a_new_project() {
    for language in Language::ALL.into_iter().filter(|language| *language != Language::Cel) {
        let (folder, files) = (folder(language), example(language));
        if env::var_os("BLESS").is_some() {
            for (path, text) in &files {
                let path = folder.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        for (path, text) in &files {
            let found = fs::read_to_string(folder.join(path)).unwrap_or_default();
            assert!(found == *text, "{} is stale: run the test with BLESS=1", folder.join(path).display());
        }
        for entry in fs::read_dir(folder.join("cases")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                files.contains_key(&format!("cases/{name}")),
                "{language}: a project does not have `{name}`"
            );
        }
    }
}
