//! Where DaemonSets run: the nodes before and after policies, and the effect of an update on pods.
//!
//! ```text
//! files, or a cluster ─► Inventory (nodes, pods, DaemonSets) ─┐
//! review of a DaemonSet: as written, and as policies leave it ┴─► Preview ─► table | machine | explain
//! Inventory alone ─────────────────────────────────────────────► Matrix of DaemonSets and pools
//! ```
//!
//! `crates/placement` has the rules. This module reads objects and prints answers.

mod defaults;
mod explain;
mod inventory;
mod machine;
mod matrix;
mod object;
mod shape;
mod table;

use crate::offline::Reviewed;
use std::collections::{BTreeMap, BTreeSet};

use wardset_placement::{
    BlastRadius, DaemonSet, ExistingPod, KubernetesVersion, Node, NodeAnswer, ObjectChange, Placed, Update,
    port_conflicts,
};

pub use explain::explain;
pub use inventory::{Inventory, InventoryError, StoredDaemonSet};
pub use machine::{json, value};
pub use matrix::matrix;
pub use object::{ObjectError, ReadObject};
pub use table::{lines, table};

/// The answers for one DaemonSet on all nodes.
pub struct Preview<'a> {
    /// The DaemonSet as `namespace/name`.
    pub title: String,
    /// The file; empty for an object of the cluster.
    pub origin: String,
    /// The nodes, in the order of the answers.
    pub nodes: &'a [Node<'a>],
    /// The version whose rules decide.
    pub version: KubernetesVersion,
    /// The answers for the object as written.
    pub before: Vec<NodeAnswer>,
    /// The answers for the object as the policies leave it. The same as `before` if they refuse the object.
    pub after: Vec<NodeAnswer>,
    /// Whether the policies refuse the object.
    pub refused: bool,
    /// The nodes on which the stored object runs; `None` for a new DaemonSet.
    pub stored: Option<usize>,
    /// The effect on pods; `None` if the policies refuse the object, so that nothing changes.
    pub radius: Option<BlastRadius>,
    /// For each node, why its pod stays Pending although the controller creates it; empty without pods.
    pub waits: Vec<Option<String>>,
    /// The counters of the DaemonSet's status, if pods are known.
    pub counters: Option<StatusCounters>,
    /// Whether `before` is about other nodes, and not about other policies.
    pub nodes_changed: bool,
}

/// The counters of a DaemonSet's status, for the stored object or else the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StatusCounters {
    /// Nodes on which the controller wants a pod.
    pub desired: usize,
    /// Matching nodes with a pod.
    pub current: usize,
    /// Nodes with a pod on which the controller would create none.
    pub misscheduled: usize,
}

/// One DaemonSet in its three forms.
pub struct Forms<'a> {
    /// The stored object, for an update.
    pub stored: Option<&'a ReadObject>,
    /// The object as written.
    pub written: &'a ReadObject,
    /// The object as the policies leave it; `None` if they refuse it.
    pub decided: Option<&'a ReadObject>,
}

impl<'a> Preview<'a> {
    /// Computes the answers.
    ///
    /// # Errors
    ///
    /// An object with a field of another type than the API server accepts.
    pub fn new(
        title: String,
        origin: String,
        forms: &Forms<'_>,
        inventory: &'a Inventory,
        nodes: &'a [Node<'a>],
        old_nodes: Option<&[Node<'_>]>,
    ) -> Result<Self, ObjectError> {
        let version = inventory.version;
        let written = forms.written.daemon_set()?;
        let decided = forms.decided.map(ReadObject::daemon_set).transpose()?;
        let new = decided.as_ref().unwrap_or(&written);
        let stored = forms.stored.map(ReadObject::daemon_set).transpose()?;
        if let Some((field, problem)) = new.spec.update_strategy.problem() {
            let field = format!("spec.updateStrategy.{field}");
            return Err(ObjectError { field, problem: problem.to_owned() });
        }
        let before = match old_nodes {
            Some(old) => answers_before(new, nodes, old, version),
            None => written.spec.template.spec.answers(nodes, version),
        };
        let after = new.spec.template.spec.answers(nodes, version);
        let change = match (old_nodes, forms.stored) {
            (Some(_), _) => ObjectChange::Nothing,
            (None, Some(stored)) => stored.change_to(forms.decided.unwrap_or(forms.written)),
            (None, None) => ObjectChange::Template,
        };
        let mut pods = inventory.pods(new.spec.min_ready_seconds);
        if old_nodes.is_some() && pods.is_none() {
            pods = Some(assumed(&title, nodes, &before));
        }
        let of_stored = stored.as_ref().map(|stored| stored.spec.template.spec.answers(nodes, version));
        let placed = Placed { object: new, answers: &after };
        let old = if old_nodes.is_some() {
            Some(placed)
        } else {
            stored.as_ref().zip(of_stored.as_ref()).map(|(object, answers)| Placed { object, answers })
        };
        let update = Update { title: &title, old, new: placed, change };
        // A refused object changes nothing.
        let radius = forms.decided.map(|_| BlastRadius::of(&update, nodes, pods.as_deref()));
        let all = pods.as_deref().unwrap_or_default();
        let conflicts = port_conflicts(&new.spec.template.spec, &title, nodes, all);
        let conflicts = conflicts.into_iter().zip(&after);
        let waits = conflicts
            .map(|(conflict, answer)| conflict.filter(|_| answer.runs).map(|conflict| conflict.to_string()))
            .collect();
        let counters = inventory
            .knows_pods()
            .then(|| StatusCounters::of(&title, nodes, of_stored.as_deref().unwrap_or(&after), all));
        let stored = of_stored.as_deref().map(count);
        let refused = forms.decided.is_none();
        let nodes_changed = old_nodes.is_some();
        Ok(Self {
            title,
            origin,
            nodes,
            version,
            before,
            after,
            refused,
            stored,
            radius,
            waits,
            counters,
            nodes_changed,
        })
    }

