//! The desired policies and their active state. A change is compiled and validated here, outside of reviews, and then
//! swapped in as a whole.
//!
//! ```text
//! files ────┐ put(source, wanted)                      ┌─► ArcSwap<Snapshot>, which reviews read
//! cluster ──┴────────────────────► Store: last good ───┴─► standings, which become metrics and status
//! ```
//!
//! If a changed policy cannot become active, its last good revision stays active, and other policies are not
//! affected. If its module compiles slowly, the policy becomes active later, automatically, and delays no other
//! policy. The store never decides on a review and never polls for changes.

mod tags;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use wardset_core::policy::{ModuleRef, OciReference, Policy};
use wardset_core::text;
use wardset_runtime::{Member, Snapshot, Unusable};

use crate::metrics::Metrics;
use crate::supply::modules::Modules;

/// Maximum length of a policy's problem, in bytes.
const MAX_PROBLEM: usize = 1024;

/// Time for which a change of several policies waits for the slowest one, so that they become active together. Usual
/// modules compile in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two attempts for policies whose problem may pass: after the first failure, and at most.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// A source of policies. If two policies have the same name, the one from the first source is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `--policies`.
    Files,
    /// `Policy` resources.
    Cluster,
}

/// A policy as its source defines it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The policy's name.
    pub name: Arc<str>,
    /// A text that is equal if and only if nothing changed.
    pub revision: Arc<str>,
    /// The policy, and the folder at which a relative `file:` path starts; or the policy's problem.
    pub policy: Result<(Policy, PathBuf), String>,
    /// The revision that was active before this server started, if it is known and differs.
    pub last_good: Option<Policy>,
    /// A text whose change asks to resolve the tag of the module again, although nothing else changed.
    pub resolve_request: Option<Arc<str>>,
}

/// The active state of a desired policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The policy's name.
    pub name: Arc<str>,
    /// The desired revision.
    pub revision: Arc<str>,
    /// The state of the desired revision.
    pub state: State,
    /// The active module.
    pub module: Option<ActiveModule>,
    /// `Unsigned`, `BadSignature` or `WrongIdentity`, if the rules of `--trust` refuse the desired revision's module;
    /// `RegistryNotAllowed` if `--allow-registry` does.
    pub refusal: Option<&'static str>,
}

/// The module of an active policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveModule {
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// The reference with the digest of its artifact, if it comes from a registry.
    pub reference: Option<String>,
}

/// The state of a desired revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The desired revision is active.
    Ready,
    /// An older revision is active, for this reason.
    LastGood(String),
    /// The module with this name, of the desired revision, is still being compiled. Until then the previous revision
    /// stays active, if there is one.
    Compiling(String),
    /// No revision works, for this reason. If the policy could be parsed, its `onError` decides on reviews.
    Unready(String),
}

/// The store of desired and active policies.
pub struct Store {
    modules: Arc<Modules>,
    live: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    held: Mutex<BTreeMap<PolicyKey, HeldPolicy>>,
    standings: watch::Sender<Arc<Vec<(Source, Standing)>>>,
    /// The sources that have delivered their first list.
    heard: watch::Sender<Vec<Source>>,
}

/// The state of one policy.
struct HeldPolicy {
    wanted: Wanted,
    /// The active member, unless it is shadowed. `None` if the policy is malformed, or if it is new and pending.
    member: Option<Member>,
    state: State,
    /// The attempt to load the desired revision, while it is pending.
    attempt: Option<Attempt>,
    /// Whether the last attempt failed for a reason that may pass.
    may_pass: bool,
    /// Why `--trust` or `--allow-registry` refused the module of the last attempt.
    refusal: Option<&'static str>,
    /// The digest of the tag that caused the last attempt, if a moved tag did.
    moved_to: Option<String>,
}

/// An attempt to load a revision.
struct Attempt {
    task: AbortHandle,
    /// Whether the module may have changed since the attempt started.
    stale: bool,
}

/// The result of an attempt.
struct Tried {
    member: Result<Member, LoadProblem>,
    /// The revision that was active before this server started.
    last_good: Option<Member>,
}

