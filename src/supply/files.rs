//! Policies from files: reads and validates them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use wardset_core::policy::{Policy, Resource};
use wardset_core::text::one_line;
use wardset_runtime::{Member, Snapshot};

use super::builtin;
use super::error::PoliciesError;
use super::modules::Modules;
use crate::offline::input;
use crate::yaml;

/// Bytes of a kind that an error repeats.
const MAX_KIND: usize = 64;

/// A policy and its file's folder.
#[derive(Debug, Clone)]
pub struct Found {
    /// The policy, validated.
    pub policy: Policy,
    /// The policy as JSON, to compare two revisions.
    pub(super) revision: String,
    /// The folder to which `file:` paths are relative.
    pub(super) folder: PathBuf,
}

/// Returns the default set.
///
/// # Errors
///
/// None, if the tests of this binary passed.
pub fn defaults() -> Result<Vec<Found>, PoliciesError> {
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
pub fn read(paths: &[PathBuf]) -> Result<Vec<Found>, PoliciesError> {
    let mut found = Vec::new();
    for file in all_files(paths)? {
        for (_, policy) in read_file(&file)? {
            found.push(policy?);
        }
    }
    Ok(found)
}

/// Loads the modules of policies and makes a snapshot of them.
///
/// # Errors
///
/// The first policy that does not load.
pub async fn load(modules: &Modules, found: Vec<Found>) -> Result<Snapshot, PoliciesError> {
    let members = members(modules, found.iter()).await?;
    Ok(Snapshot::of(Arc::clone(modules.engine()), members)?)
}

/// Loads the modules of all policies at the same time.
pub(super) async fn members<'f>(
    modules: &Modules,
    found: impl Iterator<Item = &'f Found>,
) -> Result<Vec<Member>, PoliciesError> {
    let members = found.map(|found| modules.member(found.policy.clone(), &found.folder));
    join_all(members).await.into_iter().collect()
}

/// Each policy of a file by its name, or its error.
pub(super) type Parsed = Vec<(String, Result<Found, PoliciesError>)>;

pub(super) fn all_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PoliciesError> {
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

fn files(path: &Path) -> Result<Vec<PathBuf>, PoliciesError> {
    let read = |source| PoliciesError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|file| is_policy(file)).collect();
    files.sort();
    if files.is_empty() { Err(PoliciesError::Empty(path.to_owned())) } else { Ok(files) }
}

fn is_policy(file: &Path) -> bool {
    let ends = file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    ends && file.is_file()
}

fn parse(text: &str, origin: &str, folder: &Path) -> Result<Parsed, PoliciesError> {
    let shape = |source| PoliciesError::Shape { origin: origin.to_owned(), source };
    let documents = yaml::parse(text).map_err(shape)?;
    let is_list = |document: &Value| input::items(document).is_some();
    if let Some(list) = documents.iter().filter_map(yaml::Document::value).find(is_list) {
        let kind = list["kind"].as_str().unwrap_or_default();
        return Err(PoliciesError::List { origin: origin.to_owned(), kind: one_line(kind, MAX_KIND) });
    }
    let resources = documents.iter().filter_map(yaml::Document::read);
    let resources: Vec<Resource> = resources.collect::<Result<_, _>>().map_err(shape)?;
    let found = |resource: Resource| {
        let name = resource.metadata.name.clone();
        // It was read from JSON or YAML, so it can be written as JSON.
        let revision = serde_json::to_string(&resource).unwrap_or_default();
        let found = match Policy::try_from(resource) {
            Ok(policy) => Ok(Found { policy, revision, folder: folder.to_owned() }),
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
