//! Manifests from files, folders and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::yaml::{self, YamlError};

/// One document of a file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, and the document's place where the file has several.
    pub origin: String,
    /// JSON text.
    pub json: String,
}

/// Why manifests can't be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file or folder can't be read.
    #[error("`{}` can't be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without manifests.
    #[error("`{}` has no manifest: expected files that end in .yaml, .yml or .json", .0.display())]
    Empty(PathBuf),
    /// A file that is neither YAML nor JSON.
    #[error("`{origin}` is no YAML")]
    Yaml {
        /// The file.
        origin: String,
        /// Line and problem.
        source: YamlError,
    },
    /// A file that begins like JSON and isn't.
    #[error("`{origin}` is no JSON")]
    Json {
        /// The file.
        origin: String,
        /// Line and problem.
        source: serde_json::Error,
    },
}

/// The files that `path` stands for: itself, or a folder's manifests by name. `-` is standard input.
///
/// # Errors
///
/// What can't be read, and a folder without manifests.
pub fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, InputError> {
    if path == Path::new("-") {
        return Ok(vec![path.to_owned()]);
    }
    let read = |source| InputError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = |source| InputError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(read)?);
            // A link to a folder could lead back up. A link to a file is fine, a pipe would be waited for.
            if kind.is_dir() {
                folders.extend(recursive.then_some(path));
            } else if is_manifest(&path) && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() { Err(InputError::Empty(path.to_owned())) } else { Ok(files) }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

/// The documents of one file. JSON stays as it is written; a `List` gives its items.
///
/// # Errors
///
/// What can't be read or is neither YAML nor JSON.
pub fn documents(file: &Path) -> Result<Vec<Source>, InputError> {
    let (origin, text) = if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|source| InputError::Read { path: "standard input".into(), source })?;
        ("standard input".to_owned(), text)
    } else {
        let read = |source| InputError::Read { path: file.to_owned(), source };
        (file.display().to_string(), std::fs::read_to_string(file).map_err(read)?)
    };
    let documents = if text.trim_start().starts_with('{') {
        // JSON documents between lines of `---` are YAML.
        let separated = text.lines().any(|line| line.starts_with("---"));
        json(&origin, &text).or_else(|error| if separated { yaml(&origin, &text) } else { Err(error) })?
    } else {
        yaml(&origin, &text)?
    };
    let items: Vec<String> = documents.into_iter().flat_map(items).collect();
    let several = items.len() > 1;
    let place = |n: usize| if several { format!("{origin} (document {})", n + 1) } else { origin.clone() };
    Ok(items.into_iter().enumerate().map(|(n, json)| Source { origin: place(n), json }).collect())
}

fn json(origin: &str, text: &str) -> Result<Vec<String>, InputError> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    let documents: Result<Vec<_>, _> =
        documents.map(|document| document.map(|raw| raw.get().to_owned())).collect();
    documents.map_err(|source| InputError::Json { origin: origin.to_owned(), source })
}

fn yaml(origin: &str, text: &str) -> Result<Vec<String>, InputError> {
    let documents: Vec<serde_json::Value> =
        yaml::documents(text).map_err(|source| InputError::Yaml { origin: origin.to_owned(), source })?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| document.to_string())
        .collect())
}

#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

fn items(document: String) -> Vec<String> {
    match serde_json::from_str::<List<'_>>(&document) {
        Ok(list) if list.kind.ends_with("List") => {
            list.items.iter().map(|item| item.get().to_owned()).collect()
        }
        _ => vec![document],
    }
}
