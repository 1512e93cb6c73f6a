//! Manifests from files, folders and standard input, read as kubectl reads them.

use std::borrow::Cow;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use wardset_core::text::one_line;

use crate::yaml::{self, EncodingError, YamlError};

/// Bytes of a kind that an error repeats.
const MAX_KIND: usize = 64;

/// A file and its documents.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// The path, or `standard input`.
    pub origin: String,
    /// All of them, in order, those without an object too.
    pub documents: Vec<InputDocument>,
}

/// One document of a file.
#[derive(Debug, Clone)]
pub struct InputDocument {
    /// The separator line before it, with its line break.
    pub separator: String,
    /// Its text, byte for byte. None for JSON, which YAML output writes anew.
    pub yaml: Option<String>,
    /// The object; null for comments and blank lines.
    pub value: Value,
    /// Its objects: itself, or the items of a list.
    pub objects: Vec<InputSource>,
}

/// One object of a file.
#[derive(Debug, Clone)]
pub struct InputSource {
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
    /// An entry of a folder that is named like a manifest and is not a file, such as a pipe.
    #[error("expected a file, found {found} at `{}`", path.display())]
    NoFile {
        /// The entry.
        path: PathBuf,
        /// Such as `a folder`.
        found: &'static str,
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
    /// `items` of another type than a list: kubectl takes each object with this field for a list of objects.
    #[error("{origin}: expected a list in `items` of the {kind}, found {found}")]
    Items {
        /// The file.
        origin: String,
        /// The kind of the object.
        kind: String,
        /// Such as `a mapping`.
        found: &'static str,
    },
    /// An item of a list that is no object.
    #[error("{origin}: expected an object in `items[{position}]` of the {kind}, found {found}")]
    Item {
        /// The file.
        origin: String,
        /// The kind of the list.
        kind: String,
        /// The position in the list, from 0.
        position: usize,
        /// Such as `a list`.
        found: &'static str,
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

/// An entry of a folder whose name ends as a manifest's does, or the reason why it cannot be read.
pub type FolderEntry = Result<PathBuf, InputError>;

/// Returns the files that `path` stands for: itself, or a folder's manifests by name. `-` is standard input. An entry or
/// subfolder that the system refuses to read is an error of its own, so that it hides no other.
///
/// # Errors
///
/// A path that the system refuses to read, and a folder without manifests.
pub fn files(path: &Path, recursive: bool) -> Result<Vec<FolderEntry>, InputError> {
    if path == Path::new("-") {
        return Ok(vec![Ok(path.to_owned())]);
    }
    let read = |source| InputError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![Ok(path.to_owned())]);
    }
    let mut found: Vec<(PathBuf, FolderEntry)> = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = |source| (folder.clone(), Err(InputError::Read { path: folder.clone(), source }));
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                found.push(read(error));
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?.is_dir()))) {
                // A link to a folder could lead back up, so only folders themselves are opened.
                Ok((path, true)) => folders.extend(recursive.then_some(path)),
                Ok((path, false)) if is_manifest(&path) => found.push((path.clone(), file(path))),
                Ok((_, false)) => {}
                Err(error) => found.push(read(error)),
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    if found.is_empty() {
        return Err(InputError::Empty(path.to_owned()));
    }
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

/// Whether the file's name ends as that of a manifest, for Go's `filepath.Ext`: `.yaml` does, too.
#[must_use]
pub fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    [&b".yaml"[..], b".yml", b".json"].iter().any(|end| name.ends_with(end))
}

/// Returns the path of an entry that is a file or a link to one. Anything else is an error: a pipe would block, and an
/// entry that is left out without a word looks like one without objections.
///
/// # Errors
///
/// An entry that is not a file, or that the system refuses to follow.
pub fn file(path: PathBuf) -> FolderEntry {
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(found) if found.is_dir() => Err(InputError::NoFile { path, found: "a link to a folder" }),
        Ok(_) => Err(InputError::NoFile { path, found: "a pipe, socket or device" }),
        Err(source) => Err(InputError::Read { path, source }),
    }
}