/// The reason why a revision does not load.
struct LoadProblem {
    text: String,
    /// Whether the same revision may load later.
    may_pass: bool,
    /// Why the rules of `--trust` refuse the module.
    refusal: Option<&'static str>,
}

type PolicyKey = (Source, Arc<str>);

impl Store {
    /// Creates a store without policies.
    ///
    /// # Errors
    ///
    /// None: an empty snapshot has no duplicate names.
    pub fn new(modules: Arc<Modules>, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        let live = Arc::new(ArcSwap::from_pointee(Snapshot::of(Arc::clone(modules.engine()), [])?));
        let standings = watch::Sender::new(Arc::default());
        let heard = watch::Sender::default();
        Ok(Self { modules, live, metrics, held: Mutex::default(), standings, heard })
    }

    /// Returns the active snapshot. Each review loads it once.
    #[must_use]
    pub fn live(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.live)
    }

    /// Returns the modules of the policies.
    #[must_use]
    pub fn modules(&self) -> Arc<Modules> {
        Arc::clone(&self.modules)
    }

    /// Returns the state of all desired policies, and each change of it.
    #[must_use]
    pub fn standings(&self) -> watch::Receiver<Arc<Vec<(Source, Standing)>>> {
        self.standings.subscribe()
    }

    /// Replaces the desired policies of a source. Policies that it no longer names are removed. Returns once the new
    /// ones are active, except for policies whose modules take longer than two seconds to load. Those are
    /// [`State::Compiling`] and become active later, automatically. The first list of a source has no
    /// timeout, because the server answers no review until then.
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
        let is_first = !self.heard.borrow().contains(&source);
        let until = Instant::now() + PATIENCE;
        let mut slow = Vec::new();
        for (before, wanted, mut task) in tried {
            let key = (source, Arc::clone(&wanted.name));
            let ended = tokio::time::timeout_at(until, &mut task).await;
            let policy = match ended {
                Ok(ended) => settle(before, wanted, ended.unwrap_or_else(Tried::broken)),
                Err(_) if is_first => {
                    slow.push((key.clone(), wanted.clone(), task));
                    compiling(before, wanted, None)
                }
                Err(_) => self.leave_to_itself(before, wanted, task, key.clone()),
            };
            held.insert(key, policy);
        }
        if !slow.is_empty() {
            // The server is not ready yet. The states give the reason.
            self.publish(&held);
        }
        for (key, wanted, task) in slow {
            let before = held.remove(&key);
            held.insert(key, settle(before, wanted, task.await.unwrap_or_else(Tried::broken)));
        }
        for (name, policy) in before {
            tracing::info!(policy = &*name, "removed the policy");
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

    /// Completes once the first list of `source` is active.
    pub async fn taken(&self, source: Source) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.heard.subscribe().wait_for(|heard| heard.contains(&source)).await;
    }

    /// Starts to load a policy's module and to validate its settings.
    fn attempt(&self, before: Option<&HeldPolicy>, wanted: &Wanted) -> JoinHandle<Tried> {
        let (modules, policy) = (Arc::clone(&self.modules), wanted.policy.clone());
        let goes_on = before.is_some_and(HeldPolicy::goes_on);
        let last_good = wanted.last_good.clone().filter(|_| !goes_on);
        tokio::spawn(async move {
            let member = match policy {
                Ok((policy, folder)) => modules.member(policy, &folder).await.map_err(|error| LoadProblem {
                    may_pass: error.may_pass(),
                    refusal: error.refusal(),
                    text: said(&error),
                }),
                Err(text) => Err(LoadProblem { text, may_pass: false, refusal: None }),
            };
            let last_good = match last_good {
                Some(policy) if member.is_err() => modules.member(policy, Path::new("")).await.ok(),
                _ => None,
            };
            Tried { member, last_good }
        })
    }

    /// Tries the policies again whose problem may pass, until the process ends: their registry did not answer or refused,
    /// or the machine was too busy to compile their modules. The time between two attempts of all such policies grows
    /// from 30 s to 5 minutes.
    pub async fn keep_retrying(self: Arc<Self>) {
        let mut pause = FIRST_RETRY;
        loop {
            tokio::time::sleep(pause).await;
            let some = self.retry().await;
            pause = if some { (2 * pause).min(LAST_RETRY) } else { FIRST_RETRY };
        }
    }

    /// Starts another attempt for each policy whose problem may pass. Their states and active revisions
    /// stay until the attempts end. Returns whether there are any.
    pub async fn retry(self: &Arc<Self>) -> bool {
        let mut held = self.held.lock().await;
        let mut some = false;
        for (key, policy) in held.iter_mut().filter(|(_, policy)| policy.may_pass) {
            some = true;
            if policy.attempt.is_none() {
                let task = self.attempt(Some(policy), &policy.wanted);
                policy.attempt = Some(self.settle_later(task, key.clone()));
            }
        }
        some
    }

    /// Returns the policy's state while its module is compiled. `task` activates the policy later.
    fn leave_to_itself(
        self: &Arc<Self>,
        before: Option<HeldPolicy>,
        wanted: Wanted,
        task: JoinHandle<Tried>,
        key: PolicyKey,
    ) -> HeldPolicy {
        let attempt = self.settle_later(task, key);
        compiling(before, wanted, Some(attempt))
    }

    /// Lets an attempt end in the background.
    fn settle_later(self: &Arc<Self>, task: JoinHandle<Tried>, key: PolicyKey) -> Attempt {
        let attempt = Attempt { task: task.abort_handle(), stale: false };
        let (id, store) = (attempt.task.id(), Arc::clone(self));
        tokio::spawn(async move {
            let tried = task.await.unwrap_or_else(Tried::broken);
            store.arrived(key, id, tried).await;
        });
        attempt
    }

    /// Activates a pending policy once its attempt has ended.
    async fn arrived(self: &Arc<Self>, key: PolicyKey, id: tokio::task::Id, tried: Tried) {
        let mut held = self.held.lock().await;
        let is_this =
            |held: &HeldPolicy| held.attempt.as_ref().is_some_and(|attempt| attempt.task.id() == id);
        // Another revision is desired by now, or none.
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

    fn publish(&self, held: &BTreeMap<PolicyKey, HeldPolicy>) {
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
            // Names are the keys, so there are no duplicates. If there were, the previous snapshot would stay active.
            Err(error) => {
                tracing::error!(%error, "failed to combine the policies; the previous ones stay active")
            }
        }
        let standing = |((source, name), held): (&(Source, Arc<str>), &HeldPolicy)| {
            let state = if shadowed(source, name) {
                State::Unready("a policy of the same name from `--policies` is active instead".to_owned())
            } else {
                held.state.clone()
            };
            self.metrics.policy_ready(name, state == State::Ready);
            let module = held.member.as_ref().map(Member::plan).filter(|plan| !plan.digest.is_empty());
            let module = module.map(|plan| ActiveModule {
                name: plan.manifest.name.clone(),
                version: plan.manifest.version.clone(),
                digest: plan.digest.clone(),
                reference: match &plan.policy.module {
                    ModuleRef::Oci(reference) => Some(reference.to_string()),
                    ModuleRef::Builtin(_) | ModuleRef::File(_) => None,
                },
            });
            let revision = Arc::clone(&held.wanted.revision);
            (*source, Standing { name: Arc::clone(name), revision, state, module, refusal: held.refusal })
        };
        self.standings.send_replace(Arc::new(held.iter().map(standing).collect()));
    }
}

