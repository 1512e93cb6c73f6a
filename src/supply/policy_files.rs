//! Policies from files: reads and validates them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use wardset_core::policy::{API_VERSION, ModuleRef, Policy, Resource};
use wardset_core::text::one_line;
use wardset_runtime::{Member, Snapshot};

use super::builtin;
use super::modules::Modules;
use super::policies_error::PoliciesError;
use crate::offline::input::{self};
use crate::yaml;

/// Bytes of a kind that an error repeats.
const MAX_KIND: usize = 64;

/// A policy and its file's folder.
#[derive(Debug, Clone)]
pub struct FoundPolicy {
    /// The policy, validated.
    pub policy: Policy,
    /// The policy as JSON, to compare two revisions.
    pub(super) revision: String,
    /// The folder to which `file:` paths are relative.
    pub(super) folder: PathBuf,
}

impl FoundPolicy {
    /// Returns the module, and the folder at which a relative path of it starts.
    pub(crate) fn module(&self) -> (&ModuleRef, &Path) {
        (&self.policy.module, &self.folder)
    }
}

/// Returns the default set.
///
/// # Errors
///
/// None, if the tests of this binary passed.
pub fn defaults() -> Result<Vec<FoundPolicy>, PoliciesError> {
    let mut found = Vec::new();
    for file in builtin::DEFAULTS {
        for (_, policy) in parse(file.yaml, file.file, Path::new(""))? {
            found.push(policy?);
        }
    }
    Ok(found)
}

/// Reads the policies of files and folders in the given order, and a folder's files by name.
///
/// # Errors
///
/// A file that cannot be read or parsed, and an invalid policy.
pub fn read(paths: &[PathBuf]) -> Result<Vec<FoundPolicy>, PoliciesError> {
    let mut found = Vec::new();
    for file in all_files(paths)? {
        file.entry?;
        for (_, policy) in read_file(&file.path)? {
            found.push(policy?);
        }
    }
    Ok(found)
}

/// Returns the policy of a `Policy` object that is in memory. A relative `file:` path starts at the current folder.
///
/// # Errors
///
/// An invalid policy.
pub fn parse_one(resource: &Value) -> Result<FoundPolicy, PoliciesError> {
    let mut parsed = parse(&resource.to_string(), "policy", Path::new(""))?;
    match parsed.pop() {
        Some((_, found)) if parsed.is_empty() => found,
        _ => Err(PoliciesError::EmptyFile(PathBuf::from("policy"))),
    }
}

/// Loads the modules of policies and makes a snapshot of them.
///
/// # Errors
///
/// The first policy that does not load.
pub async fn load(modules: &Modules, found: Vec<FoundPolicy>) -> Result<Snapshot, PoliciesError> {
    let members = members(modules, found.iter()).await?;
    Ok(Snapshot::of(Arc::clone(modules.engine()), members)?)
}

/// Loads the modules of all policies at the same time.
pub(super) async fn members<'f>(
    modules: &Modules,
    found: impl Iterator<Item = &'f FoundPolicy>,
) -> Result<Vec<Member>, PoliciesError> {
    let members = found.map(|found| modules.member(found.policy.clone(), &found.folder));
    join_all(members).await.into_iter().collect()
}

/// Each policy of a file by its name, or its error.
pub(super) type Parsed = Vec<(String, Result<FoundPolicy, PoliciesError>)>;

/// A file that was named, or an entry of a folder, which may be unreadable.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) entry: Result<(), PoliciesError>,
}

pub(super) fn all_files(paths: &[PathBuf]) -> Result<Vec<Listed>, PoliciesError> {
    let files: Vec<_> = paths.iter().map(|path| files(path)).collect::<Result<_, _>>()?;
    Ok(files.into_iter().flatten().collect())
}

pub(super) fn read_file(file: &Path) -> Result<Parsed, PoliciesError> {
    let bytes =
        std::fs::read(file).map_err(|source| PoliciesError::Read { path: file.to_owned(), source })?;
    let text =
        yaml::decode(bytes).map_err(|source| PoliciesError::Encoding { path: file.to_owned(), source })?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let policies = parse(&text, &file.display().to_string(), folder)?;
    if policies.is_empty() { Err(PoliciesError::EmptyFile(file.to_owned())) } else { Ok(policies) }
}

fn files(path: &Path) -> Result<Vec<Listed>, PoliciesError> {
    let read = |source| PoliciesError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![Listed { path: path.to_owned(), entry: Ok(()) }]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        if input::is_manifest(&entry.path()) && !entry.file_type().map_err(read)?.is_dir() {
            let (path, entry) = (entry.path(), input::file(entry.path()));
            files.push(Listed { path, entry: entry.map(drop).map_err(PoliciesError::from) });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.is_empty() { Err(PoliciesError::Empty(path.to_owned())) } else { Ok(files) }
}

/// Checks that a document says it is a policy. Without this, another object is an error about its fields. A document
/// without `kind` is left to the reader of fields.
fn check_kind(document: &Value, origin: &str) -> Result<(), PoliciesError> {
    let text = |field| document.get(field).and_then(Value::as_str).map(|text| one_line(text, MAX_KIND));
    match (text("kind"), text("apiVersion")) {
        (Some(kind), _) if kind != "Policy" => Err(PoliciesError::Kind { origin: origin.to_owned(), kind }),
        (Some(_), Some(found)) if found != API_VERSION => {
            Err(PoliciesError::ApiVersion { origin: origin.to_owned(), found })
        }
        _ => Ok(()),
    }
}

fn parse(text: &str, origin: &str, folder: &Path) -> Result<Parsed, PoliciesError> {
    let shape = |source| PoliciesError::Shape { origin: origin.to_owned(), source };
    let documents = yaml::parse(text).map_err(shape)?;
    for document in documents.iter().filter_map(yaml::YamlDocument::value) {
        check_kind(&document, origin)?;
    }
    let resources = documents.iter().filter_map(yaml::YamlDocument::read);
    let resources: Vec<Resource> = resources.collect::<Result<_, _>>().map_err(shape)?;
    let found = |resource: Resource| {
        let name = resource.metadata.name.clone();
        // It was read from JSON or YAML, so it can be written as JSON.
        let revision = serde_json::to_string(&resource).unwrap_or_default();
        let found = match Policy::try_from(resource) {
            Ok(policy) => Ok(FoundPolicy { policy, revision, folder: folder.to_owned() }),
            Err(source) => Err(PoliciesError::Invalid {
                name: name.clone(),
                origin: origin.to_owned(),
                source: Box::new(source),
            }),
        };
        (name, found)
    };
    Ok(resources.into_iter().map(found).collect())
}
