//! Warnings about the nodes of a DaemonSet, for reviews whose policies ask for them.

use std::sync::Arc;

use wardset_core::Pointer;
use wardset_core::decision::{Decision, Outcome};
use wardset_core::document::Document;
use wardset_core::review::Review;
use wardset_placement::{KubernetesVersion, Node, NodeAnswer, PodSpec, summary};

use crate::cluster::Nodes;

/// The specification of the pods.
const POD: &Pointer = Pointer::from_static("/spec/template/spec");

/// The nodes of the cluster, and the version whose rules decide.
pub struct PlacementWarnings {
    nodes: Arc<Nodes>,
    version: KubernetesVersion,
}

impl PlacementWarnings {
    /// Creates warnings about `nodes`.
    #[must_use]
    pub fn new(nodes: Arc<Nodes>, version: KubernetesVersion) -> Self {
        Self { nodes, version }
    }

    /// Adds at most two warnings to an allowed decision: the nodes after the change, and the pods that the controller
    /// deletes at once. Nothing is added if the nodes are unknown, or if an update leaves them as they are.
    pub(super) fn add(&self, review: &Review, decision: &mut Decision) {
        if decision.outcome != Outcome::Allowed || !decision.wants_placement() {
            return;
        }
        let old = review.old_object.as_deref();
        let lines = self.nodes.with(|nodes| lines(old, &decision.object, nodes, self.version));
        if let Some(lines) = lines.flatten().filter(|lines| !lines.is_empty()) {
            decision.warn(lines);
        }
    }
}

/// Returns the lines; `None` if an object has a wrong form, because the API server reports that itself.
fn lines(
    old: Option<&Document>,
    new: &Document,
    nodes: &[&Node<'_>],
    version: KubernetesVersion,
) -> Option<Vec<String>> {
    let after = answers(new, nodes, version)?;
    // Most updates leave the pods alone, and then the nodes stay the same.
    let is_same = old.is_some_and(|old| old.get(POD) == new.get(POD));
    let before = match old.filter(|_| !is_same) {
        Some(old) => Some(answers(old, nodes, version)?),
        None => None,
    };
    let runs = |answers: &[NodeAnswer]| answers.iter().filter(|answer| answer.runs).count();
    let mut lines = Vec::new();
    let is_nowhere = runs(&after) == 0;
    let changes = match &before {
        Some(before) => before.iter().zip(&after).any(|(before, after)| before.runs != after.runs),
        None => !is_same && runs(&after) < nodes.len(),
    };
    if !nodes.is_empty() && (is_nowhere || changes) {
        let before = before.as_deref().filter(|_| changes).map(runs);
        lines.push(summary(nodes, &after, before));
    }
    let leaves =
        before.iter().flatten().zip(&after).filter(|(before, after)| before.runs && !after.continues);
    match leaves.count() {
        0 => {}
        1 => lines.push("Kubernetes deletes the pod on 1 of these nodes at once".to_owned()),
        pods => lines.push(format!(
            "Kubernetes deletes the pods on {pods} of these nodes at once; maxUnavailable does not limit it"
        )),
    }
    Some(lines)
}

fn answers(object: &Document, nodes: &[&Node<'_>], version: KubernetesVersion) -> Option<Vec<NodeAnswer>> {
    let text = object.get(POD).unwrap_or("{}");
    let pod: PodSpec<'_> = serde_json::from_str(text).ok()?;
    Some(nodes.iter().map(|node| (&pod.on(node, version)).into()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wardset_placement::Taint;

    use super::*;

    fn document(pod: Value) -> Document {
        Document::parse(json!({"spec": {"template": {"spec": pod}}}).to_string()).expect("a document")
    }

    fn show(old: Option<Value>, new: Value) -> Vec<String> {
        let node = |taint: Option<&'static str>| Node {
            labels: [("node-role.kubernetes.io/gpu".into(), "".into())]
                .into_iter()
                .filter(|_| taint.is_some())
                .collect(),
            taints: taint.map(|key| Taint::new(key, "", "NoSchedule")).into_iter().collect(),
            ..Node::default()
        };
        let nodes = [node(None), node(None), node(Some("nvidia.com/gpu"))];
        let nodes: Vec<&Node<'_>> = nodes.iter().collect();
        let old = old.map(document);
        lines(old.as_ref(), &document(new), &nodes, KubernetesVersion::NEWEST).expect("readable objects")
    }

    #[test]
    fn a_new_daemon_set_names_the_nodes_that_refuse_it() {
        let all = json!({"tolerations": [{"operator": "Exists"}]});
        assert_eq!(
            show(None, json!({})),
            ["runs on 2 of 3 nodes; 1 gpu node refuses it: taint nvidia.com/gpu:NoSchedule"]
        );
        assert_eq!(show(None, all.clone()), Vec::<String>::new());
        assert_eq!(show(Some(json!({})), json!({})), Vec::<String>::new());
        assert_eq!(show(Some(json!({})), all), ["runs on 3 of 3 nodes (before: 2)"]);
    }

    #[test]
    fn an_update_that_removes_pods_says_how_many_at_once() {
        let nowhere = json!({"nodeSelector": {"disk": "ssd"}});
        assert_eq!(
            show(Some(json!({})), nowhere.clone()),
            [
                "runs on 0 of 3 nodes (before: 2); 2 nodes refuse it: nodeSelector disk=ssd; 1 gpu node: \
                 nodeSelector disk=ssd; taint nvidia.com/gpu:NoSchedule",
                "Kubernetes deletes the pods on 2 of these nodes at once; maxUnavailable does not limit it",
            ]
        );
        // Nothing changes, and still no node runs it.
        assert_eq!(show(Some(nowhere.clone()), nowhere).len(), 1);
    }

    #[test]
    fn an_object_of_a_wrong_form_gets_no_warning() {
        let node = Node::default();
        let wrong = document(json!({"tolerations": "all"}));
        assert_eq!(lines(None, &wrong, &[&node], KubernetesVersion::NEWEST), None);
    }
}
