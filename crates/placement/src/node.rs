//! Nodes, with the fields that matter to DaemonSets.

use serde::Deserialize;

use super::{NodeLabels, Taint, Text};

/// The fields of a node that matter to DaemonSets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Object<'a>", bound(deserialize = "'de: 'a"))]
pub struct Node<'a> {
    /// The node's name.
    pub name: Text<'a>,
    /// The node's labels.
    pub labels: NodeLabels<'a>,
    /// The node's taints.
    pub taints: Vec<Taint<'a>>,
    /// Whether the node is cordoned. The taint that follows from it does not stop DaemonSets.
    pub unschedulable: bool,
    /// Whether the node is Ready; `None` if the object has no such condition. It does not decide where pods run.
    pub ready: Option<bool>,
}

/// A node as the API server stores it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    labels: NodeLabels<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow)]
    taints: Vec<Taint<'a>>,
    unschedulable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
}

impl<'a> From<Object<'a>> for Node<'a> {
    fn from(Object { metadata, spec, status }: Object<'a>) -> Self {
        let ready = status.conditions.iter().find(|condition| &*condition.r#type == "Ready");
        Self {
            name: metadata.name,
            labels: metadata.labels,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ready: ready.map(|condition| &*condition.status == "True"),
        }
    }
}

/// The labels by which providers and autoscalers name groups of nodes.
const POOL_LABELS: [&str; 6] = [
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "doks.digitalocean.com/node-pool",
    "node.kubernetes.io/pool",
];

/// The prefix of the labels that `kubectl get nodes` shows as roles.
const ROLE: &str = "node-role.kubernetes.io/";

impl Node<'_> {
    /// Copies the borrowed strings.
    #[must_use]
    pub fn into_owned(self) -> Node<'static> {
        let taint = |taint: Taint<'_>| Taint {
            key: taint.key.into_owned(),
            value: taint.value.into_owned(),
            effect: taint.effect.into_owned(),
        };
        Node {
            name: self.name.into_owned(),
            labels: self.labels.into_owned(),
            taints: self.taints.into_iter().map(taint).collect(),
            unschedulable: self.unschedulable,
            ready: self.ready,
        }
    }

    /// Returns the name of the node's group: the value of a provider's label, else the node's role, else none.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        let by_provider = POOL_LABELS.iter().find_map(|label| self.labels.get(label));
        let by_role = || self.labels.keys().find_map(|key| key.strip_prefix(ROLE));
        by_provider.or_else(by_role).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_a_node_as_the_api_server_stores_it() {
        let node = json!({
            "metadata": {"name": "n1", "labels": {"a": "b"}, "uid": "7"},
            "spec": {"unschedulable": true, "taints": [{"key": "t", "effect": "NoSchedule", "timeAdded": "now"}]},
            "status": {"conditions": [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "Unknown"}]},
        });
        let node = Node::deserialize(&node).expect("a node");
        assert_eq!((&*node.name, node.unschedulable, node.ready), ("n1", true, Some(false)));
        assert_eq!(node.taints, [Taint::new("t", "", "NoSchedule")]);
        assert_eq!(Node::deserialize(&json!({})).expect("a node").ready, None);
    }

    #[test]
    fn the_group_is_the_providers_pool_before_the_role() {
        let group = |labels: serde_json::Value| {
            let node = json!({"metadata": {"labels": labels}});
            Node::deserialize(&node).expect("a node").group().map(str::to_owned)
        };
        let pool = "karpenter.sh/nodepool";
        assert_eq!(group(json!({"node-role.kubernetes.io/worker": "", pool: "gpu"})).as_deref(), Some("gpu"));
        assert_eq!(group(json!({"node-role.kubernetes.io/worker": ""})).as_deref(), Some("worker"));
        assert_eq!(group(json!({"other": "x", pool: ""})), None);
    }
}
