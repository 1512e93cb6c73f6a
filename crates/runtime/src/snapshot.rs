//! The active policies: compiled, with validated settings, in order. Immutable; a change makes a new snapshot.

mod again;
mod measure;

pub use again::Finding;
pub use measure::MeasuredEvaluation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::SemaphorePermit;
use wardset_core::agreement::Difference;
use wardset_core::chain::{Chain, Turn};
use wardset_core::decision::Decision;
use wardset_core::manifest::Manifest;
use wardset_core::plan::{Phase, Plan};
use wardset_core::policy::{ClusterData, NamespaceLabels, Policy};
use wardset_core::review::{Context, Review};
use wardset_core::verdict::{Failure, FailureClass, Verdict};

use crate::engine::{Engine, Permit};
use crate::host::{Evaluation, SandboxLimits};
use crate::load_error::SettingsError;
use crate::module::Module;
use crate::quota::Quota;
use crate::sandbox::{self, Sandbox};

/// A set of policies that decides on reviews.
pub struct Snapshot {
    engine: Arc<Engine>,
    plans: Vec<Arc<Plan>>,
    /// The module of each plan, in the order of the plans.
    backing: Vec<Backing>,
    looks_at_namespaces: bool,
    looks_at_nodes: bool,
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
        quota: Quota,
    },
    /// The reason why there is no module.
    Nothing(Arc<str>),
}

/// The reason why a policy cannot become active.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Two policies have the same name.
    #[error("there are two policies named `{0}`")]
    SameName(Arc<str>),
    /// The module rejects the settings, or fails to validate them.
    #[error("policy `{policy}`: {problem}")]
    Settings {
        /// The policy.
        policy: Arc<str>,
        /// The problem.
        problem: SettingsError,
    },
    /// The module needs cluster data that the policy does not allow.
    #[error(
        "policy `{policy}`: module `{module}` needs the cluster data `{data}`; allow it by `spec.clusterData`"
    )]
    ClusterData {
        /// The policy.
        policy: Arc<str>,
        /// The module.
        module: String,
        /// The data, as in policy files.
        data: &'static str,
    },
    /// Two evaluations of the same review gave different verdicts.
    #[error("policy `{policy}`: the module's answers to the same review differ: {difference}")]
    Differs {
        /// The policy.
        policy: Arc<str>,
        /// The difference.
        difference: Difference,
    },
}

