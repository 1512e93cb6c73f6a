//! The policies that are wanted, and what of them is in force: a change is compiled and validated here, off the path of a
//! review, then swapped in whole.
//!
//! ```text
//! files ────┐ put(source, wanted)                      ┌─► ArcSwap<Snapshot>, which reviews read
//! cluster ──┴────────────────────► Store: last good ───┴─► standings, which become metrics and status
//! ```
//!
//! A change that can't come into force leaves the last good revision of that policy where it is and touches no other. One
//! whose module is slow to compile comes into force later, by itself, and holds up no other. It never decides on a review,
//! and it never looks for changes itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use wardset_core::policy::Policy;
use wardset_core::text;
use wardset_runtime::{Member, Snapshot, Unusable};

use crate::metrics::Metrics;
use crate::modules::Modules;

/// The most bytes of what is said of a policy's problem.
const MAX_PROBLEM: usize = 1024;

/// How long a change of several policies waits for the slowest, so that they come into force together. A module as people
/// write them is compiled in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where policies come from. Of two policies of one name, the one from the first source is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `--policies`.
    Files,
    /// `Policy` resources.
    Cluster,
}

/// A policy as its source wants it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The policy's name.
    pub name: Arc<str>,
    /// Equal exactly where nothing was changed.
    pub revision: Arc<str>,
    /// The policy and the folder at which a relative `file:` module starts, or what is wrong.
    pub policy: Result<(Policy, PathBuf), String>,
    /// What was in force before this server started, where that is known and something else.
    pub last_good: Option<Policy>,
}

/// What is in force of a wanted policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The policy's name.
    pub name: Arc<str>,
    /// The revision that is wanted.
    pub revision: Arc<str>,
    /// What is in force.
    pub state: State,
    /// Name, version and digest of the module in force.
    pub module: Option<(String, String, String)>,
}

/// What is in force of a wanted policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The wanted revision.
    Ready,
    /// An older revision, for this reason.
    LastGood(String),
    /// What was in force before, if anything: the module of the wanted revision is still being compiled.
    Pending,
    /// Nothing that works, for this reason: reviews are handled as `onError` says, where the policy could be read so far.
    Unready(String),
}

/// See the module's page.
pub struct Store {
    modules: Arc<Modules>,
    live: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    held: Mutex<BTreeMap<Key, Held>>,
    standings: watch::Sender<Arc<Vec<(Source, Standing)>>>,
    /// The sources that have said what they want.
    heard: watch::Sender<Vec<Source>>,
}

/// What is known of one policy.
struct Held {
    wanted: Wanted,
    /// In force unless it is shadowed; none where the policy can't even be read, or is pending and new.
    member: Option<Member>,
    state: State,
    /// Where it is pending.
    attempt: Option<Attempt>,
}

/// A revision that is on its way into force.
struct Attempt {
    task: AbortHandle,
    /// Whether something changed since it began, and that may have been the module's file.
    stale: bool,
}

/// What came of trying a revision.
struct Tried {
    member: Result<Member, String>,
    /// What was in force before this server started.
    last_good: Option<Member>,
}

type Key = (Source, Arc<str>);

impl Store {
    /// Nothing wanted and nothing in force yet.
    ///
    /// # Errors
    ///
    /// None: an empty snapshot has no two policies of one name.
    pub fn new(modules: Arc<Modules>, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        let live = Arc::new(ArcSwap::from_pointee(Snapshot::of(Arc::clone(modules.engine()), [])?));
        let standings = watch::Sender::new(Arc::default());
        let heard = watch::Sender::default();
        Ok(Self { modules, live, metrics, held: Mutex::default(), standings, heard })
    }

