//! The active policies: compiled, with validated settings, in order. Immutable; a change makes a new snapshot.

mod again;

pub use again::Finding;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wardset_core::agreement::Difference;
use wardset_core::chain::{Chain, Gate, Phase, Plan, Turn};
use wardset_core::decision::Decision;
use wardset_core::manifest::Manifest;
use wardset_core::policy::{ClusterData, NamespaceLabels, Policy};
use wardset_core::review::{Operation, Review};
use wardset_core::verdict::{Failure, FailureClass, Verdict};

use crate::background;
use crate::contract::wit;
use crate::engine::{Engine, Slot};
use crate::guest::Guests;
use crate::host::Evaluation;
use crate::module::{Module, SettingsError};
use crate::sandbox::{self, Sandbox};
use crate::share::Share;

/// A set of policies that decides on reviews.
pub struct Snapshot {
    engine: Arc<Engine>,
    plans: Vec<Arc<Plan>>,
    /// The module of each plan, in the order of the plans.
    backing: Vec<Backing>,
    looks_at_namespaces: bool,
}

/// One policy of a snapshot. Cheap to clone: a new snapshot shares unchanged policies with the previous one.
#[derive(Clone)]
pub struct Member {
    plan: Arc<Plan>,
    backing: Backing,
}

#[derive(Clone)]
enum Backing {
    Module {
        module: Arc<Module>,
        share: Share,
    },
    /// Why there is none.
    Nothing(Arc<str>),
}

/// Why a policy can't come into force.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Two policies of one name.
    #[error("there are two policies named `{0}`")]
    SameName(Arc<str>),
    /// The module refuses the settings, or can't say.
    #[error("policy `{policy}`: {problem}")]
    Settings {
        /// The policy.
        policy: Arc<str>,
        /// The problem.
        problem: SettingsError,
    },
    /// The policy's module asks for cluster data that the policy doesn't allow.
    #[error(
        "policy `{policy}`: module `{module}` needs the cluster data `namespaceLabels`; allow it by `spec.clusterData`"
    )]
    ClusterData {
        /// The policy.
        policy: Arc<str>,
        /// The module.
        module: String,
    },
    /// The module answers differently when it is asked again.
    #[error("policy `{policy}`: the module's answers to the same review differ: {difference}")]
    Differs {
        /// The policy.
        policy: Arc<str>,
        /// The difference.
        difference: Difference,
    },
}

impl Member {
    /// A policy with the module that it names, once the module has accepted its settings and answered the same twice.
    ///
    /// # Errors
    ///
    /// Settings that the module refuses, cluster data that it needs and the policy doesn't allow, answers that differ.
    pub async fn new(engine: &Engine, policy: Policy, module: Arc<Module>) -> Result<Self, Unusable> {
        if let Some(data) = module.manifest.cluster.iter().find(|data| !policy.cluster_data.contains(data)) {
            let ClusterData::NamespaceLabels = data;
            let module = module.manifest.name.clone();
            return Err(Unusable::ClusterData { policy: policy.name, module });
        }
        module
            .validate_settings(engine, &policy)
            .await
            .map_err(|problem| Unusable::Settings { policy: Arc::clone(&policy.name), problem })?;
        let plan = Plan { policy, manifest: Arc::clone(&module.manifest), digest: module.digest.clone() };
        let plan = Arc::new(plan);
        if let Some(difference) = again::on_sample(engine, &plan, &module).await {
            return Err(Unusable::Differs { policy: Arc::clone(&plan.policy.name), difference });
        }
        Ok(Self { plan, backing: Backing::Module { module, share: Share::of(engine) } })
    }

    /// Makes the revision that follows `before`: permits held by that one count against the same quota.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if let Backing::Module { share, .. } = &mut self.backing
            && let Backing::Module { share: former, .. } = &before.backing
        {
            *share = former.clone();
        }
        self
    }

    /// Makes a policy without a working module. Each review to which it applies fails with the class `unready`, and
    /// `onError` decides.
    #[must_use]
    pub fn unready(policy: Policy, reason: &str) -> Self {
        let plan = Plan { policy, manifest: Arc::new(Manifest::unknown()), digest: String::new() };
        Self { plan: Arc::new(plan), backing: Backing::Nothing(reason.into()) }
    }

    /// Returns the policy and its manifest.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

