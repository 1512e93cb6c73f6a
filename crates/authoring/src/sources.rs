//! The sources of a project as the last build read them, to notice a module that is older than its sources.
//!
//! Times of files don't tell this: a checkout gives all files the same time, or any order. So each build records
//! the digests of its module and sources in `.wardset/build.sha256`, in the form of the tool `sha256sum`. The record
//! counts only for the module that the build wrote. For any other module, there is no answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest as _, Sha256};

use crate::{Language, Project};

/// Folder of the record, within the project. Its own `.gitignore` excludes it from Git.
const FOLDER: &str = ".wardset";

/// The record, within the folder.
const RECORD: &str = "build.sha256";

/// Entries of the project's folder that builds and installers make, and the cases, which no build reads.
const NOT_READ: [&str; 5] = ["build", "cases", "gen", "node_modules", "target"];

/// A source that is not as the last build read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedSource {
    /// The path within the project.
    pub path: PathBuf,
    /// The change since the build.
    pub change: SourceChange,
}

/// The change of a source since the last build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChange {
    /// The file has other content.
    Changed,
    /// The file is new.
    Added,
    /// The file is missing.
    Removed,
}

/// Returns the sources that differ from those of the last build, sorted by path. The list is empty if no build has
/// recorded its sources, or if something else wrote the module.
#[must_use]
pub fn changed_sources(folder: &Path) -> Vec<ChangedSource> {
    compare(folder).unwrap_or_default()
}

/// Returns the differences; `None` without a record of the module.
fn compare(folder: &Path) -> Option<Vec<ChangedSource>> {
    let project = Project::read(folder).ok()?;
    let record = fs::read_to_string(folder.join(FOLDER).join(RECORD)).ok()?;
    let mut built = parse(&record)?;
    let module = built.remove(project.output.to_str()?)?;
    if module != hex(&fs::read(folder.join(&project.output)).ok()?) {
        return None;
    }
    let now = digests(folder, &project).ok()?;
    let changed = |(path, digest): (&String, &String)| {
        let change = match built.get(path) {
            Some(before) if before == digest => return None,
            Some(_) => SourceChange::Changed,
            None => SourceChange::Added,
        };
        Some(ChangedSource { path: path.into(), change })
    };
    let mut found: Vec<_> = now.iter().filter_map(changed).collect();
    let removed = built.keys().filter(|path| !now.contains_key(*path));
    found.extend(removed.map(|path| ChangedSource { path: path.into(), change: SourceChange::Removed }));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Some(found)
}

/// The digests of sources by their paths within the project, with `/` between the parts.
pub(crate) type SourceDigests = BTreeMap<String, String>;

/// Returns the digests of the project's sources.
///
/// # Errors
///
/// A file or folder that cannot be read.
pub(crate) fn digests(folder: &Path, project: &Project) -> io::Result<SourceDigests> {
    let mut digests = SourceDigests::new();
    add(folder, "", project, &mut digests)?;
    Ok(digests)
}

fn add(root: &Path, inside: &str, project: &Project, digests: &mut SourceDigests) -> io::Result<()> {
    for entry in fs::read_dir(root.join(inside))? {
        let entry = entry?;
        let name = entry.file_name();
        // Tools and editors write files with such names. No source of a template has one.
        let Some(name) = name.to_str().filter(|name| !name.starts_with(['.', '#']) && !name.ends_with('~'))
        else {
            continue;
        };
        let is_skipped = (inside.is_empty() && NOT_READ.contains(&name)) || name == "__pycache__";
        if is_skipped || name.contains(['\n', '\r']) {
            continue;
        }
        let path = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
        // A link to a folder could lead to its own parent.
        if entry.file_type()?.is_dir() {
            add(root, &path, project, digests)?;
        } else if is_source(project.language, &path) && root.join(&path).is_file() {
            digests.insert(path.clone(), hex(&fs::read(root.join(&path))?));
        }
    }
    Ok(())
}

/// Returns whether a build of this language may read the file. Lock files are left out, because builds write them.
fn is_source(language: Language, path: &str) -> bool {
    let (top, name) =
        (path.split('/').next().unwrap_or_default(), path.rsplit('/').next().unwrap_or_default());
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    // The projects of new policies have one folder for all sources, and the compiler may embed any file of it.
    if name == "settings.schema.json" || end == "wit" || (top == "src" && top != path) {
        return true;
    }
    match language {
        Language::Rust => {
            !["benches", "examples", "tests"].contains(&top) && (end == "rs" || name == "Cargo.toml")
        }
        Language::Ts => {
            ["cjs", "js", "jsx", "mjs", "mts", "ts", "tsx"].contains(&end)
                || ["package.json", "tsconfig.json"].contains(&name)
        }
        Language::Go => ["go", "s"].contains(&end) && !stem.ends_with("_test") || name == "go.mod",
        Language::Python => end == "py",
        Language::C => ["c", "h"].contains(&end),
        Language::Zig => ["c", "h", "zig", "zon"].contains(&end),
        Language::Cel => false,
    }
}

/// Writes the record of a build: its module, and its sources as they were before the build began. A record that cannot
/// be written is left out, because the module is complete without it.
pub(crate) fn record(folder: &Path, project: &Project, module: &[u8], sources: &SourceDigests) {
    let Some(output) = project.output.to_str() else { return };
    let mut text = format!("{}  {output}\n", hex(module));
    for (path, digest) in sources {
        // A `String` accepts all text.
        let _ = writeln!(text, "{digest}  {path}");
    }
    let _ = write(&folder.join(FOLDER), &text);
}

fn write(folder: &Path, record: &str) -> io::Result<()> {
    let (ignore, path) = (folder.join(".gitignore"), folder.join(RECORD));
    // A build writes only into the folder of the project, so it follows no link.
    if [folder, &ignore, &path].iter().any(|path| path.is_symlink()) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    if !ignore.exists() {
        fs::write(ignore, "*\n")?;
    }
    fs::write(path, record)
}

/// Parses lines of 64 digits, two blanks and a path. `None` if a line is different.
fn parse(record: &str) -> Option<SourceDigests> {
    let line = |line: &str| {
        let (digest, path) = line.split_once("  ")?;
        (digest.len() == 64).then(|| (path.to_owned(), digest.to_owned()))
    };
    record.lines().map(line).collect()
}

/// Returns the SHA-256 digest of bytes as 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // A `String` accepts all text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