    /// What reviews are decided by; each review takes it once.
    #[must_use]
    pub fn live(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.live)
    }

    /// The modules.
    #[must_use]
    pub fn modules(&self) -> Arc<Modules> {
        Arc::clone(&self.modules)
    }

    /// What is in force of what is wanted, and each change of it.
    #[must_use]
    pub fn standings(&self) -> watch::Receiver<Arc<Vec<(Source, Standing)>>> {
        self.standings.subscribe()
    }

    /// Takes all that a source wants now; what it doesn't name any more goes. Returns once it is in force, but for policies
    /// whose modules take longer than two seconds to load: these are [`State::Pending`], and come into force by themselves.
    /// What a source wants first is waited for without end, since until then no review is answered.
    pub async fn put(self: &Arc<Self>, source: Source, wanted: Vec<Wanted>) {
        let mut held = self.held.lock().await;
        let mut before = BTreeMap::new();
        while let Some(key) = held.keys().find(|(from, _)| *from == source).cloned() {
            if let Some(policy) = held.remove(&key) {
                before.insert(key.1, policy);
            }
        }
        let mut tried = Vec::new();
        for wanted in wanted {
            let name = Arc::clone(&wanted.name);
            let mut before = before.remove(&name);
            match before.take_if(|held| is_unchanged(held, &wanted)) {
                Some(policy) => {
                    held.insert((source, name), policy);
                }
                None => {
                    let task = self.attempt(before.as_ref(), &wanted);
                    tried.push((before, wanted, task));
                }
            }
        }
        let patience = self.heard.borrow().contains(&source).then(|| Instant::now() + PATIENCE);
        for (before, wanted, mut task) in tried {
            let key = (source, Arc::clone(&wanted.name));
            let ended = match patience {
                Some(until) => tokio::time::timeout_at(until, &mut task).await.ok(),
                None => Some((&mut task).await),
            };
            let policy = match ended {
                Some(ended) => settle(before, wanted, ended.unwrap_or_else(Tried::broken)),
                None => self.leave_to_itself(before, wanted, task, key.clone()),
            };
            held.insert(key, policy);
        }
        for (name, policy) in before {
            tracing::info!(policy = &*name, "the policy is gone");
            self.metrics.policy_gone(&name);
            if let Some(attempt) = policy.attempt {
                attempt.task.abort();
            }
        }
        self.publish(&held);
        drop(held);
        self.heard.send_if_modified(|heard| {
            let first = !heard.contains(&source);
            heard.extend(first.then_some(source));
            first
        });
        self.modules.forget_unused();
    }

    /// Completes once `source` has said what it wants for the first time, and that is in force.
    pub async fn taken(&self, source: Source) {
        // The sender is in `self`, so it can't be gone.
        let _ = self.heard.subscribe().wait_for(|heard| heard.contains(&source)).await;
    }

    /// Starts to load what a policy needs.
    fn attempt(&self, before: Option<&Held>, wanted: &Wanted) -> JoinHandle<Tried> {
        let (modules, policy) = (Arc::clone(&self.modules), wanted.policy.clone());
        let goes_on = before.is_some_and(Held::goes_on);
        let last_good = wanted.last_good.clone().filter(|_| !goes_on);
        tokio::spawn(async move {
            let member = match policy {
                Ok((policy, folder)) => modules.member(policy, &folder).await.map_err(|error| said(&error)),
                Err(problem) => Err(problem),
            };
            let last_good = match last_good {
                Some(policy) if member.is_err() => modules.member(policy, Path::new("")).await.ok(),
                _ => None,
            };
            Tried { member, last_good }
        })
    }

    /// The policy as it is while its module is compiled; `task` puts it into force.
    fn leave_to_itself(
        self: &Arc<Self>,
        before: Option<Held>,
        wanted: Wanted,
        task: JoinHandle<Tried>,
        key: Key,
    ) -> Held {
        tracing::info!(policy = &*wanted.name, "the policy's module is still being compiled");
        let attempt = Attempt { task: task.abort_handle(), stale: false };
        let (id, store) = (attempt.task.id(), Arc::clone(self));
        tokio::spawn(async move {
            let tried = task.await.unwrap_or_else(Tried::broken);
            store.arrived(key, id, tried).await;
        });
        // Also one that has no module: what failed for want of it must not be let through meanwhile.
        let member = before.and_then(|held| held.member);
        Held { wanted, member, state: State::Pending, attempt: Some(attempt) }
    }

    /// What was pending is known.
    async fn arrived(self: &Arc<Self>, key: Key, id: tokio::task::Id, tried: Tried) {
        let mut held = self.held.lock().await;
        let is_this = |held: &Held| held.attempt.as_ref().is_some_and(|attempt| attempt.task.id() == id);
        // Another revision is wanted since, or none.
        if !held.get(&key).is_some_and(is_this) {
            return;
        }
        let Some(mut policy) = held.remove(&key) else { return };
        let stale = policy.attempt.take().is_some_and(|attempt| attempt.stale);
        let wanted = policy.wanted.clone();
        let policy = if stale {
            let task = self.attempt(Some(&policy), &wanted);
            self.leave_to_itself(Some(policy), wanted, task, key.clone())
        } else {
            settle(Some(policy), wanted, tried)
        };
        held.insert(key, policy);
        self.publish(&held);
        drop(held);
        self.modules.forget_unused();
    }

    fn publish(&self, held: &BTreeMap<Key, Held>) {
        let shadowed = |source: &Source, name: &Arc<str>| {
            *source == Source::Cluster && held.contains_key(&(Source::Files, Arc::clone(name)))
        };
        let in_force = held.iter().filter(|((source, name), _)| !shadowed(source, name));
        let members = in_force.filter_map(|(_, held)| held.member.clone());
        match Snapshot::of(Arc::clone(self.modules.engine()), members) {
            Ok(snapshot) => {
                self.metrics.policies.set(i64::try_from(snapshot.plans().len()).unwrap_or(i64::MAX));
                self.live.store(Arc::new(snapshot));
            }
            // Names are the keys, so no two can be the same; what is in force stays.
            Err(error) => tracing::error!(%error, "the policies can't be put together"),
        }
        let standing = |((source, name), held): (&(Source, Arc<str>), &Held)| {
            let state = if shadowed(source, name) {
                State::Unready(
                    "a policy of this name comes from `--policies`, and is in force instead".to_owned(),
                )
            } else {
                held.state.clone()
            };
            self.metrics.policy_ready(name, state == State::Ready);
            let module = held.member.as_ref().map(Member::plan).filter(|plan| !plan.digest.is_empty());
            let module = module
                .map(|plan| (plan.manifest.name.clone(), plan.manifest.version.clone(), plan.digest.clone()));
            let revision = Arc::clone(&held.wanted.revision);
            (*source, Standing { name: Arc::clone(name), revision, state, module })
        };
        self.standings.send_replace(Arc::new(held.iter().map(standing).collect()));
    }
}