impl Member {
    /// Joins a policy with its module. The module must accept the policy's settings and give the same verdict twice.
    ///
    /// # Errors
    ///
    /// Settings that the module rejects, cluster data that the policy does not allow, and verdicts that differ.
    pub async fn new(engine: &Arc<Engine>, policy: Policy, module: Arc<Module>) -> Result<Self, Unusable> {
        let needed = module.manifest.needs(&policy.settings);
        if let Some(data) = needed.iter().find(|data| !policy.cluster_data.contains(data)) {
            let module = module.manifest.name.clone();
            return Err(Unusable::ClusterData { policy: policy.name, module, data: data.name() });
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
        Ok(Self { plan, backing: Backing::Module { module, quota: Quota::new(engine) } })
    }

    /// Makes the revision that follows `before`: permits held by that one count against the same quota.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if let Backing::Module { quota, .. } = &mut self.backing
            && let Backing::Module { quota: former, .. } = &before.backing
        {
            *quota = former.clone();
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
        let looks_at_nodes = plans
            .iter()
            .any(|plan| plan.policy.warn_placement || plan.policy.cluster_data.contains(&ClusterData::Nodes));
        Ok(Self { engine, plans, backing, looks_at_namespaces, looks_at_nodes })
    }

    /// Whether the labels of a namespace can change a decision.
    #[must_use]
    pub fn looks_at_namespaces(&self) -> bool {
        self.looks_at_namespaces
    }

    /// Whether the nodes of the cluster can change a decision or its warnings.
    #[must_use]
    pub fn looks_at_nodes(&self) -> bool {
        self.looks_at_nodes
    }

    /// The policies, in the order in which they run.
    #[must_use]
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// Decides a review. If a policy has not finished by `deadline`, it fails with the class `late`.
    pub async fn decide(
        &self,
        review: &Review,
        context: &Context,
        phase: Phase,
        deadline: Instant,
    ) -> Decision {
        let mut chain = Chain::new(review, context, &self.plans, phase);
        while let Some(turn) = chain.turn() {
            let started = Instant::now();
            let verdict = self.evaluate(review, context, &turn, deadline).await;
            chain.take(&turn, verdict, started.elapsed());
        }
        chain.finish()
    }

    /// Evaluates one policy of a review, without checking its verdict.
    pub async fn evaluate(
        &self,
        review: &Review,
        context: &Context,
        turn: &Turn<'_>,
        deadline: Instant,
    ) -> Result<Verdict, Failure> {
        let (module, _permits) = self.seat(turn, deadline).await?;
        run(&self.engine, module, review, context, turn, true, deadline).await
    }

    /// Returns the module of a turn, with the permits for one sandbox as soon as they are free. The permits must be
    /// dropped after the sandbox.
    async fn seat<'s>(
        &'s self,
        turn: &Turn<'_>,
        deadline: Instant,
    ) -> Result<(&'s Arc<Module>, (SemaphorePermit<'s>, Permit<'s>)), Failure> {
        // The index of a turn is that of its plan, and each plan has a backing.
        let (module, quota) = match &self.backing[turn.index] {
            Backing::Module { module, quota } => (module, quota),
            Backing::Nothing(reason) => return Err(Failure::new(FailureClass::Unready, reason)),
        };
        let permits = async {
            // The policy's quota first: a review that waits for it holds no sandbox.
            Some((quota.acquire().await?, self.engine.permit().await?))
        };
        let Ok(Some(permits)) = tokio::time::timeout_at(deadline.into(), permits).await else {
            return Err(Failure::new(
                FailureClass::Late,
                "the review's deadline passed before a sandbox was free",
            ));
        };
        Ok((module, permits))
    }
}

/// Runs a module in a fresh sandbox. `logs`: whether the guest's log lines are written.
async fn run(
    engine: &Engine,
    module: &Module,
    review: &Review,
    context: &Context,
    turn: &Turn<'_>,
    logs: bool,
    deadline: Instant,
) -> Result<Verdict, Failure> {
    let (evaluation, limits) = prepare(review, context, turn, logs, deadline)?;
    let sandbox = Sandbox::start(engine, &module.guest, Some(evaluation), limits).await?;
    sandbox.evaluate(review, turn.gate, &turn.plan.policy.settings).await
}

/// Returns the data and the limits of an evaluation that starts now.
fn prepare(
    review: &Review,
    context: &Context,
    turn: &Turn<'_>,
    logs: bool,
    deadline: Instant,
) -> Result<(Evaluation, SandboxLimits), Failure> {
    let policy = &turn.plan.policy;
    let limits = sandbox::limits(policy.limits.timeout, policy.limits.memory, deadline);
    if !limits.time_is_left() {
        return Err(Failure::new(FailureClass::Late, "the review's deadline passed before its turn"));
    }
    let evaluation = Evaluation {
        plan: Arc::clone(turn.plan),
        object: Arc::clone(&turn.document),
        old_object: review.old_object.clone(),
        namespace_labels: namespace_labels(policy, context),
        nodes: context.nodes.clone().filter(|_| policy.cluster_data.contains(&ClusterData::Nodes)),
        logs,
    };
    Ok((evaluation, limits))
}

/// Returns the labels of the namespace as JSON text, if they are known and the policy allows them.
fn namespace_labels(policy: &Policy, context: &Context) -> Option<String> {
    match &context.namespace_labels {
        NamespaceLabels::Known(labels) if policy.cluster_data.contains(&ClusterData::NamespaceLabels) => {
            // A map of strings always serialises.
            serde_json::to_string(&**labels).ok()
        }
        _ => None,
    }
}