impl Snapshot {
    /// Makes a snapshot of policies and their modules.
    ///
    /// # Errors
    ///
    /// The first unusable policy: a duplicate name, settings that the module rejects, or cluster data that the policy
    /// does not allow.
    pub async fn new(
        engine: Arc<Engine>,
        policies: impl IntoIterator<Item = (Policy, Arc<Module>)>,
    ) -> Result<Self, Unusable> {
        let mut members = Vec::new();
        for (policy, module) in policies {
            members.push(Member::new(&engine, policy, module).await?);
        }
        Self::of(engine, members)
    }

    /// Makes a snapshot of members. It takes microseconds, because the members did the slow work.
    ///
    /// # Errors
    ///
    /// A duplicate name.
    pub fn of(engine: Arc<Engine>, members: impl IntoIterator<Item = Member>) -> Result<Self, Unusable> {
        let mut plans = Vec::new();
        let mut backing = BTreeMap::new();
        for member in members {
            let name = Arc::clone(&member.plan.policy.name);
            if backing.insert(Arc::clone(&name), member.backing).is_some() {
                return Err(Unusable::SameName(name));
            }
            plans.push(member.plan);
        }
        Plan::sort(&mut plans);
        let backing = plans.iter().filter_map(|plan| backing.remove(&plan.policy.name)).collect();
        let looks = |plan: &Arc<Plan>| {
            plan.policy.scope.looks_at_namespace()
                || plan.policy.cluster_data.contains(&ClusterData::NamespaceLabels)
        };
        let looks_at_namespaces = plans.iter().any(looks);
        Ok(Self { engine, plans, backing, looks_at_namespaces })
    }

    /// Whether the labels of a namespace can change a decision.
    #[must_use]
    pub fn looks_at_namespaces(&self) -> bool {
        self.looks_at_namespaces
    }

    /// The policies, in the order in which they run.
    #[must_use]
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// Decides on a review. If a policy is not done by `deadline`, it fails with the class `late`.
    pub async fn decide(&self, review: &Review, phase: Phase, deadline: Instant) -> Decision {
        let facts = Facts::new(review);
        let mut chain = Chain::new(review, &self.plans, phase);
        let mut slot = None;
        while let Some(turn) = chain.turn() {
            let started = Instant::now();
            let verdict = self.evaluate(&facts, &turn, &mut slot, deadline, &mut ()).await;
            chain.take(&turn, verdict, started.elapsed());
        }
        chain.finish()
    }

    /// One turn of a review as [`Snapshot::decide`] takes it, with the time of each part. For benchmarks.
    pub async fn dissect(
        &self,
        review: &Review,
        turn: &Turn<'_>,
        deadline: Instant,
    ) -> (Result<Verdict, Failure>, Parts) {
        let mut parts = Parts::default();
        let verdict = self.evaluate(&Facts::new(review), turn, &mut None, deadline, &mut parts).await;
        (verdict, parts)
    }

    /// `slot` is the review's place in the pool, once it has one.
    async fn evaluate<'s>(
        &'s self,
        facts: &Facts<'_>,
        turn: &Turn<'_>,
        slot: &mut Option<Slot<'s>>,
        deadline: Instant,
        watch: &mut impl Watch,
    ) -> Result<Verdict, Failure> {
        let policy = &turn.plan.policy;
        // A turn is of one of the plans, and each has its module at the same place.
        let (module, share) = match &self.backing[turn.index] {
            Backing::Module { module, share } => (module, share),
            Backing::Nothing(reason) => return Err(Failure::new(FailureClass::Unready, reason)),
        };
        if share.burns() {
            background::step_aside().await;
        }
        let Some(_permit) = share.permit(&self.engine, slot, deadline).await else {
            return Err(Failure::new(
                FailureClass::Late,
                "the review's deadline passed before a sandbox was free",
            ));
        };
        let evaluation = Evaluation {
            plan: Arc::clone(turn.plan),
            object: Arc::clone(&turn.document),
            old_object: facts.review.old_object.clone(),
            namespace_labels: facts.namespace_labels(&policy.cluster_data),
            logs: true,
            share: Some(share.clone()),
        };
        run(&self.engine, &module.guests, evaluation, policy, facts.request(turn.gate), deadline, watch).await
    }
}

