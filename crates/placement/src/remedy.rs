//! The changes of a pod template that bring its pods to a node.

use super::{
    KubernetesVersion, Node, NodeSelector, Operator, PodSpec, Reason, Requirement, Term, Text, Toleration,
};

/// The smallest changes of a pod template that bring its pods to one node. Other nodes may get pods, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy<'a> {
    /// Whether to remove `nodeName`.
    pub without_node_name: bool,
    /// The entries of `nodeSelector` to remove. The other way is to label the node.
    pub without_node_selector: Vec<(&'a str, &'a str)>,
    /// A term to add beside the others, which are ORed.
    pub term: Option<Term<'a>>,
    /// Tolerations to append.
    pub tolerations: Vec<Toleration<'a>>,
}

impl<'a> Remedy<'a> {
    /// Finds the changes; all are empty if the pods run on the node already.
    #[must_use]
    pub fn find(pod: &'a PodSpec<'a>, node: &'a Node<'a>, version: KubernetesVersion) -> Self {
        let mut remedy = Self::default();
        for reason in pod.on(node, version).reasons() {
            match reason {
                Reason::NodeName { .. } => remedy.without_node_name = true,
                Reason::NodeSelector { key, wanted, .. } => {
                    remedy.without_node_selector.push((key, wanted));
                }
                Reason::Affinity { .. } => {
                    let closest = reason.closest_term().map(|(position, _)| position);
                    let terms = pod.required_terms().unwrap_or_default();
                    remedy.term = Some(term_for(node, closest.and_then(|position| terms.get(position))));
                }
                Reason::Taint(taint) => remedy.tolerations.push(Toleration {
                    key: Text::from(&*taint.key),
                    operator: Text::new(if taint.value.is_empty() { "Exists" } else { "Equal" }),
                    value: Text::from(&*taint.value),
                    effect: Text::from(&*taint.effect),
                    toleration_seconds: None,
                }),
            }
        }
        remedy
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the pod template with the changes.
    #[must_use]
    pub fn apply(&self, pod: &PodSpec<'a>) -> PodSpec<'a> {
        let mut changed = pod.clone();
        if self.without_node_name {
            changed.node_name = Text::default();
        }
        for (key, _) in &self.without_node_selector {
            changed.node_selector.remove(*key);
        }
        if let Some(term) = &self.term {
            let affinity = changed.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
            let NodeSelector { node_selector_terms } = affinity.required.get_or_insert_default();
            node_selector_terms.push(term.clone());
        }
        changed.tolerations.extend(self.tolerations.iter().cloned());
        changed
    }
}

/// Returns a term that matches the node: the given one, with each requirement that the node does not satisfy replaced
/// by the node's own value. If the node lacks such a label, a term without the requirement could match any node, so the
/// term names the node.
fn term_for<'a>(node: &'a Node<'a>, closest: Option<&'a Term<'a>>) -> Term<'a> {
    let label = |requirement: &Requirement<'_>| node.labels.get(&requirement.key);
    let expressions = closest.map(|term| term.match_expressions.as_slice()).unwrap_or_default();
    let adapted = expressions.iter().map(|requirement| {
        if requirement.is_valid() && requirement.holds(label(requirement)) == Some(true) {
            return Some(requirement.clone());
        }
        Some(Requirement::new(&requirement.key, Operator::In, &[label(requirement)?]))
    });
    let match_expressions: Vec<Requirement<'a>> = adapted.collect::<Option<_>>().unwrap_or_default();
    let match_fields = if match_expressions.is_empty() {
        vec![Requirement::new("metadata.name", Operator::In, &[&node.name])]
    } else {
        Vec::new()
    };
    Term { match_expressions, match_fields }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn node() -> Node<'static> {
        let labels = [("disk", "hdd"), ("zone", "a")];
        Node {
            name: "n1".into(),
            labels: labels.map(|(key, value)| (key.into(), value.into())).into_iter().collect(),
            taints: vec![
                super::super::Taint::new("gpu", "", "NoSchedule"),
                super::super::Taint::new("team", "ml", "NoExecute"),
                super::super::Taint::new("soft", "", "PreferNoSchedule"),
            ],
            ..Node::default()
        }
    }

    fn term(terms: serde_json::Value) -> serde_json::Value {
        let pod = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": terms}}}});
        let (pod, node) = (PodSpec::deserialize(&pod).expect("a pod spec"), node());
        let remedy = Remedy::find(&pod, &node, KubernetesVersion::NEWEST);
        assert!(remedy.apply(&pod).on(&node, KubernetesVersion::NEWEST).runs(), "{remedy:?}");
        let term = remedy.term.expect("a term");
        json!({"expressions": term.match_expressions, "fields": term.match_fields})
    }

    #[test]
    fn tolerates_each_taint_that_keeps_the_pods_off() {
        let (pod, node) = (PodSpec::default(), node());
        let remedy = Remedy::find(&pod, &node, KubernetesVersion::NEWEST);
        let expected = json!([
            {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoExecute"},
        ]);
        assert_eq!(serde_json::to_value(&remedy.tolerations).expect("JSON"), expected);
        assert!(remedy.apply(&pod).on(&node, KubernetesVersion::NEWEST).runs());
    }

    #[test]
    fn extends_the_closest_term_by_the_values_of_the_node() {
        let ssd = json!({"key": "disk", "operator": "In", "values": ["ssd"]});
        let zone = json!({"key": "zone", "operator": "In", "values": ["a"]});
        let hdd = json!({"key": "disk", "operator": "In", "values": ["hdd"]});
        assert_eq!(
            term(json!([{"matchExpressions": [ssd, zone]}])),
            json!({"expressions": [hdd, zone], "fields": []})
        );
    }

    #[test]
    fn names_the_node_if_it_lacks_a_label() {
        let named = json!({"expressions": [],
            "fields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        assert_eq!(term(json!([{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}])), named);
        let real = json!({"key": "type", "operator": "NotIn", "values": ["virtual"]});
        assert_eq!(term(json!([{"matchExpressions": [{"key": "gpu", "operator": "Exists"}, real]}])), named);
        assert_eq!(term(json!([{}])), named);
        assert_eq!(term(json!([])), named);
    }
}
