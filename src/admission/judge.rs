//! The judge: decides reviews with the active policies, and reports each decision to observers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use wardset_core::decision::{Decision, Outcome};
use wardset_core::placement::ClusterNodes;
use wardset_core::plan::Phase;
use wardset_core::policy::NamespaceLabels;
use wardset_core::review::{Context, Review};
use wardset_runtime::{Evaluator, Finding, Full, InFlightPermit, MeasuredEvaluation, Snapshot};

use super::placement;
use crate::cluster::{Namespaces, Nodes, Revisions};

/// Decides reviews. The webhook and the command line use the same judge.
pub struct Judge {
    policies: Arc<ArcSwap<Snapshot>>,
    namespaces: NamespaceSource,
    evaluator: Evaluator,
    observers: Vec<Box<dyn Observer>>,
    nodes: NodeSource,
    revisions: Option<Revisions>,
}

/// The source of the labels of a review's namespace.
pub enum NamespaceSource {
    /// A watch of the cluster.
    Cluster(Arc<Namespaces>),
    /// The same labels for every namespace, from the command line.
    Fixed(NamespaceLabels),
}

/// The source of the cluster's nodes.
pub enum NodeSource {
    /// A watch of the cluster.
    Cluster(Arc<Nodes>),
    /// The same nodes for every review, from the command line; `None` if they are unknown.
    Fixed(Option<Arc<ClusterNodes>>),
}

/// Learns of each decision before it is answered. An observer must return quickly and cannot change the decision.
pub trait Observer: Send + Sync {
    /// Called once per decision.
    fn decided(&self, decided: &Decided<'_>);
}

/// A decision and its review.
pub struct Decided<'d> {
    /// The webhook that asked.
    pub phase: Phase,
    /// The review.
    pub review: &'d Review,
    /// The decision.
    pub decision: &'d Decision,
    /// Time since the request arrived.
    pub elapsed: Duration,
}

impl Judge {
    /// Creates a judge without observers.
    #[must_use]
    pub fn new(policies: Arc<ArcSwap<Snapshot>>, namespaces: NamespaceSource, evaluator: Evaluator) -> Self {
        Self {
            policies,
            namespaces,
            evaluator,
            observers: Vec::new(),
            nodes: NodeSource::Fixed(None),
            revisions: None,
        }
    }

    /// Adds an observer. Observers are called in the order in which they were added.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Sets the nodes of the cluster, for policies and warnings. Without them, nodes are unknown.
    #[must_use]
    pub fn with_nodes(mut self, nodes: NodeSource) -> Self {
        self.nodes = nodes;
        self
    }

    /// Lets denied updates pass, with a warning, if they bring back a revision that the cluster ran before.
    #[must_use]
    pub fn with_revisions(mut self, revisions: Revisions) -> Self {
        self.revisions = Some(revisions);
        self
    }

    /// Returns the active policies.
    #[must_use]
    pub fn policies(&self) -> Arc<Snapshot> {
        self.policies.load_full()
    }

    /// Returns whether the labels of namespaces are unknown.
    #[must_use]
    pub fn lacks_namespaces(&self) -> bool {
        matches!(self.namespaces, NamespaceSource::Fixed(NamespaceLabels::Unknown))
    }

    /// Fails if no further review could start now. This check is cheaper than parsing a request first.
    ///
    /// # Errors
    ///
    /// Too many reviews are in flight.
    pub fn has_room(&self) -> Result<(), Full> {
        self.evaluator.in_flight().has_room()
    }

    /// Takes a permit for a review, or fails without waiting.
    ///
    /// # Errors
    ///
    /// Too many reviews are in flight.
    pub fn admit(&self, review: &Review) -> Result<InFlightPermit, Full> {
        self.evaluator.in_flight().admit(review)
    }

    /// Decides a review that was received at `received`. Policies that have not finished by `deadline` fail.
    pub async fn decide(
        &self,
        permit: InFlightPermit,
        review: Arc<Review>,
        phase: Phase,
        received: Instant,
        deadline: Instant,
    ) -> Decision {
        let (policies, context) = self.facts(&review, deadline).await;
        let (evaluated, nodes) = (Arc::clone(&review), context.nodes.clone());
        let mut decision = self.evaluator.decide(permit, policies, evaluated, context, phase, deadline).await;
        if let (Some(revisions), Outcome::Denied { .. }) = (&self.revisions, &decision.outcome)
            && let Some(revision) = revisions.brought_back(&review, deadline).await
        {
            decision.allow_rollback(&review, phase, revision);
        }
        placement::add(&review, nodes.as_ref(), &mut decision, deadline).await;
        let decided = Decided { phase, review: &review, decision: &decision, elapsed: received.elapsed() };
        self.observers.iter().for_each(|observer| observer.decided(&decided));
        decision
    }

    /// Decides a review, evaluates each policy a second time, and returns the verdicts that differ. Observers do not
    /// learn of it.
    pub async fn decide_twice(
        &self,
        permit: InFlightPermit,
        review: Arc<Review>,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<Finding>) {
        let (policies, context) = self.facts(&review, deadline).await;
        self.evaluator.decide_twice(permit, policies, review, context, phase, deadline).await
    }

    /// Decides a review, and measures each evaluation. Does not notify the observers.
    pub async fn decide_measured(
        &self,
        permit: InFlightPermit,
        review: Arc<Review>,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<MeasuredEvaluation>) {
        let (policies, context) = self.facts(&review, deadline).await;
        self.evaluator.decide_measured(permit, policies, review, context, phase, deadline).await
    }

    /// Returns the policies and the context of one review. The policies are loaded once, so that a change of policies
    /// during a review does not affect it.
    async fn facts(&self, review: &Review, deadline: Instant) -> (Arc<Snapshot>, Context) {
        let policies = self.policies.load_full();
        let namespace_labels = match &self.namespaces {
            NamespaceSource::Fixed(labels) => labels.clone(),
            NamespaceSource::Cluster(namespaces) if policies.looks_at_namespaces() => {
                namespaces.labels(&review.namespace, deadline).await
            }
            NamespaceSource::Cluster(_) => NamespaceLabels::Unknown,
        };
        let nodes = match &self.nodes {
            NodeSource::Fixed(nodes) => nodes.clone(),
            NodeSource::Cluster(nodes) if policies.looks_at_nodes() => nodes.current(),
            NodeSource::Cluster(_) => None,
        };
        (policies, Context { namespace_labels, nodes })
    }
}