async fn run(
    engine: &Engine,
    guests: &Guests,
    evaluation: Evaluation,
    policy: &Policy,
    request: &wit::Request,
    deadline: Instant,
    watch: &mut impl Watch,
) -> Result<Verdict, Failure> {
    let limits = sandbox::limits(policy.limits.timeout, policy.limits.memory, deadline);
    if limits.deadline.saturating_duration_since(Instant::now()) == Duration::ZERO {
        return Err(Failure::new(FailureClass::Late, "the review's deadline passed before its turn"));
    }
    watch.begin();
    let mut sandbox = Sandbox::start(engine, guests, Some(evaluation), limits).await?;
    watch.started();
    let verdict = sandbox.evaluate(request, &policy.settings).await;
    watch.called();
    drop(sandbox);
    watch.ended();
    verdict
}

/// The durations of the parts of one evaluation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    /// A fresh sandbox.
    pub start: Duration,
    /// The guest's code and its calls of the host.
    pub call: Duration,
    /// Setting the sandbox back.
    pub end: Duration,
    since: Option<Instant>,
}

/// Looks on at an evaluation; nobody does when a review is decided.
trait Watch {
    fn begin(&mut self) {}
    fn started(&mut self) {}
    fn called(&mut self) {}
    fn ended(&mut self) {}
}

impl Watch for () {}

impl Watch for Parts {
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    fn started(&mut self) {
        self.start = self.lap();
    }

    fn called(&mut self) {
        self.call = self.lap();
    }

    fn ended(&mut self) {
        self.end = self.lap();
    }
}

impl Parts {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        self.since.replace(now).map_or(Duration::ZERO, |since| now - since)
    }
}

/// The facts of a review for guests, made once for all of them.
struct Facts<'r> {
    review: &'r Review,
    /// With the template's gate open, and closed.
    requests: [OnceLock<wit::Request>; 2],
    /// JSON text, once a guest may have it.
    namespace_labels: OnceLock<Option<Arc<str>>>,
}

impl<'r> Facts<'r> {
    fn new(review: &'r Review) -> Self {
        Self { review, requests: Default::default(), namespace_labels: OnceLock::new() }
    }

    fn request(&self, gate: Gate) -> &wit::Request {
        let (place, template) = match gate {
            Gate::Open => (&self.requests[0], wit::TemplateGate::Open),
            Gate::Closed => (&self.requests[1], wit::TemplateGate::Closed),
        };
        place.get_or_init(|| wit::Request {
            operation: match self.review.operation {
                Operation::Create => wit::Operation::Create,
                Operation::Update => wit::Operation::Update,
            },
            kind: self.review.kind.clone(),
            name: self.review.name.clone(),
            namespace: self.review.namespace.clone(),
            user: self.review.user.clone(),
            dry_run: self.review.dry_run,
            template,
        })
    }

    fn namespace_labels(&self, allowed: &[ClusterData]) -> Option<Arc<str>> {
        if !allowed.contains(&ClusterData::NamespaceLabels) {
            return None;
        }
        let made = self.namespace_labels.get_or_init(|| match &self.review.namespace_labels {
            // A map of strings: serialisation can't fail.
            NamespaceLabels::Known(labels) => serde_json::to_string(&**labels).ok().map(Into::into),
            NamespaceLabels::Unknown => None,
        });
        made.clone()
    }
}
