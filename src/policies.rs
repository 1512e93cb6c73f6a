//! Policies from files: read, validated, followed.

mod follow;

pub use follow::Followed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use wardset_core::policy::{ModuleRef, Policy, PolicyError, Resource};
use wardset_runtime::{LoadError, Member, Snapshot, Unusable};

use crate::builtin;
use crate::modules::Modules;
use crate::yaml::{self, YamlError};

/// Why policies can't come into force.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// A file or folder can't be read.
    #[error("`{}` can't be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without policies.
    #[error("`{}` has no policy: expected files that end in .yaml, .yml or .json", .0.display())]
    Empty(PathBuf),
    /// A file without policies: more likely a file that was cut off than a wish for none.
    #[error("`{}` has no policy: expected at least one document of `kind: Policy`", .0.display())]
    EmptyFile(PathBuf),
    /// A file that is no `Policy`.
    #[error("`{origin}` is no Policy")]
    Shape {
        /// The file.
        origin: String,
        /// Line and problem.
        source: YamlError,
    },
    /// A policy with a field that can't be.
    #[error("policy `{name}` in `{origin}`")]
    Invalid {
        /// The policy.
        name: String,
        /// The file.
        origin: String,
        /// What is wrong.
        source: Box<PolicyError>,
    },
    /// The same, where no file is known.
    #[error("policy `{name}`")]
    Rejected {
        /// The policy.
        name: String,
        /// What is wrong.
        source: Box<PolicyError>,
    },
    /// A module that is not in the binary.
    #[error("policy `{policy}`: there is no built-in module `{name}`; there are {}", names())]
    NoBuiltin {
        /// The policy.
        policy: Arc<str>,
        /// The name after `builtin:`.
        name: String,
    },
    /// A module file that can't be read.
    #[error("policy `{policy}`: module `{}` can't be read", path.display())]
    ModuleFile {
        /// The policy.
        policy: Arc<str>,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A module that can't be used.
    #[error("policy `{policy}`: module `{module}`")]
    Module {
        /// The policy.
        policy: Arc<str>,
        /// As the policy names it.
        module: ModuleRef,
        /// What is wrong; all policies of one module are told the same.
        source: Arc<LoadError>,
    },
    /// Policies that can't be in force together, or settings that a module refuses.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// A policy and where it was read.
#[derive(Debug, Clone)]
pub struct Found {
    /// The policy.
    pub policy: Policy,
    /// As it stands in the file, without what makes no difference.
    revision: String,
    /// The folder at which a relative `file:` module starts.
    folder: PathBuf,
}

/// The default set.
///
/// # Errors
///
/// None for a binary whose tests passed.
pub fn defaults() -> Result<Vec<Found>, PoliciesError> {
    let mut found = Vec::new();
    for file in builtin::DEFAULTS {
        for (_, policy) in parse(file.yaml, file.file, Path::new(""))? {
            found.push(policy?);
        }
    }
    Ok(found)
}

/// The policies of files and folders, in the order given; a folder's files by name.
///
/// # Errors
///
/// What can't be read, is no `Policy`, or has a field that can't be.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Found>, PoliciesError> {
    let mut found = Vec::new();
    for file in all_files(paths)? {
        for (_, policy) in read_file(&file)? {
            found.push(policy?);
        }
    }
    Ok(found)
}

/// Puts policies into force.
///
/// # Errors
///
/// The first policy that can't come into force.
pub async fn load(modules: &Modules, found: Vec<Found>) -> Result<Snapshot, PoliciesError> {
    let members = members(modules, found.iter()).await?;
    Ok(Snapshot::of(Arc::clone(modules.engine()), members)?)
}

/// All of them ready to be put into force: their modules are loaded at the same time.
async fn members<'f>(
    modules: &Modules,
    found: impl Iterator<Item = &'f Found>,
) -> Result<Vec<Member>, PoliciesError> {
    let members = found.map(|found| modules.member(found.policy.clone(), &found.folder));
    join_all(members).await.into_iter().collect()
}

/// Each policy of a file by its name, or what is wrong with that one.
type Parsed = Vec<(String, Result<Found, PoliciesError>)>;

fn all_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PoliciesError> {
    let files: Vec<_> = paths.iter().map(|path| files(path)).collect::<Result<_, _>>()?;
    Ok(files.into_iter().flatten().collect())
}

fn read_file(file: &Path) -> Result<Parsed, PoliciesError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| PoliciesError::Read { path: file.to_owned(), source })?;
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
    let resources: Vec<Resource> = yaml::documents(text).map_err(shape)?;
    let found = |resource: Resource| {
        let name = resource.metadata.name.clone();
        // What was read as JSON or YAML can be written as JSON.
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

fn names() -> String {
    builtin::MODULES.iter().map(|module| format!("`{}`", module.name)).collect::<Vec<_>>().join(", ")
}