impl Held {
    /// Whether its member is a good one, which goes on where a revision can't come into force.
    fn goes_on(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.plan().digest.is_empty())
    }

    fn reads_a_file(&self) -> bool {
        self.wanted.policy.as_ref().is_ok_and(|(policy, _)| policy.module.is_file())
    }
}

impl Tried {
    /// The task ended without an answer, which is a mistake of ours.
    fn broken(error: tokio::task::JoinError) -> Self {
        Self { member: Err(said(&error)), last_good: None }
    }
}

/// Whether nothing about a policy changed.
fn is_unchanged(held: &mut Held, wanted: &Wanted) -> bool {
    if held.wanted.revision != wanted.revision {
        return false;
    }
    // A file may have changed while its policy did not.
    let reads_a_file = held.reads_a_file();
    match &mut held.attempt {
        // It is looked at again once this attempt has ended.
        Some(attempt) => {
            attempt.stale |= reads_a_file;
            true
        }
        None => !reads_a_file,
    }
}

/// What becomes of one policy.
fn settle(before: Option<Held>, wanted: Wanted, tried: Tried) -> Held {
    let problem = match tried.member {
        Ok(member) => {
            let former = before.as_ref().and_then(|held| held.member.as_ref());
            let member = match former {
                Some(former) => member.after(former),
                None => member,
            };
            let is_new = |held: Held| held.state != State::Ready || held.wanted.revision != wanted.revision;
            if before.is_none_or(is_new) {
                let module = &*member.plan().digest;
                tracing::info!(policy = &*wanted.name, module, "the policy is in force");
            }
            return Held { wanted, member: Some(member), state: State::Ready, attempt: None };
        }
        Err(problem) => problem,
    };
    let last_good = before.filter(Held::goes_on).and_then(|held| held.member).or(tried.last_good);
    let policy = &*wanted.name;
    let (member, state) = match last_good {
        Some(member) => {
            tracing::error!(policy, problem, "the policy can't be changed: its last good revision goes on");
            (Some(member), State::LastGood(problem))
        }
        None => {
            tracing::error!(policy, problem, "the policy can't come into force");
            let policy = wanted.policy.as_ref().ok().map(|(policy, _)| policy.clone());
            (policy.map(|policy| Member::unready(policy, &problem)), State::Unready(problem))
        }
    };
    Held { wanted, member, state, attempt: None }
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    text::with_causes(error, MAX_PROBLEM)
}
