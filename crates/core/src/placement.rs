//! The nodes on which the DaemonSet of a document runs, and the effect of an update on its pods.

use std::sync::{Arc, OnceLock};

use serde::Deserialize as _;
use serde_json::Value;
pub use wardset_placement::{BlastRadius, NodeCounts};
use wardset_placement::{DaemonSet, KubernetesVersion, Node, NodeAnswer, ObjectChange, Placed, Update};

use crate::Pointer;
use crate::document::Document;

/// The nodes of a cluster at one time.
#[derive(Debug, Default)]
pub struct ClusterNodes {
    nodes: Vec<Arc<Node<'static>>>,
    version: KubernetesVersion,
    /// Nodes that are like others. Most changes of nodes come without a review, so the first review computes them.
    alike: OnceLock<Vec<usize>>,
}

impl ClusterNodes {
    /// Makes the nodes of a cluster of a version, whose rules decide. The nodes may have any order.
    #[must_use]
    pub fn new(nodes: Vec<Arc<Node<'static>>>, version: KubernetesVersion) -> Self {
        Self { nodes, version, alike: OnceLock::new() }
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node<'static>>] {
        &self.nodes
    }

    /// Counts the nodes by their answer to the DaemonSet. Returns `None` if a field has a wrong type, or once `keep_going`
    /// returns false: it is called before each node.
    #[must_use]
    pub fn counts(&self, object: &Document, keep_going: impl Fn() -> bool) -> Option<NodeCounts> {
        let answers = read(object, |object| self.answers(object, keep_going)).flatten()?;
        Some(NodeCounts::of(&self.nodes, &answers))
    }

    /// Predicts the effect of an update on pods. Pods are unknown, so each node on which the stored object runs counts as
    /// one with a pod. Returns `None` as [`ClusterNodes::counts`] does.
    #[must_use]
    pub fn effect(
        &self,
        old: Option<&Document>,
        new: &Document,
        keep_going: impl Fn() -> bool,
    ) -> Option<BlastRadius> {
        let change = old.map_or(ObjectChange::Template, |old| change(old, new));
        let radius = |old: Option<Placed<'_>>| {
            read(new, |new| {
                let answers = self.answers(new, &keep_going)?;
                let new = Placed { object: new, answers: &answers };
                Some(BlastRadius::of(&Update { title: "", old, new, change }, &self.nodes, None))
            })
            .flatten()
        };
        let Some(old) = old else { return radius(None) };
        read(old, |old| {
            let answers = self.answers(old, &keep_going)?;
            radius(Some(Placed { object: old, answers: &answers }))
        })
        .flatten()
    }

    fn answers(&self, object: &DaemonSet<'_>, keep_going: impl Fn() -> bool) -> Option<Vec<NodeAnswer>> {
        let alike = self.alike.get_or_init(|| wardset_placement::alike(&self.nodes));
        object.spec.template.spec.answers_while(&self.nodes, alike, self.version, keep_going)
    }
}

/// Returns the outermost part in which the stored and the new object differ.
fn change(old: &Document, new: &Document) -> ObjectChange {
    let differs = |part| new.differs_at(old, Pointer::from_static(part));
    if differs("/spec/template") {
        ObjectChange::Template
    } else if differs("/spec") {
        ObjectChange::Specification
    } else if differs("/metadata") {
        ObjectChange::Metadata
    } else {
        ObjectChange::Nothing
    }
}

/// Calls `use_it` with the DaemonSet of a document.
fn read<T>(document: &Document, use_it: impl FnOnce(&DaemonSet<'_>) -> T) -> Option<T> {
    if let Ok(object) = serde_json::from_str(document.text()) {
        return Some(use_it(&object));
    }
    // Nulls are the only other form that the API server accepts.
    let mut value = document.to_value();
    resolve_nulls(&mut value);
    DaemonSet::deserialize(&value).ok().map(|object| use_it(&object))
}

/// The maps of strings, in which null is the empty string.
const MAPS_OF_STRINGS: [&str; 3] = ["labels", "nodeSelector", "annotations"];

/// Resolves nulls as the API server's decoder does: in a map of strings, null is the empty string; elsewhere, the member
/// is absent.
pub fn resolve_nulls(object: &mut Value) {
    resolve(object, false);
}

fn resolve(value: &mut Value, of_strings: bool) {
    match value {
        Value::Object(members) => {
            if of_strings {
                members.values_mut().filter(|value| value.is_null()).for_each(|value| *value = "".into());
            } else {
                members.retain(|_, value| !value.is_null());
            }
            for (key, value) in members.iter_mut() {
                resolve(value, MAPS_OF_STRINGS.contains(&key.as_str()));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| resolve(value, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(selector: Value) -> Document {
        let object = json!({"spec": {"template": {"spec": {"nodeSelector": selector, "tolerations": null}}}});
        Document::parse(object.to_string()).expect("a document")
    }

    fn cluster() -> ClusterNodes {
        let node = |gpu: &'static str| Node {
            labels: [("gpu".into(), gpu.into())].into_iter().collect(),
            ..Node::default()
        };
        ClusterNodes::new([node("yes"), node("no"), node("")].map(Arc::new).into(), KubernetesVersion::NEWEST)
    }

    #[test]
    fn counts_nodes_and_reads_null_as_the_api_server_does() {
        let runs = |selector: Value| cluster().counts(&document(selector), || true).map(|counts| counts.runs);
        assert_eq!(runs(json!({"gpu": "yes"})), Some(1));
        assert_eq!(runs(json!({"gpu": null})), Some(1));
        assert_eq!(runs(Value::Null), Some(3));
        assert_eq!(runs(json!({"gpu": 5})), None);
    }

    #[test]
    fn the_effect_of_an_update_counts_the_pods_that_leave() {
        let effect = cluster().effect(Some(&document(json!({}))), &document(json!({"gpu": "yes"})), || true);
        let effect = effect.expect("an effect");
        assert_eq!((effect.deleted, effect.restarted, effect.created), (2, 1, 0));
        let effect = cluster().effect(None, &document(json!({"gpu": "yes"})), || true).expect("an effect");
        assert_eq!((effect.deleted, effect.restarted, effect.created), (0, 0, 1));
        let same = document(json!({}));
        let effect = cluster().effect(Some(&same), &same, || true).expect("an effect");
        assert_eq!(effect.change, ObjectChange::Nothing);
    }

    #[test]
    fn says_nothing_once_the_time_is_over() {
        let object = document(json!({}));
        assert_eq!(cluster().counts(&object, || false), None);
        assert_eq!(cluster().effect(Some(&object), &object, || false), None);
    }
}