    /// Returns the number of nodes on which the pods run after the policies.
    #[must_use]
    pub fn runs(&self) -> usize {
        count(&self.after)
    }

    /// Whether no node runs the pods, although there are nodes.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        !self.nodes.is_empty() && self.runs() == 0
    }

    /// Whether fewer nodes run the pods than before: than the stored object, or for a new one than the object as
    /// written.
    #[must_use]
    pub fn shrinks(&self) -> bool {
        let before = self.stored.filter(|_| !self.nodes_changed).unwrap_or_else(|| count(&self.before));
        self.runs() < before || self.radius.as_ref().is_some_and(|radius| radius.deleted > 0)
    }
}

/// Computes the answers for a reviewed DaemonSet.
///
/// # Errors
///
/// An object with a field of another type than the API server accepts.
pub fn of_review<'a>(
    reviewed: &Reviewed,
    inventory: &'a Inventory,
    nodes: &'a [Node<'a>],
    old_nodes: Option<&[Node<'_>]>,
) -> Result<Preview<'a>, ObjectError> {
    let written = ReadObject::parse(reviewed.manifest.text())?;
    let decided = ReadObject::parse(reviewed.stored.text())?;
    let stored = reviewed.review.old_object.as_ref().map(|old| ReadObject::parse(old.text())).transpose()?;
    let forms = Forms {
        stored: stored.as_ref(),
        written: &written,
        decided: reviewed.is_allowed().then_some(&decided),
    };
    Preview::new(reviewed.title(), reviewed.origin.clone(), &forms, inventory, nodes, old_nodes)
}

/// Returns the answers for the earlier form of each node. A missing node ran no pods.
fn answers_before(
    object: &DaemonSet<'_>,
    nodes: &[Node<'_>],
    old: &[Node<'_>],
    version: KubernetesVersion,
) -> Vec<NodeAnswer> {
    let old: BTreeMap<&str, &Node<'_>> = old.iter().map(|node| (&*node.name, node)).collect();
    let answer = |node: &Node<'_>| match old.get(&*node.name) {
        Some(old) => (&object.spec.template.spec.on(old, version)).into(),
        None => NodeAnswer {
            runs: false,
            continues: false,
            assumes_pod: false,
            reason: Some("the node is new".into()),
        },
    };
    nodes.iter().map(answer).collect()
}

/// Returns the pods that follow from the answers: one available pod on each node that runs them.
fn assumed<'a>(title: &'a str, nodes: &'a [Node<'_>], answers: &[NodeAnswer]) -> Vec<ExistingPod<'a>> {
    let runs = nodes.iter().zip(answers).filter(|(_, answer)| answer.runs);
    runs.map(|(node, _)| ExistingPod {
        node: &node.name,
        bound: true,
        owner: title,
        available: true,
        terminating: false,
        overdue: false,
        ports: Vec::new(),
    })
    .collect()
}

impl StatusCounters {
    fn of(title: &str, nodes: &[Node<'_>], answers: &[NodeAnswer], pods: &[ExistingPod<'_>]) -> Self {
        let own: BTreeSet<&str> = pods.iter().filter(|pod| pod.owner == title).map(|pod| pod.node).collect();
        let count = |runs: bool, has_pod: bool| {
            let nodes = nodes.iter().zip(answers);
            nodes.filter(|(node, answer)| answer.runs == runs && own.contains(&*node.name) == has_pod).count()
        };
        let current = count(true, true);
        Self { desired: current + count(true, false), current, misscheduled: count(false, true) }
    }
}

fn count(answers: &[NodeAnswer]) -> usize {
    answers.iter().filter(|answer| answer.runs).count()
}
