//! Pods on nodes: whether the DaemonSet controller creates a pod, keeps it, or neither, and why.

use std::fmt;

use serde::Deserialize;

use super::text::limited;
use super::{
    AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Affinity, Container, HostPort, KubernetesVersion, Labels, Node,
    Requirement, Taint, Term, Text, Toleration,
};

/// The fields of a DaemonSet's `spec.template.spec` that decide where its pods run, and the ports that they take there.
///
/// Ports and other fields, such as resources, pod affinity and `preferred…` terms, can keep a pod pending. The controller
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
    /// The containers.
    #[serde(borrow)]
    pub containers: Vec<Container<'a>>,
    /// The init containers, sidecars included.
    #[serde(borrow)]
    pub init_containers: Vec<Container<'a>>,
}

/// Reasons in the line of a node.
const MAX_REASONS: usize = 6;
/// Bytes of one reason in that line.
const MAX_REASON: usize = 400;

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
    /// Decides about the pods of this template on a node, by the rules of a Kubernetes version.
    #[must_use]
    pub fn on<'p>(&'p self, node: &'p Node<'p>, version: KubernetesVersion) -> NodePlacement<'p> {
        let mut reasons = Vec::new();
        if !self.node_name.is_empty() && self.node_name != node.name {
            reasons.push(Reason::NodeName { wanted: &self.node_name });
        }
        for (key, wanted) in &self.node_selector {
            let found = node.labels.get(key);
            if found != Some(&**wanted) {
                reasons.push(Reason::NodeSelector { key, wanted, found });
            }
        }
        if let Some(terms) = self.required_terms()
            && !terms.iter().any(|term| term.matches(node))
        {
            let unmet = terms.iter().map(|term: &Term<'p>| term.unmet(node).collect()).collect();
            reasons.push(Reason::Affinity { unmet });
        }
        let untolerated =
            node.taints.iter().filter(|taint| taint.keeps_off() && !self.tolerates(taint, version));
        reasons.extend(untolerated.map(Reason::Taint));
        NodePlacement { reasons }
    }

    /// Whether a toleration of the author or of the controller tolerates `taint`.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint<'_>, version: KubernetesVersion) -> bool {
        let numeric = version.has_numeric_tolerations();
        self.tolerations.iter().any(|toleration| {
            toleration.tolerates(taint) || (numeric && toleration.tolerates_by_number(taint))
        }) || AUTOMATIC.iter().any(|toleration| toleration.tolerates(taint))
            || (self.host_network && AUTOMATIC_IN_HOST_NETWORK.tolerates(taint))
    }

    /// Returns the terms of required node affinity; `None` if it allows all nodes.
    #[must_use]
    pub fn required_terms(&self) -> Option<&[Term<'a>]> {
        self.affinity.as_ref()?.required()
    }

    /// Returns the ports of the node that a pod takes.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort<'a>> + use<'_, 'a> {
        let sidecars = self.init_containers.iter().filter(|container| &*container.restart_policy == "Always");
        let ports = self.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
        ports.filter_map(|port| HostPort::of(port, self.host_network))
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

    /// Returns the reasons as one line of limited length; `None` if the controller creates a pod. A template
    /// can have thousands of requirements, and a line of all of them would help nobody.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let (shown, rest) = self.reasons.split_at(self.reasons.len().min(MAX_REASONS));
        let mut lines: Vec<String> = shown.iter().map(|reason| limited(reason, MAX_REASON)).collect();
        if !rest.is_empty() {
            lines.push(format!("{} more", rest.len()));
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

impl<'a> Reason<'a> {
    /// Returns the term that lacks the fewest requirements: its position, and those that the node does not satisfy. Of
    /// several, it is the first one. It is `None` for other reasons, and if no term can match any node.
    #[must_use]
    pub fn closest_term(&self) -> Option<(usize, &[&'a Requirement<'a>])> {
        let Self::Affinity { unmet } = self else { return None };
        let possible = unmet.iter().enumerate().filter(|(_, unmet)| !unmet.is_empty());
        possible.min_by_key(|(_, unmet)| unmet.len()).map(|(position, unmet)| (position, unmet.as_slice()))
    }
}

impl fmt::Display for Reason<'_> {
    /// One line, without values of the node: nodes that lack the same have the same line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeName { wanted } => write!(f, "nodeName {wanted}"),
            Self::NodeSelector { key, wanted, .. } => write!(f, "nodeSelector {key}={wanted}"),
            Self::Taint(taint) => write!(f, "taint {taint}"),
            Self::Affinity { unmet } => {
                let Some((position, requirements)) = self.closest_term() else {
                    return f.write_str("affinity: no term that can match a node");
                };
                f.write_str("affinity ")?;
                for (n, requirement) in requirements.iter().enumerate() {
                    write!(f, "{}{requirement}", if n > 0 { " and " } else { "" })?;
                }
                if unmet.len() > 1 {
                    write!(f, " (term {} of {})", position + 1, unmet.len())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
