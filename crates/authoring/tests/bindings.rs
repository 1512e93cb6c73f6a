//! Compares the bindings in `bindings/` with the output of their generators. `BLESS=1` rewrites them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

/// Runs a generator on the contract and returns its files.
fn generate(mut generator: Box<dyn WorldGenerator>) -> BTreeMap<String, String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", wardset_authoring::CONTRACT).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    files.iter().map(|(name, bytes)| (name.to_owned(), text(bytes))).collect()
}

/// Compares the files in a folder with those of a generator.
fn check(language: &str, generated: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings").join(language);
    if env::var_os("BLESS").is_some() {
        fs::remove_dir_all(&folder).unwrap();
        for (name, text) in generated {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let committed: BTreeMap<String, String> = files(&folder)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(generated), "run the test with BLESS=1");
    for (name, text) in generated {
        assert!(committed[name] == *text, "bindings/{language}/{name} is stale: run the test with BLESS=1");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_c_bindings_are_current() {
    // No object file: the build embeds the contract itself.
    let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    check("c", &generate(options.build()));
}

#[test]
fn the_go_bindings_are_current() {
    let options = wit_bindgen_go::Opts {
        // The test must not depend on an installed Go.
        format: wit_bindgen_go::Format::False,
        pkg_name: Some("policy/internal/wardset".to_owned()),
        ..Default::default()
    };
    check("go", &generate(options.build()));
}