impl HeldPolicy {
    /// Returns whether the member has a module, so that it stays active if a new revision fails.
    fn goes_on(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.plan().digest.is_empty())
    }

    /// Returns the module's reference if it has only a tag, which can move.
    fn tag(&self) -> Option<&OciReference> {
        match &self.wanted.policy.as_ref().ok()?.0.module {
            ModuleRef::Oci(reference) if reference.digest().is_none() => Some(reference),
            _ => None,
        }
    }

    fn may_change(&self) -> bool {
        self.wanted.policy.as_ref().is_ok_and(|(policy, _)| policy.module.may_change())
    }
}

impl Tried {
    /// Returns the result of a task that panicked, which is a bug.
    fn broken(error: tokio::task::JoinError) -> Self {
        let problem = LoadProblem { text: said(&error), may_pass: false, refusal: None };
        Self { member: Err(problem), last_good: None }
    }
}

/// Returns whether nothing about a policy changed.
fn is_unchanged(held: &mut HeldPolicy, wanted: &Wanted) -> bool {
    if held.wanted.revision != wanted.revision {
        return false;
    }
    let request = &wanted.resolve_request;
    if held.tag().is_some() && request.is_some() && *request != held.wanted.resolve_request {
        return false;
    }
    // The module's file may have changed while the policy did not.
    let may_change = held.may_change();
    match &mut held.attempt {
        // The file is read again once this attempt has ended.
        Some(attempt) => {
            attempt.stale |= may_change;
            true
        }
        None => !may_change,
    }
}

