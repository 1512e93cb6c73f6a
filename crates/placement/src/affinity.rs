//! Required node affinity, as a pod spec writes it.

use serde::Deserialize;

use super::{Node, Requirement};

/// The affinity of a pod, of which only required node affinity decides where a DaemonSet runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity<'a> {
    /// The affinity to nodes.
    #[serde(borrow)]
    pub node_affinity: Option<NodeAffinity<'a>>,
}

/// The affinity to nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NodeAffinity<'a> {
    /// `None`: all nodes are allowed.
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector<'a>>,
}

/// A list of terms, ORed. Without any term, it matches no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector<'a> {
    /// The terms.
    #[serde(borrow, default)]
    pub node_selector_terms: Vec<Term<'a>>,
}

/// Requirements on a node, ANDed. An empty term matches no node (component-helpers `nodeaffinity`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term<'a> {
    /// Requirements on the node's labels.
    #[serde(borrow, default)]
    pub match_expressions: Vec<Requirement<'a>>,
    /// Requirements on the node's fields. The only field is `metadata.name`.
    #[serde(borrow, default)]
    pub match_fields: Vec<Requirement<'a>>,
}

impl<'a> Affinity<'a> {
    /// Returns the required terms; `None` if all nodes are allowed.
    #[must_use]
    pub fn required(&self) -> Option<&[Term<'a>]> {
        let required = self.node_affinity.as_ref()?.required.as_ref()?;
        Some(&required.node_selector_terms)
    }
}

impl<'a> Term<'a> {
    /// Whether it has no requirement, so that it matches no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_expressions.is_empty() && self.match_fields.is_empty()
    }

    /// Whether the node satisfies the term. A requirement that the API server would refuse matches no node.
    #[must_use]
    pub fn matches(&self, node: &Node<'_>) -> bool {
        !self.is_empty() && self.unmet(node).next().is_none()
    }

    /// Returns the requirements that the node does not satisfy: those on labels, then those on fields.
    pub fn unmet(&self, node: &Node<'_>) -> impl Iterator<Item = &Requirement<'a>> {
        let labels = self.match_expressions.iter().filter(|requirement| {
            let label = node.labels.get(&requirement.key);
            !requirement.is_valid() || requirement.holds(label) != Some(true)
        });
        labels.chain(self.match_fields.iter().filter(|requirement| !field_holds(requirement, node)))
    }
}

/// Whether the field satisfies the requirement. `In` and `NotIn` of one value are all that fields can have
/// (`nodeSelectorRequirementsAsFieldSelector`), and an unknown field is empty.
fn field_holds(requirement: &Requirement<'_>, node: &Node<'_>) -> bool {
    let field = if &*requirement.key == "metadata.name" { &*node.name } else { "" };
    match (&*requirement.operator, requirement.values.as_slice()) {
        ("In", [value]) => field == &**value,
        ("NotIn", [value]) => field != &**value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn matches(term: &Value) -> bool {
        let node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "rank": "5"}}});
        let node = Node::deserialize(&node).expect("a node");
        Term::deserialize(term).expect("a term").matches(&node)
    }

    #[test]
    fn all_requirements_of_a_term_must_hold() {
        let ssd = json!({"key": "disk", "operator": "In", "values": ["ssd"]});
        let high = json!({"key": "rank", "operator": "Gt", "values": ["5"]});
        assert!(matches(&json!({"matchExpressions": [ssd]})));
        assert!(!matches(&json!({"matchExpressions": [ssd, high]})));
    }

    #[test]
    fn an_empty_term_matches_no_node() {
        assert!(!matches(&json!({})));
        assert!(!matches(&json!({"matchExpressions": [], "matchFields": []})));
    }

    #[test]
    fn fields_are_the_name_and_compare_with_one_value() {
        let fields = |key, operator, values: &[&str]| json!({"matchFields": [{"key": key, "operator": operator, "values": values}]});
        assert!(matches(&fields("metadata.name", "In", &["n1"])));
        assert!(!matches(&fields("metadata.name", "In", &["n2"])));
        assert!(matches(&fields("metadata.name", "NotIn", &["n2"])));
        assert!(!matches(&fields("metadata.name", "NotIn", &["n1"])));
        assert!(!matches(&fields("metadata.name", "In", &["n1", "n2"])));
        assert!(!matches(&fields("metadata.name", "Exists", &[])));
        assert!(!matches(&fields("metadata.uid", "In", &["n1"])));
    }

    #[test]
    fn a_requirement_that_the_api_server_refuses_matches_no_node() {
        for (operator, values) in
            [("NotIn", vec![]), ("Exists", vec!["x"]), ("Gt", vec!["x"]), ("Near", vec!["ssd"])]
        {
            let term = json!({"matchExpressions": [{"key": "disk", "operator": operator, "values": values}]});
            assert!(!matches(&term), "{term}");
        }
    }
}
