//! The policies in force: compiled, their settings validated, in order. Immutable; a change makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wardset_core::chain::{Chain, Gate, Phase, Plan, Turn};
use wardset_core::decision::Decision;
use wardset_core::policy::{ClusterData, NamespaceLabels, Policy};
use wardset_core::review::{Operation, Review};
use wardset_core::verdict::{Failure, FailureClass, Verdict};

use crate::contract::{GuestPre, wit};
use crate::engine::Engine;
use crate::host::{Evaluation, Host};
use crate::module::{Module, SettingsError};
use crate::sandbox::{self, Sandbox};

/// A set of policies that decides on reviews.
pub struct Snapshot {
    engine: Arc<Engine>,
    plans: Vec<Arc<Plan>>,
    /// What stands behind each plan, in the plans' order.
    loaded: Vec<Loaded>,
}

struct Loaded {
    module: Arc<Module>,
    allowed_data: Arc<[ClusterData]>,
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
        /// What is wrong.
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
}

impl Snapshot {
    /// Puts policies with their modules into force.
    ///
    /// # Errors
    ///
    /// The first policy that can't be used: a name that stands twice, settings that the module refuses, cluster data that
    /// the policy doesn't allow.
    pub async fn new(
        engine: Arc<Engine>,
        policies: impl IntoIterator<Item = (Policy, Arc<Module>)>,
    ) -> Result<Self, Unusable> {
        let mut plans = Vec::new();
        let mut loaded = BTreeMap::new();
        for (policy, module) in policies {
            let name = Arc::clone(&policy.name);
            if let Some(data) =
                module.manifest.cluster.iter().find(|data| !policy.cluster_data.contains(data))
            {
                let ClusterData::NamespaceLabels = data;
                return Err(Unusable::ClusterData { policy: name, module: module.manifest.name.clone() });
            }
            module
                .validate_settings(&engine, &policy)
                .await
                .map_err(|error| Unusable::Settings { policy: Arc::clone(&name), problem: error })?;
            let allowed_data = policy.cluster_data.clone().into();
            let plan = Plan { policy, manifest: Arc::clone(&module.manifest), digest: module.digest.clone() };
            if loaded.insert(Arc::clone(&name), Loaded { module, allowed_data }).is_some() {
                return Err(Unusable::SameName(name));
            }
            plans.push(Arc::new(plan));
        }
        Plan::sort(&mut plans);
        let loaded = plans.iter().filter_map(|plan| loaded.remove(&plan.policy.name)).collect();
        Ok(Self { engine, plans, loaded })
    }

    /// The policies, in the order in which they run.
    #[must_use]
    pub fn plans(&self) -> &[Arc<Plan>] {
        &self.plans
    }

    /// Decides on a review. What is not decided by `deadline` fails with the class `late`.
    pub async fn decide(&self, review: &Review, phase: Phase, deadline: Instant) -> Decision {
        let facts = Facts::new(review);
        let mut chain = Chain::new(review, &self.plans, phase);
        while let Some(turn) = chain.turn() {
            let started = Instant::now();
            let verdict = self.evaluate(&facts, &turn, deadline).await;
            chain.take(&turn, verdict, started.elapsed());
        }
        chain.finish()
    }

    async fn evaluate(
        &self,
        facts: &Facts<'_>,
        turn: &Turn<'_>,
        deadline: Instant,
    ) -> Result<Verdict, Failure> {
        let policy = &turn.plan.policy;
        // A turn is of one of the plans, and each has its module at the same place.
        let Loaded { module, allowed_data } = &self.loaded[turn.index];
        let waited = tokio::time::timeout_at(deadline.into(), self.engine.slot()).await;
        let Ok(Some(_slot)) = waited else {
            return Err(Failure::new(
                FailureClass::Late,
                "the review's deadline passed before a sandbox was free",
            ));
        };
        let evaluation = Evaluation {
            policy: Arc::clone(&policy.name),
            manifest: Arc::clone(&module.manifest),
            allowed_data: Arc::clone(allowed_data),
            object: Arc::clone(&turn.document),
            old_object: facts.review.old_object.clone(),
            namespace_labels: facts.namespace_labels.clone(),
        };
        run(&self.engine, &module.guest, evaluation, policy, &facts.request(turn.gate), deadline).await
    }
}

async fn run(
    engine: &Engine,
    guest: &GuestPre<Host>,
    evaluation: Evaluation,
    policy: &Policy,
    request: &wit::Request,
    deadline: Instant,
) -> Result<Verdict, Failure> {
    let limits = sandbox::limits(policy.limits.timeout, policy.limits.memory, deadline);
    if limits.deadline.saturating_duration_since(Instant::now()) == Duration::ZERO {
        return Err(Failure::new(FailureClass::Late, "the review's deadline passed before its turn"));
    }
    let sandbox = Sandbox::start(engine, guest, Some(evaluation), limits).await?;
    sandbox.evaluate(request, &policy.settings).await
}

/// What guests are told of a review, made once for all of them.
struct Facts<'r> {
    review: &'r Review,
    namespace_labels: Option<Arc<str>>,
}

impl<'r> Facts<'r> {
    fn new(review: &'r Review) -> Self {
        let namespace_labels = match &review.namespace_labels {
            // A map of strings: serialisation can't fail.
            NamespaceLabels::Known(labels) => serde_json::to_string(labels).ok().map(Into::into),
            NamespaceLabels::Unknown => None,
        };
        Self { review, namespace_labels }
    }

    fn request(&self, gate: Gate) -> wit::Request {
        let review = self.review;
        wit::Request {
            operation: match review.operation {
                Operation::Create => wit::Operation::Create,
                Operation::Update => wit::Operation::Update,
            },
            kind: review.kind.clone(),
            name: review.name.clone(),
            namespace: review.namespace.clone(),
            user: review.user.clone(),
            dry_run: review.dry_run,
            template: match gate {
                Gate::Open => wit::TemplateGate::Open,
                Gate::Closed => wit::TemplateGate::Closed,
            },
        }
    }
}
