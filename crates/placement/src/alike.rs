//! Nodes that get the same answers, so that one evaluation serves all of them.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::node_labels::HOSTNAME;
use super::{Node, PodSpec, Requirement};

/// Returns for each node the position of the first node that is like it: they differ in their names and in the label
/// `kubernetes.io/hostname` only. A pod template that names no node runs on both or on neither.
///
/// In a cluster of thousands of nodes, there are a few dozen different ones.
#[must_use]
pub fn alike<'n, N: Borrow<Node<'n>>>(nodes: &[N]) -> Vec<usize> {
    let mut first: HashMap<Form<'_>, usize> = HashMap::new();
    nodes.iter().enumerate().map(|(n, node)| *first.entry(Form(node.borrow())).or_insert(n)).collect()
}

impl PodSpec<'_> {
    /// Whether the answers of two nodes can differ by their names or by the label `kubernetes.io/hostname`.
    #[must_use]
    pub fn names_nodes(&self) -> bool {
        let is_hostname = |requirement: &Requirement<'_>| &*requirement.key == HOSTNAME;
        let mut terms = self.required_terms().into_iter().flatten();
        !self.node_name.is_empty()
            || self.node_selector.contains_key(HOSTNAME)
            || terms
                .any(|term| !term.match_fields.is_empty() || term.match_expressions.iter().any(is_hostname))
    }
}

/// A node without its names.
struct Form<'n>(&'n Node<'n>);

impl PartialEq for Form<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.0, other.0);
        one.taints == two.taints
            && (one.unschedulable, one.ready) == (two.unschedulable, two.ready)
            && one.labels.alike(&two.labels)
    }
}

impl Eq for Form<'_> {}

impl Hash for Form<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.labels.hash().hash(state);
        self.0.taints.iter().for_each(|taint| (&*taint.key, &*taint.value, &*taint.effect).hash(state));
        (self.0.unschedulable, self.0.ready).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::super::Taint;
    use super::*;

    #[test]
    fn nodes_are_alike_if_only_their_names_differ() {
        let node = |name: &'static str, zone: &'static str, ready| Node {
            name: name.into(),
            labels: [(HOSTNAME.into(), name.into()), ("zone".into(), zone.into())].into_iter().collect(),
            ready,
            ..Node::default()
        };
        let mut tainted = node("e", "a", Some(true));
        tainted.taints.push(Taint::new("t", "", "NoSchedule"));
        let nodes = [
            node("a", "a", Some(true)),
            node("b", "b", Some(true)),
            node("c", "a", Some(true)),
            node("d", "a", None),
            tainted,
        ];
        assert_eq!(alike(&nodes), [0, 1, 0, 3, 4]);
    }

    #[test]
    fn a_pod_names_nodes_by_name_field_or_hostname() {
        let affinity = |term: serde_json::Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, term],
            }}}})
        };
        let names = |pod: serde_json::Value| PodSpec::deserialize(&pod).expect("a pod").names_nodes();
        assert!(names(json!({"nodeName": "a"})));
        assert!(names(json!({"nodeSelector": {HOSTNAME: "a"}})));
        assert!(names(affinity(json!({"matchExpressions": [{"key": HOSTNAME, "operator": "Exists"}]}))));
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["a"]});
        assert!(names(affinity(json!({"matchFields": [field]}))));
        assert!(!names(affinity(json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}))));
        assert!(!names(json!({"nodeSelector": {"zone": "a"}})));
    }
}
