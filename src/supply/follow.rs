//! Reloads policy files while the server runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wardset_core::policy::ModuleRef;
use wardset_core::text;

use super::policies_error::PoliciesError;
use super::policy_files::{FoundPolicy, Listed, all_files, members, read_file};
use super::store::{Source, Store, Wanted};
use crate::folder::Folder;

/// Interval of the poll for changed files.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes of a policy's problem in the log and in `status`.
const MAX_PROBLEM: usize = 1024;

/// Files and folders of policies, and the policies last read from each file.
pub struct Followed {
    paths: Vec<PathBuf>,
    seen: Folder,
    read: BTreeMap<PathBuf, Vec<Wanted>>,
    store: Arc<Store>,
}

impl Followed {
    /// Reads `paths` and activates their policies. At the start everything must load, so that a mistake stops a rollout
    /// instead of a policy.
    ///
    /// # Errors
    ///
    /// The first file or policy that does not load.
    pub async fn start(paths: Vec<PathBuf>, store: Arc<Store>) -> Result<Self, PoliciesError> {
        // Before the first read, so that a write in between counts as a change.
        let seen = Folder::new(paths.clone());
        let mut files = Vec::new();
        for Listed { path, entry } in all_files(&paths)? {
            entry?;
            let found: Result<Vec<FoundPolicy>, _> =
                read_file(&path)?.into_iter().map(|(_, found)| found).collect();
            files.push((path, found?));
        }
        // Held until the policies are in the store, so that no module is loaded twice.
        let _members = members(&store.modules(), files.iter().flat_map(|(_, found)| found)).await?;
        let wanted = |found: Vec<FoundPolicy>| found.into_iter().map(Wanted::from).collect();
        let read = files.into_iter().map(|(file, found)| (file, wanted(found))).collect();
        let mut followed = Self { paths, seen, read, store };
        followed.put().await?;
        Ok(followed)
    }

    /// Follows `paths` although their policies may not load yet. Problems are in the log and in the store's states.
    pub async fn start_anyway(paths: Vec<PathBuf>, store: Arc<Store>) -> Self {
        let seen = Folder::new(paths.clone());
        let mut followed = Self { paths, seen, read: BTreeMap::new(), store };
        followed.read_again().await;
        followed
    }

    /// Polls the files twice a second until the process ends.
    pub async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    /// Takes over the changes since the last poll. If a file cannot be read or parsed, its previous policies stay active.
    /// So do those of a folder that is suddenly empty.
    pub async fn look(&mut self) {
        if self.seen.changed() {
            self.read_again().await;
        }
    }

    async fn read_again(&mut self) {
        let files = match all_files(&self.paths) {
            Ok(files) => files,
            Err(error) => {
                for policies in self.read.values_mut() {
                    *policies = held_up(std::mem::take(policies), &error);
                }
                return self.put().await.unwrap_or_else(|error| problem(&error));
            }
        };
        let mut before = std::mem::take(&mut self.read);
        for Listed { path, entry } in files {
            let policies = match entry.and_then(|()| read_file(&path)) {
                Ok(parsed) => parsed
                    .into_iter()
                    .map(|(name, found)| found.map_or_else(|error| broken(&name, &error), Wanted::from))
                    .collect(),
                Err(error) => held_up(before.remove(&path).unwrap_or_default(), &error),
            };
            self.read.insert(path, policies);
        }
        if let Err(error) = self.put().await {
            problem(&error);
        }
    }

    async fn put(&mut self) -> Result<(), PoliciesError> {
        let mut names = BTreeMap::new();
        for wanted in self.read.values().flatten() {
            if names.insert(Arc::clone(&wanted.name), ()).is_some() {
                return Err(wardset_runtime::Unusable::SameName(Arc::clone(&wanted.name)).into());
            }
        }
        // The module files that policies name now are polled, too.
        let modules = self.read.values().flatten().filter_map(|wanted| match &wanted.policy {
            Ok((policy, folder)) => match &policy.module {
                ModuleRef::File(path) => Some(folder.join(path)),
                ModuleRef::Builtin(_) | ModuleRef::Oci(_) => None,
            },
            Err(_) => None,
        });
        self.seen.follow(self.paths.iter().cloned().chain(modules));
        self.store.put(Source::Files, self.read.values().flatten().cloned().collect()).await;
        Ok(())
    }
}

impl From<FoundPolicy> for Wanted {
    fn from(FoundPolicy { policy, revision, folder }: FoundPolicy) -> Self {
        let name = Arc::clone(&policy.name);
        let policy = Ok((policy, folder));
        Self { name, revision: revision.into(), policy, last_good: None, resolve_request: None }
    }
}

/// Returns a policy of which only the name is known. Its problem is its revision, so that the same problem is no change.
fn broken(name: &str, error: &PoliciesError) -> Wanted {
    let problem = text::with_causes(error, MAX_PROBLEM);
    Wanted {
        name: name.into(),
        revision: problem.as_str().into(),
        policy: Err(problem),
        last_good: None,
        resolve_request: None,
    }
}

/// Marks the policies of a file that cannot be read any more. Their active revisions stay active.
fn held_up(policies: Vec<Wanted>, error: &PoliciesError) -> Vec<Wanted> {
    problem(error);
    policies.into_iter().map(|wanted| broken(&wanted.name, error)).collect()
}

fn problem(error: &PoliciesError) {
    let problem = text::with_causes(error, MAX_PROBLEM);
    tracing::error!(problem, "failed to reload policy files; keeping the previous policies");
}
