//! The notice: each crate with its licence, then each text of a licence once, with the crates that it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::graph::{Crate, Graph, Id};

/// Returns the notice of the program.
///
/// # Errors
/// A crate has no licence text, or the system refuses a file.
pub(crate) fn write(graph: &Graph) -> Result<String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, one) in graph.foreign() {
        for text in texts_of(id, one)? {
            texts.entry(text).or_default().insert(id.to_string());
        }
    }
    texts.entry(tidy(MUSL)).or_default().insert("musl, the C library of static programs".into());
    let mut notice = format!(
        "Software of other authors in Wardset {}\n\n\
         The program and its built-in modules contain the crates below. Texts of their licences follow.\n\
         The licences of Rust's standard library are in a file of their own, {}.\n\n",
        env!("CARGO_PKG_VERSION"),
        super::RUST,
    );
    for (id, one) in graph.foreign() {
        let licence = one.licence.as_deref().unwrap_or("see its text");
        let source =
            one.repository.clone().unwrap_or_else(|| format!("https://crates.io/crates/{}", id.name));
        // Writing to a String cannot fail.
        let _ = writeln!(notice, "{id}  {licence}  {source}");
    }
    // In the order of the crates, so that one new crate moves no other text.
    let mut texts: Vec<(BTreeSet<String>, String)> =
        texts.into_iter().map(|(text, users)| (users, text)).collect();
    texts.sort();
    for (users, text) in &texts {
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let _ = write!(notice, "\n{RULE}\n{}\n{RULE}\n\n{text}", users.join(", "));
    }
    Ok(notice)
}

/// Returns the texts of a crate's licences and notices: its files, or else the text that is known for it.
fn texts_of(id: &Id, one: &Crate) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    collect(&one.folder, &mut paths)?;
    paths.sort();
    // A text deep in a crate is for code of others that the crate contains, and says nothing about the crate.
    let has_own = paths.iter().any(|path| path.parent() == Some(&one.folder));
    let mut texts = Vec::new();
    if !has_own {
        let Some(text) = known_text(id, one) else {
            bail!(
                "expected the text of the licence `{}` in the crate `{id}`, found no file such as `LICENSE`\n\
                 hint: add the text from its repository ({}) to `xtask/licences`, and a line to `KNOWN` in \
                 `xtask/src/dependencies/notice.rs`",
                one.licence.as_deref().unwrap_or("unknown"),
                one.repository.as_deref().unwrap_or("unknown"),
            );
        };
        texts.push(tidy(text));
    }
    for path in paths {
        let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        texts.push(tidy(&String::from_utf8_lossy(&bytes)));
    }
    Ok(texts)
}

/// Returns the text for a crate without files: its own one, or that of a licence whose text is the same for everybody.
fn known_text(id: &Id, one: &Crate) -> Option<&'static str> {
    let own = KNOWN.iter().find(|(name, _)| *name == id.name);
    let standard = || {
        let choices: Vec<&str> = one.licence.as_deref()?.split(" OR ").collect();
        STANDARD.iter().find(|(licence, _)| choices.contains(licence))
    };
    own.or_else(standard).map(|(_, text)| *text)
}

/// Adds the files with licences and notices in a folder and below.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("failed to list `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let kind = entry.file_type().with_context(context)?;
        if kind.is_dir() {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() && is_licence(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// Tells whether a file has a name such as `LICENSE-MIT`, `COPYING` or `NOTICE.txt`, and is no source.
fn is_licence(name: &str) -> bool {
    let name = name.to_lowercase();
    let begins = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
    let sources = [".rs", ".c", ".h", ".go", ".py", ".js", ".html"];
    let named = begins.iter().filter_map(|begin| name.strip_prefix(begin));
    named.into_iter().any(|rest| rest.is_empty() || rest.starts_with(['-', '.', '_']))
        && !sources.iter().any(|end| name.ends_with(end))
}

/// Drops differences that nobody sees, so that equal texts are one.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned() + "\n"
}

/// Texts of crates that lack their own file, from their repositories.
const KNOWN: [(&str, &str); 1] = [
    // https://github.com/cel-rust/cel-rust, as of 0.15.0
    ("cel", include_str!("../../licences/cel.txt")),
];

/// Texts of licences that name no holder of rights, by their SPDX expression.
const STANDARD: [(&str, &str); 2] = [
    ("Apache-2.0", include_str!("../../../LICENSE")),
    ("Apache-2.0 WITH LLVM-exception", include_str!("../../licences/Apache-2.0-WITH-LLVM-exception.txt")),
];

/// The licences of musl 1.2, from <https://musl.libc.org>.
const MUSL: &str = include_str!("../../licences/musl.txt");

/// Separates the texts.
const RULE: &str = "================================================================================";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        Id { name: name.into(), version: "1.0.0".into() }
    }

    /// A crate with these files.
    fn one(folder: &Path, name: &str, licence: &str, files: &[(&str, &str)]) -> (Id, Crate) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (licence, repository) = (Some(licence.to_owned()), Some(format!("https://example.com/{name}")));
        (id(name), Crate { licence, repository, folder, checksum: Some("00".into()), uses: BTreeSet::new() })
    }

    #[test]
    fn each_text_appears_once_with_its_crates() {
        let folder = tempfile::tempdir().unwrap();
        let crates = [
            one(
                folder.path(),
                "b",
                "MIT",
                &[("LICENSE-MIT", "Text of two.  \r\n"), ("src/notice.rs", "fn main() {}")],
            ),
            one(
                folder.path(),
                "a",
                "MIT",
                &[("LICENSE", "Text of two.\n"), ("vendor/COPYING", "Text inside.\n")],
            ),
        ];
        let notice = write(&Graph::with(crates)).unwrap();
        assert!(
            notice.contains("\na 1.0.0  MIT  https://example.com/a\nb 1.0.0  MIT  https://example.com/b\n")
        );
        assert!(notice.contains(&format!("\n{RULE}\na 1.0.0, b 1.0.0\n{RULE}\n\nText of two.\n")));
        assert!(notice.contains(&format!("\n{RULE}\na 1.0.0\n{RULE}\n\nText inside.\n")));
        assert!(!notice.contains("fn main() {}"));
    }

    #[test]
    fn names_the_crate_whose_text_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        // A text deep in the crate is not its own.
        let crates = [one(folder.path(), "bare", "MIT", &[("vendor/LICENSE", "Text.\n")])];
        let error = write(&Graph::with(crates)).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "expected the text of the licence `MIT` in the crate `bare 1.0.0`, found no file"
            ),
            "{error}"
        );
        assert!(
            error.contains("\nhint: add the text from its repository (https://example.com/bare) to"),
            "{error}"
        );
    }

    #[test]
    fn licences_without_a_holder_have_a_text_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for (licence, text) in [
            ("MIT OR Apache-2.0", "Apache License"),
            ("Apache-2.0 WITH LLVM-exception", "LLVM Exceptions to the Apache 2.0 License"),
        ] {
            let crates = [one(folder.path(), "bare", licence, &[])];
            assert!(write(&Graph::with(crates)).unwrap().contains(text), "{licence}");
        }
        // Both texts are needed.
        let crates = [one(folder.path(), "bare", "MIT AND Apache-2.0", &[])];
        assert!(write(&Graph::with(crates)).is_err());
    }
}