/// Returns the state of a policy whose module is still being compiled.
fn compiling(before: Option<HeldPolicy>, wanted: Wanted, attempt: Option<Attempt>) -> HeldPolicy {
    let module =
        wanted.policy.as_ref().map_or_else(|_| "unknown".to_owned(), |(policy, _)| policy.module.to_string());
    tracing::info!(
        policy = &*wanted.name,
        module,
        "still compiling the policy's module; the policy becomes active afterwards"
    );
    // A member without a module stays as well: reviews that its `onError` denies must not be allowed in the meantime.
    let member = before.and_then(|held| held.member);
    let state = State::Compiling(module);
    HeldPolicy { wanted, member, state, attempt, may_pass: false, refusal: None, moved_to: None }
}

/// Returns a policy's new state after an attempt.
fn settle(before: Option<HeldPolicy>, wanted: Wanted, tried: Tried) -> HeldPolicy {
    let same = before.as_ref().filter(|held| held.wanted.revision == wanted.revision);
    let moved_to = same.and_then(|held| held.moved_to.clone());
    let problem = match tried.member {
        Ok(member) => {
            let former = before.as_ref().and_then(|held| held.member.as_ref());
            let member = match former {
                Some(former) => member.after(former),
                None => member,
            };
            let plan = member.plan();
            let is_same = |held: &HeldPolicy| {
                let former = held.member.as_ref().map(|former| &former.plan().policy.module);
                held.state == State::Ready && former == Some(&plan.policy.module)
            };
            if !same.is_some_and(is_same) {
                let (module, reference) = (&*plan.digest, &plan.policy.module);
                tracing::info!(policy = &*wanted.name, module, %reference, "activated the policy");
            }
            return HeldPolicy {
                wanted,
                member: Some(member),
                state: State::Ready,
                attempt: None,
                may_pass: false,
                refusal: None,
                moved_to,
            };
        }
        Err(problem) => problem,
    };
    let LoadProblem { text: problem, may_pass, refusal } = problem;
    let last_good = before.filter(HeldPolicy::goes_on).and_then(|held| held.member).or(tried.last_good);
    let policy = &*wanted.name;
    let (member, state) = match last_good {
        Some(member) => {
            tracing::error!(
                policy,
                problem,
                "failed to load the policy; its last good revision stays active; hint: fix the `problem`"
            );
            (Some(member), State::LastGood(problem))
        }
        None => {
            tracing::error!(
                policy,
                problem,
                "failed to load the policy; its `onError` applies to reviews, unless the policy is malformed; \
                 hint: fix the `problem`"
            );
            let policy = wanted.policy.as_ref().ok().map(|(policy, _)| policy.clone());
            (policy.map(|policy| Member::unready(policy, &problem)), State::Unready(problem))
        }
    };
    HeldPolicy { wanted, member, state, attempt: None, may_pass, refusal, moved_to }
}

fn said(error: &(dyn std::error::Error + 'static)) -> String {
    text::with_causes(error, MAX_PROBLEM)
}
