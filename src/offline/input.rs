//! Manifests from files, folders and standard input, read as kubectl reads them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::yaml::{self, EncodingError, YamlError};

/// A file and its documents.
#[derive(Debug, Clone)]
pub struct File {
    /// The path, or `standard input`.
    pub origin: String,
    /// All of them, in order, those without an object too.
    pub documents: Vec<Document>,
}

/// One document of a file.
#[derive(Debug, Clone)]
pub struct Document {
    /// The separator line before it, with its line break.
    pub separator: String,
    /// Its text, byte for byte. None for JSON, which YAML output writes anew.
    pub yaml: Option<String>,
    /// The object; null for comments and blank lines.
    pub value: Value,
    /// Its objects: itself, or the items of a list.
    pub objects: Vec<Source>,
}

/// One object of a file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, and the object's position if the file has several.
    pub origin: String,
    /// The object as JSON text.
    pub json: String,
    /// Whether the file was named, and not found in a folder.
    pub named: bool,
}

/// Why manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system refuses to read a file or folder.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A folder without manifests.
    #[error("expected files that end in .yaml, .yml or .json, found none in `{}`", .0.display())]
    Empty(PathBuf),
    /// A file in another encoding than UTF-8.
    #[error("failed to read `{origin}`")]
    Encoding {
        /// The file.
        origin: String,
        /// The encoding.
        source: EncodingError,
    },
    /// A file that is neither YAML nor JSON.
    #[error("failed to parse `{origin}`")]
    Yaml {
        /// The file.
        origin: String,
        /// Problem and place.
        source: YamlError,
    },
    /// A list among the items of a list.
    #[error(
        "{origin}: expected an object, found a List inside a List; hint: write its items into the outer List"
    )]
    NestedList {
        /// The file and the object's position.
        origin: String,
    },
}

/// Returns the files that `path` stands for: itself, or a folder's manifests by name. `-` is standard input.
///
/// # Errors
///
/// A path that the system refuses to read, and a folder without manifests.
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
            // A link to a folder could lead back up. A link to a file is fine; a pipe would block.
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

/// Reads one file. `named` is false for a file that was found in a folder.
///
/// # Errors
///
/// A file that the system refuses to read, in another encoding than UTF-8, or neither YAML nor JSON.
pub fn read(file: &Path, named: bool) -> Result<File, InputError> {
    let (origin, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map_err(|source| InputError::Read { path: "standard input".into(), source })?;
        ("standard input".to_owned(), bytes)
    } else {
        let read = |source| InputError::Read { path: file.to_owned(), source };
        (file.display().to_string(), std::fs::read(file).map_err(read)?)
    };
    let text =
        yaml::decode(bytes).map_err(|source| InputError::Encoding { origin: origin.clone(), source })?;
    let parsed = yaml::parse(&text).map_err(|source| InputError::Yaml { origin: origin.clone(), source })?;
    let mut documents = Vec::with_capacity(parsed.len());
    for document in &parsed {
        let value = document.value().unwrap_or_default();
        let objects = objects(&value, &origin)?;
        let objects = objects.into_iter().map(|object| Source {
            origin: origin.clone(),
            json: object.to_string(),
            named,
        });
        let yaml = document.is_yaml().then(|| document.text.to_owned());
        let separator = document.separator.to_owned();
        documents.push(Document { separator, yaml, objects: objects.collect(), value });
    }
    number(&origin, &mut documents);
    Ok(File { origin, documents })
}

/// Returns the objects of a document: itself, or the items of a list. Null is no object.
fn objects<'v>(document: &'v Value, origin: &str) -> Result<Vec<&'v Value>, InputError> {
    let Some(items) = items(document) else {
        return Ok(if document.is_null() { Vec::new() } else { vec![document] });
    };
    if items.iter().any(|item| self::items(item).is_some()) {
        return Err(InputError::NestedList { origin: origin.to_owned() });
    }
    Ok(items.iter().filter(|item| !item.is_null()).collect())
}

/// Returns the items of a list, `None` for other objects. A list without items counts as empty.
#[must_use]
pub fn items(object: &Value) -> Option<&[Value]> {
    let kind = object.get("kind")?.as_str()?;
    match object.get("items") {
        Some(Value::Array(items)) if kind.ends_with("List") => Some(items),
        Some(Value::Null) if kind.ends_with("List") => Some(&[]),
        None if kind == "List" => Some(&[]),
        _ => None,
    }
}

/// Adds the position to the origins of a file's objects if it has several.
fn number(origin: &str, documents: &mut [Document]) {
    let mut objects: Vec<&mut Source> =
        documents.iter_mut().flat_map(|document| &mut document.objects).collect();
    if objects.len() > 1 {
        for (n, object) in objects.iter_mut().enumerate() {
            object.origin = format!("{origin} (document {})", n + 1);
        }
    }
}
