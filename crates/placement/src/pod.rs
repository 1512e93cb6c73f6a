//! Pods on nodes: whether the DaemonSet controller creates a pod, keeps it, or neither, and why.

use serde::Deserialize;

use super::{
    AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Affinity, Labels, Requirement, Taint, Term, Text, Toleration,
};

/// The fields of a DaemonSet's `spec.template.spec` that decide where its pods run.
///
/// Other fields, such as resources, ports, pod affinity and `preferred…` terms, can keep a pod pending. The controller
/// creates it nevertheless.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec<'a> {
    /// Empty: any node.
    #[serde(borrow)]
    pub node_name: Text<'a>,
    /// Labels that the node must have with exactly these values.
    #[serde(borrow)]
    pub node_selector: Labels<'a>,
    /// Required node affinity, ANDed to `nodeSelector`.
    #[serde(borrow)]
    pub affinity: Option<Affinity<'a>>,
    /// The author's tolerations. [`PodSpec::on`] adds the controller's.
    #[serde(borrow)]
    pub tolerations: Vec<Toleration<'a>>,
    /// Whether the pods use the node's network.
    pub host_network: bool,
}

/// The fields of a node that decide which DaemonSets run on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Object<'a>", bound(deserialize = "'de: 'a"))]
pub struct Node<'a> {
    /// The node's name.
    pub name: Text<'a>,
    /// The node's labels.
    pub labels: Labels<'a>,
    /// The node's taints.
    pub taints: Vec<Taint<'a>>,
}

/// The answer of the DaemonSet controller for one node (`NodeShouldRunDaemonPod` in pkg/controller/daemon).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlacement<'a> {
    reasons: Vec<Reason<'a>>,
}

/// A reason why no pod is created on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// `nodeName` is the name of another node.
    NodeName {
        /// The pod's `nodeName`.
        wanted: &'a str,
    },
    /// The node's label differs from an entry of `nodeSelector`.
    NodeSelector {
        /// The label's key.
        key: &'a str,
        /// The value in `nodeSelector`.
        wanted: &'a str,
        /// The node's value; `None` if the label is missing.
        found: Option<&'a str>,
    },
    /// No term of the required node affinity matches.
    Affinity {
        /// For each term, in order, the requirements that the node does not satisfy. A term without requirements
        /// matches no node either, so its list is empty.
        unmet: Vec<Vec<&'a Requirement<'a>>>,
    },
    /// No toleration tolerates this taint.
    Taint(&'a Taint<'a>),
}

impl<'a> PodSpec<'a> {
    /// Decides about the pods of this template on a node.
    ///
    /// Kubernetes has numeric operators of tolerations, `Lt` and `Gt`, behind a feature gate that is off by default.
    /// Here they tolerate no taint.
    #[must_use]
    pub fn on<'p>(&'p self, node: &'p Node<'p>) -> NodePlacement<'p> {
        let mut reasons = Vec::new();
        if !self.node_name.is_empty() && self.node_name != node.name {
            reasons.push(Reason::NodeName { wanted: &self.node_name });
        }
        for (key, wanted) in &self.node_selector {
            let found = node.labels.get(&**key).map(|value| &**value);
            if found != Some(&**wanted) {
                reasons.push(Reason::NodeSelector { key, wanted, found });
            }
        }
        if let Some(terms) = self.affinity.as_ref().and_then(Affinity::required)
            && !terms.iter().any(|term| term.matches(node))
        {
            let unmet = terms.iter().map(|term: &Term<'p>| term.unmet(node).collect()).collect();
            reasons.push(Reason::Affinity { unmet });
        }
        let untolerated = node.taints.iter().filter(|taint| taint.keeps_off() && !self.tolerates(taint));
        reasons.extend(untolerated.map(Reason::Taint));
        NodePlacement { reasons }
    }

    /// Whether a toleration of the author or of the controller tolerates `taint`.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint<'_>) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
            || AUTOMATIC.iter().any(|toleration| toleration.tolerates(taint))
            || (self.host_network && AUTOMATIC_IN_HOST_NETWORK.tolerates(taint))
    }
}

impl<'a> NodePlacement<'a> {
    /// Whether the controller creates a pod on the node.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether the controller keeps a pod that runs on the node already. A taint with `NoSchedule` does not evict it.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.reasons.iter().all(|reason| matches!(reason, Reason::Taint(taint) if !taint.evicts()))
    }

    /// Returns all reasons why the controller creates no pod; none if it creates one.
    #[must_use]
    pub fn reasons(&self) -> &[Reason<'a>] {
        &self.reasons
    }
}

/// A node as the API server stores it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: NodeSpec<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    labels: Labels<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec<'a> {
    #[serde(borrow)]
    taints: Vec<Taint<'a>>,
}

impl<'a> From<Object<'a>> for Node<'a> {
    fn from(Object { metadata, spec }: Object<'a>) -> Self {
        Self { name: metadata.name, labels: metadata.labels, taints: spec.taints }
    }
}

#[cfg(test)]
mod tests;
