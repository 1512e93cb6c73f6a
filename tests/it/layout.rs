//! Checks the layout of the sources: no circles of imports, and a map that names every module.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates of the product, as folders of sources.
const CRATES: [&str; 9] = [
    "crates/authoring/src",
    "crates/cases/src",
    "crates/expression/src",
    "crates/placement/src",
    "crates/core/src",
    "crates/port/src",
    "crates/signatures/src",
    "crates/runtime/src",
    "src",
];

/// All crates whose files must not import each other in circles.
const WITHOUT_CIRCLES: [&str; 11] = [
    "crates/authoring/src",
    "crates/cases/src",
    "crates/expression/src",
    "crates/placement/src",
    "crates/core/src",
    "crates/port/src",
    "crates/signatures/src",
    "crates/runtime/src",
    "src",
    "benches/src",
    "xtask/src",
];

/// A module's path within its crate; empty for the root.
type Module = Vec<String>;

/// Returns the modules of a crate with their sources, without tests and binaries.
fn modules(sources: &str) -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let mut modules = BTreeMap::<Module, String>::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let relative = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Module =
                    relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                match module.last().map(String::as_str) {
                    Some("tests") => continue,
                    Some("lib" | "main" | "mod") => drop(module.pop()),
                    _ => {}
                }
                // A package with `lib.rs` and `main.rs` has two roots.
                modules
                    .entry(module)
                    .or_default()
                    .push_str(&without_tests(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    modules
}

/// Drops comments, and the tests at the end of a file.
fn without_tests(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// Returns the paths that begin with `crate` or `super` in a module's code, with nested imports written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for keyword in ["crate::", "super::"] {
        for (at, _) in code.match_indices(keyword) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':') {
                expand(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads one path, such as `crate::a::{b, c::d}`, and returns the rest of the text.
fn expand<'t>(text: &'t str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'t str {
    let mut path = prefix.to_vec();
    let mut text = text.trim_start();
    loop {
        if let Some(mut list) = text.strip_prefix('{') {
            loop {
                list = list.trim_start();
                if let Some(rest) = list.strip_prefix('}') {
                    return rest;
                }
                let rest = expand(list, &path, found).trim_start();
                // An alias (`as x`) belongs to the item before it.
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                list = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
                if list.is_empty() {
                    return list;
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        path.push(text[..end].to_owned());
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
                text = rest
            }
            _ => {
                found.push(path);
                return text;
            }
        }
    }
}

/// Returns the modules that a module imports. A parent and its children belong together, so they do not count.
fn imports(module: &Module, code: &str, all: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut imports = BTreeSet::new();
    for path in paths(code) {
        let mut base = if path[0] == "crate" { Vec::new() } else { module.clone() };
        for part in &path {
            match part.as_str() {
                "crate" => {}
                "super" => drop(base.pop()),
                part => base.push(part.to_owned()),
            }
        }
        let target = (0..=base.len()).rev().map(|end| &base[..end]).find(|found| all.contains_key(*found));
        let target = target.unwrap().to_vec();
        if !target.starts_with(module) && !module.starts_with(&target) {
            imports.insert(target);
        }
    }
    imports
}

/// Returns the modules that lie on a circle: those left after modules without imports, or without importers, are removed
/// again and again.
fn circle(mut graph: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    loop {
        let imported: BTreeSet<Module> = graph.values().flatten().cloned().collect();
        let ends: Vec<Module> = graph
            .iter()
            .filter(|(module, imports)| {
                !imported.contains(*module) || imports.iter().all(|import| !graph.contains_key(import))
            })
            .map(|(module, _)| module.clone())
            .collect();
        if ends.is_empty() {
            return graph.into_keys().map(|module| module.join("::")).collect();
        }
        graph.retain(|module, _| !ends.contains(module));
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    for sources in WITHOUT_CIRCLES {
        let modules = modules(sources);
        let graph = modules.iter().map(|(module, code)| (module.clone(), imports(module, code, &modules)));
        let circle = circle(graph.collect());
        assert!(circle.is_empty(), "{sources}: these modules import each other in a circle: {circle:?}");
    }
}

#[test]
fn finds_a_circle_through_nested_imports() {
    let all: BTreeMap<Module, String> = [
        (vec!["a".to_owned()], "use crate::{\n    b::{self, B as C},\n};"),
        (vec!["b".to_owned()], "fn f() { super::c::g() }"),
        (vec!["c".to_owned()], "use crate::a::A;"),
        (vec!["d".to_owned()], "use crate::a::A;"),
    ]
    .map(|(module, code)| (module, code.to_owned()))
    .into();
    let graph = all.iter().map(|(module, code)| (module.clone(), imports(module, code, &all)));
    assert_eq!(circle(graph.collect()), ["a", "b", "c"]);
}

#[test]
fn the_map_names_every_module() {
    let map = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md")).unwrap();
    for sources in CRATES {
        let heading = format!("\n`{sources}`:\n");
        let table = map.split(&heading).nth(1).unwrap().trim_start().split("\n\n").next().unwrap();
        for module in modules(sources).into_keys().filter(|module| !module.is_empty()) {
            // The row of the room names its modules, each by its own name.
            let row = table.lines().find(|row| row.starts_with(&format!("| `{}` |", module[0])));
            let row = row.unwrap_or_else(|| panic!("the map of {sources} lacks a row for `{}`", module[0]));
            let name = format!("`{}`", module.last().unwrap());
            assert!(row.contains(&name), "the row of `{}` does not name {name}: {module:?}", module[0]);
        }
    }
}

/// Returns the names of the types that other files can use, from a file's code.
fn types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let visible = line.strip_prefix("pub")?;
        let item = visible
            .strip_prefix('(')
            .map_or(visible, |rest| rest.split_once(')').map_or("", |(_, item)| item));
        let (keyword, name) = item.trim_start().split_once(' ')?;
        let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
        ["enum", "struct", "trait", "type", "union"].contains(&keyword).then(|| &name[..end])
    })
}

#[test]
fn no_two_types_have_the_same_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for sources in CRATES {
        for (module, code) in modules(sources) {
            for name in types(&code) {
                places.entry(name.to_owned()).or_default().push(format!("{sources}: {}", module.join("::")));
            }
        }
    }
    assert!(places.len() > 200, "found only {} types", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "rename all but one of each: {places:#?}");
}

#[test]
fn finds_the_types_that_other_files_can_use() {
    let code = "pub struct A<T>(T);\npub(crate) enum B {\nstruct Private;\npub fn f() {}\npub(in crate::a) type C = u8;";
    assert_eq!(types(code).collect::<Vec<_>>(), ["A", "B", "C"]);
}
