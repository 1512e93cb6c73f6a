//! The policies that are wanted, and what of them is in force: a change is compiled and validated here, off the path of a
//! review, then swapped in whole.
//!
//! ```text
//! files ────┐ put(source, wanted)                      ┌─► ArcSwap<Snapshot>, which reviews read
//! cluster ──┴────────────────────► Store: last good ───┴─► standings, which become metrics and status
//! ```
//!
//! A change that can't come into force leaves the last good revision of that policy where it is and touches no other. It
//! never decides on a review, and it never looks for changes itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use wardset_core::policy::Policy;
use wardset_core::text;
use wardset_runtime::{Member, Snapshot, Unusable};

use crate::metrics::Metrics;
use crate::modules::Modules;

/// The most bytes of what is said of a policy's problem.
const MAX_PROBLEM: usize = 1024;

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
    /// Nothing that works, for this reason: reviews are handled as `onError` says, where the policy could be read so far.
    Unready(String),
}

/// See the module's page.
pub struct Store {
    modules: Arc<Modules>,
    live: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    held: Mutex<BTreeMap<(Source, Arc<str>), Held>>,
    standings: watch::Sender<Arc<Vec<(Source, Standing)>>>,
    /// The sources that have said what they want.
    heard: watch::Sender<Vec<Source>>,
}

/// What is known of one policy.
struct Held {
    wanted: Wanted,
    /// In force unless it is shadowed; none where the policy can't even be read.
    member: Option<Member>,
    state: State,
}

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

    /// Takes all that a source wants now; what it doesn't name any more goes. Returns once it is in force.
    pub async fn put(&self, source: Source, wanted: Vec<Wanted>) {
        let mut held = self.held.lock().await;
        let mut before = BTreeMap::new();
        while let Some(key) = held.keys().find(|(from, _)| *from == source).cloned() {
            if let Some(policy) = held.remove(&key) {
                before.insert(key.1, policy);
            }
        }
        for wanted in wanted {
            let name = Arc::clone(&wanted.name);
            let policy = self.revise(before.remove(&name), wanted).await;
            held.insert((source, name), policy);
        }
        for name in before.into_keys() {
            tracing::info!(policy = &*name, "the policy is gone");
            self.metrics.policy_gone(&name);
        }
        self.publish(&held);
        drop(held);
        self.heard.send_if_modified(|heard| {
            let first = !heard.contains(&source);
            heard.extend(first.then_some(source));
            first
        });
        self.modules.forget_unused().await;
    }

    /// Completes once `source` has said what it wants for the first time, and that is in force.
    pub async fn taken(&self, source: Source) {
        // The sender is in `self`, so it can't be gone.
        let _ = self.heard.subscribe().wait_for(|heard| heard.contains(&source)).await;
    }

    /// What becomes of one policy.
    async fn revise(&self, before: Option<Held>, wanted: Wanted) -> Held {
        let reads_a_file =
            |held: &Held| held.wanted.policy.as_ref().is_ok_and(|(policy, _)| policy.module.is_file());
        let before = match before {
            // A file may have changed while its policy did not.
            Some(held) if held.wanted.revision == wanted.revision && !reads_a_file(&held) => return held,
            other => other,
        };
        let tried = match wanted.policy.clone() {
            Ok((policy, folder)) => self.modules.member(policy, &folder).await.map_err(|error| said(&error)),
            Err(problem) => Err(problem),
        };
        let problem = match tried {
            Ok(member) => {
                if before
                    .is_none_or(|held| held.state != State::Ready || held.wanted.revision != wanted.revision)
                {
                    tracing::info!(
                        policy = &*wanted.name,
                        module = member.plan().digest,
                        "the policy is in force"
                    );
                }
                return Held { wanted, member: Some(member), state: State::Ready };
            }
            Err(problem) => problem,
        };
        let (member, state) = match self.last_good(before, &wanted).await {
            Some(member) => (Some(member), State::LastGood(problem)),
            None => {
                let policy = wanted.policy.as_ref().ok().map(|(policy, _)| policy.clone());
                (policy.map(|policy| Member::unready(policy, &problem)), State::Unready(problem))
            }
        };
        match &state {
            State::LastGood(problem) => {
                tracing::error!(
                    policy = &*wanted.name,
                    problem,
                    "the policy can't be changed: its last good revision goes on"
                );
            }
            State::Unready(problem) => {
                tracing::error!(policy = &*wanted.name, problem, "the policy can't come into force");
            }
            State::Ready => {}
        }
        Held { wanted, member, state }
    }

    async fn last_good(&self, before: Option<Held>, wanted: &Wanted) -> Option<Member> {
        if let Some(Held { member: Some(member), state: State::Ready | State::LastGood(_), .. }) = before {
            return Some(member);
        }
        let policy = wanted.last_good.clone()?;
        self.modules.member(policy, std::path::Path::new("")).await.ok()
    }

    fn publish(&self, held: &BTreeMap<(Source, Arc<str>), Held>) {
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

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    text::with_causes(error, MAX_PROBLEM)
}
