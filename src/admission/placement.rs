//! Warnings and audit annotations about the nodes of a DaemonSet, for reviews whose policies ask for them.

use std::sync::Arc;
use std::time::Instant;

use wardset_core::Pointer;
use wardset_core::decision::{Decision, Outcome};
use wardset_core::document::Document;
use wardset_core::placement::{BlastRadius, ClusterNodes, NodeCounts};
use wardset_core::review::Review;

/// The specification of the pods.
const POD: &Pointer = Pointer::from_static("/spec/template/spec");

/// The nodes that run a DaemonSet, and the effect of the review on its pods.
struct Placed {
    counts: NodeCounts,
    /// The effect; `None` if the author leaves the pods alone.
    effect: Option<BlastRadius>,
    is_new: bool,
}

/// Adds to an allowed decision, if one of its policies asks for it: at most two warnings, and audit annotations. Nothing
/// is added if an object has a wrong form, because the API server reports that itself, and nothing after the deadline of the
/// review.
///
/// For thousands of nodes it takes milliseconds, so it runs on a thread for blocking work.
pub(super) async fn add(
    review: &Arc<Review>,
    nodes: Option<&Arc<ClusterNodes>>,
    decision: &mut Decision,
    deadline: Instant,
) {
    let Some(nodes) = nodes.filter(|nodes| !nodes.nodes().is_empty()) else { return };
    if decision.outcome != Outcome::Allowed || !decision.wants_placement() {
        return;
    }
    let (review, nodes, object) = (Arc::clone(review), Arc::clone(nodes), Arc::clone(&decision.object));
    let placed = tokio::task::spawn_blocking(move || {
        Placed::of(review.old_object.as_deref(), &object, &nodes, || Instant::now() < deadline)
    });
    if let Ok(Some(placed)) = placed.await {
        decision.warn(placed.warnings());
        decision.audit.extend(placed.annotations());
    }
}

impl Placed {
    fn of(
        old: Option<&Document>,
        new: &Document,
        nodes: &ClusterNodes,
        keep_going: impl Fn() -> bool,
    ) -> Option<Self> {
        let counts = nodes.counts(new, &keep_going)?;
        // Most updates leave the pods alone, and then the nodes stay the same.
        let is_same = old.is_some_and(|old| old.get(POD) == new.get(POD));
        let effect = if is_same { None } else { Some(nodes.effect(old, new, &keep_going)?) };
        Some(Self { counts, effect, is_new: old.is_none() })
    }

    /// Returns at most two lines: the nodes, if they change, if some refuse a new object or if none is left; and the pods
    /// that the controller deletes at once.
    fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let moves = self.effect.as_ref().is_some_and(|effect| effect.gained + effect.lost > 0);
        let is_partial = self.is_new && self.counts.runs < self.counts.nodes;
        if self.counts.runs == 0 || is_partial || (moves && !self.is_new) {
            lines.push(self.counts.summary(self.before().filter(|_| moves)));
        }
        match self.effect.as_ref().map_or(0, |effect| effect.deleted) {
            0 => {}
            1 => lines.push("Kubernetes deletes the pod on 1 of these nodes at once".to_owned()),
            pods => lines.push(format!(
                "Kubernetes deletes the pods on {pods} of these nodes at once; maxUnavailable does not limit it"
            )),
        }
        lines
    }

    /// Returns the number of nodes that run the stored object, if there is one and its pods change.
    fn before(&self) -> Option<usize> {
        let effect = self.effect.as_ref().filter(|_| !self.is_new)?;
        Some((self.counts.runs + effect.lost).saturating_sub(effect.gained))
    }

    /// Returns the nodes and the effect on pods, as audit annotations.
    fn annotations(&self) -> Vec<(&'static str, String)> {
        let Some(effect) = &self.effect else { return Vec::new() };
        let before = self.before().map(|before| format!(" (before: {before})")).unwrap_or_default();
        let nodes = format!("{} of {}{before}", self.counts.runs, self.counts.nodes);
        vec![("nodes", nodes), ("effect", effect.lines().join("; "))]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wardset_placement::{KubernetesVersion, Node, Taint};

    use super::*;

    fn document(pod: Value) -> Document {
        Document::parse(json!({"spec": {"template": {"spec": pod}}}).to_string()).expect("a document")
    }

    fn placed(old: Option<Value>, new: Value) -> Placed {
        let node = |taint: Option<&'static str>| Node {
            labels: [("node-role.kubernetes.io/gpu".into(), "".into())]
                .into_iter()
                .filter(|_| taint.is_some())
                .collect(),
            taints: taint.map(|key| Taint::new(key, "", "NoSchedule")).into_iter().collect(),
            ..Node::default()
        };
        let nodes = [node(None), node(None), node(Some("nvidia.com/gpu"))].map(Arc::new).into();
        let nodes = ClusterNodes::new(nodes, KubernetesVersion::NEWEST);
        let old = old.map(document);
        Placed::of(old.as_ref(), &document(new), &nodes, || true).expect("readable objects")
    }

    fn show(old: Option<Value>, new: Value) -> Vec<String> {
        placed(old, new).warnings()
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
    fn the_audit_annotations_have_the_nodes_and_the_effect() {
        let annotations = |old: Option<Value>, new: Value| placed(old, new).annotations();
        let image = json!({"containers": [{"name": "a", "image": "a:2"}]});
        assert_eq!(annotations(Some(json!({})), json!({})), []);
        assert_eq!(
            annotations(Some(json!({})), image),
            [
                ("nodes", "2 of 3 (before: 2)".to_owned()),
                ("effect", "rolling restart of 2 pods, 1 at a time (maxUnavailable), in 2 steps".to_owned()),
            ]
        );
        assert_eq!(
            annotations(None, json!({})),
            [("nodes", "2 of 3".to_owned()), ("effect", "2 pods created at once".to_owned())]
        );
    }

    #[test]
    fn an_object_of_a_wrong_form_gets_no_warning() {
        let nodes = ClusterNodes::new(vec![Arc::default()], KubernetesVersion::NEWEST);
        let wrong = document(json!({"tolerations": "all"}));
        assert!(Placed::of(None, &wrong, &nodes, || true).is_none());
    }
}
