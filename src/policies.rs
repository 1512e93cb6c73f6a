//! Policies from files: read, validated, their modules found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wardset_core::policy::{ModuleRef, Policy, PolicyError, Resource};
use wardset_runtime::{Cache, Engine, LoadError, Module, Snapshot, Unusable};

use crate::builtin;
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
        /// What is wrong.
        source: LoadError,
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
    /// The folder at which a relative `file:` module starts.
    folder: PathBuf,
}

/// The default set.
///
/// # Errors
///
/// None for a binary whose tests passed.
pub fn defaults() -> Result<Vec<Found>, PoliciesError> {
    let parse = |file: &builtin::DefaultPolicy| parse(file.yaml, file.file, Path::new(""));
    Ok(builtin::DEFAULTS.iter().map(parse).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The policies of files and folders, in the order given; a folder's files by name.
///
/// # Errors
///
/// What can't be read, is no `Policy`, or has a field that can't be.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Found>, PoliciesError> {
    let mut found = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file)
                .map_err(|source| PoliciesError::Read { path: file.clone(), source })?;
            let folder = file.parent().unwrap_or(Path::new(""));
            let policies = parse(&text, &file.display().to_string(), folder)?;
            if policies.is_empty() {
                return Err(PoliciesError::EmptyFile(file));
            }
            found.extend(policies);
        }
    }
    Ok(found)
}

/// Loads each module once and puts the policies into force.
///
/// # Errors
///
/// The first module that can't be used, or the first policy that its module refuses.
pub async fn load(
    engine: &Arc<Engine>,
    cache: Option<&Cache>,
    found: Vec<Found>,
) -> Result<Snapshot, PoliciesError> {
    let mut modules: BTreeMap<String, Arc<Module>> = BTreeMap::new();
    let mut ready = Vec::with_capacity(found.len());
    for Found { policy, folder } in found {
        let (key, bytes) = bytes(&policy, &folder)?;
        let module = match modules.get(&key) {
            Some(module) => Arc::clone(module),
            None => {
                let module =
                    Module::load(engine, &bytes, cache).await.map_err(|source| PoliciesError::Module {
                        policy: Arc::clone(&policy.name),
                        module: policy.module.clone(),
                        source,
                    })?;
                Arc::clone(modules.entry(key).or_insert(Arc::new(module)))
            }
        };
        ready.push((policy, module));
    }
    Ok(Snapshot::new(Arc::clone(engine), ready).await?)
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

fn parse(text: &str, origin: &str, folder: &Path) -> Result<Vec<Found>, PoliciesError> {
    let resources: Vec<Resource> =
        yaml::documents(text).map_err(|source| PoliciesError::Shape { origin: origin.to_owned(), source })?;
    resources
        .into_iter()
        .map(|resource| {
            let name = resource.metadata.name.clone();
            let policy = Policy::try_from(resource);
            let policy = policy.map_err(|source| PoliciesError::Invalid {
                name,
                origin: origin.to_owned(),
                source: Box::new(source),
            })?;
            Ok(Found { policy, folder: folder.to_owned() })
        })
        .collect()
}

/// A module's bytes, and a key that is the same for the same module.
fn bytes(policy: &Policy, folder: &Path) -> Result<(String, std::borrow::Cow<'static, [u8]>), PoliciesError> {
    match &policy.module {
        ModuleRef::Builtin(name) => {
            let module = builtin::MODULES.iter().find(|module| module.name == name);
            let module = module.ok_or_else(|| PoliciesError::NoBuiltin {
                policy: Arc::clone(&policy.name),
                name: name.clone(),
            })?;
            Ok((policy.module.to_string(), module.bytes.into()))
        }
        ModuleRef::File(path) => {
            let path = folder.join(path);
            let bytes = std::fs::read(&path).map_err(|source| PoliciesError::ModuleFile {
                policy: Arc::clone(&policy.name),
                path: path.clone(),
                source,
            })?;
            Ok((format!("file:{}", path.display()), bytes.into()))
        }
    }
}

fn names() -> String {
    builtin::MODULES.iter().map(|module| format!("`{}`", module.name)).collect::<Vec<_>>().join(", ")
}