/// Reads one file. `named` is false for a file that was found in a folder.
///
/// # Errors
///
/// A file that the system refuses to read, in another encoding than UTF-8, or neither YAML nor JSON.
pub fn read(file: &Path, named: bool) -> Result<InputFile, InputError> {
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
        let objects =
            objects.into_iter().map(|object| InputSource { origin: origin.clone(), json: object, named });
        let yaml = document.is_yaml().then(|| document.text.to_owned());
        let separator = document.separator.to_owned();
        documents.push(InputDocument { separator, yaml, objects: objects.collect(), value });
    }
    number(&origin, &mut documents);
    Ok(InputFile { origin, documents })
}

/// Returns the objects of a document: itself, or the items of a list. Null is no object.
fn objects(document: &Value, origin: &str) -> Result<Vec<String>, InputError> {
    let items = match list(document) {
        None if document.is_null() => return Ok(Vec::new()),
        None => return Ok(vec![yaml::to_json(document)]),
        Some(Ok(items)) => items,
        Some(Err(found)) => {
            return Err(InputError::Items { origin: origin.to_owned(), kind: shown_kind(document), found });
        }
    };
    let found = items.iter().map(|item| match item {
        Value::Null | Value::Object(_) => None,
        Value::Array(_) => Some("a list"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some("a single value"),
    });
    if let Some((position, found)) = found.enumerate().find_map(|(position, found)| Some((position, found?)))
    {
        let (origin, kind) = (origin.to_owned(), shown_kind(document));
        return Err(InputError::Item { origin, kind, position, found });
    }
    if items.iter().any(|item| list(item).is_some()) {
        return Err(InputError::NestedList { origin: origin.to_owned() });
    }
    let items = items.iter().filter(|item| !item.is_null());
    Ok(items.map(|item| yaml::to_json(&typed(item, document))).collect())
}

/// Returns the items of a list, `None` for other objects. A list without items counts as empty.
#[must_use]
pub fn items(object: &Value) -> Option<&[Value]> {
    list(object)?.ok()
}

/// Returns the items of a list, or the type of something else in their place. As in apimachinery, the field makes an
/// object of any kind a list.
fn list(object: &Value) -> Option<Result<&[Value], &'static str>> {
    let kind = kind(object)?;
    Some(match object.get("items") {
        Some(Value::Array(items)) => Ok(items),
        Some(Value::Null) => Ok(&[]),
        Some(Value::Object(_)) => Err("a mapping"),
        Some(_) => Err("a single value"),
        None if kind == "List" => Ok(&[]),
        None => return None,
    })
}

/// Returns an item of a list with `apiVersion` and `kind`. If it has neither, they follow from the list, as in
/// apimachinery: a `DaemonSetList` holds DaemonSets.
fn typed<'v>(item: &'v Value, list: &Value) -> Cow<'v, Value> {
    let Value::Object(members) = item else { return Cow::Borrowed(item) };
    if kind(item).is_some() || text(item, "apiVersion").is_some() {
        return Cow::Borrowed(item);
    }
    let of_list = kind(list).unwrap_or_default();
    let mut typed = Map::new();
    typed.insert("apiVersion".to_owned(), text(list, "apiVersion").unwrap_or_default().into());
    typed.insert("kind".to_owned(), of_list.strip_suffix("List").unwrap_or(of_list).into());
    for (key, value) in members {
        typed.entry(key).or_insert_with(|| value.clone());
    }
    Cow::Owned(Value::Object(typed))
}

/// Returns the kind of an object for an error.
fn shown_kind(object: &Value) -> String {
    one_line(kind(object).unwrap_or_default(), MAX_KIND)
}

fn kind(object: &Value) -> Option<&str> {
    text(object, "kind")
}

/// Returns a string that is not empty.
fn text<'v>(object: &'v Value, field: &str) -> Option<&'v str> {
    object.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// Adds the position to the origins of a file's objects if it has several.
fn number(origin: &str, documents: &mut [InputDocument]) {
    let mut objects: Vec<&mut InputSource> =
        documents.iter_mut().flat_map(|document| &mut document.objects).collect();
    if objects.len() > 1 {
        for (n, object) in objects.iter_mut().enumerate() {
            object.origin = format!("{origin} (document {})", n + 1);
        }
    }
}
