//! The answers of nodes to a pod template.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{KubernetesVersion, Node, NodePlacement, PodSpec, Reason};

/// The answer of a node, without borrowed parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeAnswer {
    /// Whether the controller creates a pod.
    pub runs: bool,
    /// Whether the controller keeps an existing pod.
    pub continues: bool,
    /// Whether a pod of the template is assumed to be there if pods are unknown: it runs there, or only a taint of the
    /// node's condition keeps new pods off. Kubernetes adds such a taint after the pod, for example to a node that is not
    /// Ready.
    pub assumes_pod: bool,
    /// The reasons why it creates no pod.
    pub reason: Option<Arc<str>>,
}

impl PodSpec<'_> {
    /// Returns the answer of each node, in the same order.
    #[must_use]
    pub fn answers<'n, N: Borrow<Node<'n>>>(
        &self,
        nodes: &[N],
        version: KubernetesVersion,
    ) -> Vec<NodeAnswer> {
        nodes.iter().map(|node| (&self.on(node.borrow(), version)).into()).collect()
    }

    /// As [`PodSpec::answers`], for thousands of nodes and templates of any size.
    ///
    /// `alike` is the result of [`alike`](super::alike) for the nodes. It saves time, and changes no answer. The result is
    /// `None` as soon as `keep_going` returns false: it is called before each node.
    #[must_use]
    pub fn answers_while<'n, N: Borrow<Node<'n>>>(
        &self,
        nodes: &[N],
        alike: &[usize],
        version: KubernetesVersion,
        keep_going: impl Fn() -> bool,
    ) -> Option<Vec<NodeAnswer>> {
        let alike = if self.names_nodes() { &[] } else { alike };
        let mut answers: Vec<NodeAnswer> = Vec::with_capacity(nodes.len());
        for (n, node) in nodes.iter().enumerate() {
            let known = alike.get(n).and_then(|first| answers.get(*first)).cloned();
            let answer = match known {
                Some(known) => known,
                None if keep_going() => (&self.on(node.borrow(), version)).into(),
                None => return None,
            };
            answers.push(answer);
        }
        Some(answers)
    }
}

impl From<&NodePlacement<'_>> for NodeAnswer {
    fn from(placement: &NodePlacement<'_>) -> Self {
        let is_of_condition =
            |taint: &super::Taint<'_>| taint.key.starts_with("node.kubernetes.io/") && !taint.evicts();
        let mut reasons = placement.reasons().iter();
        Self {
            runs: placement.runs(),
            continues: placement.continues(),
            assumes_pod: reasons
                .all(|reason| matches!(reason, Reason::Taint(taint) if is_of_condition(taint))),
            reason: placement.reason().map(Arc::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{Taint, alike};
    use super::*;

    fn tainted(key: &'static str, effect: &'static str) -> Node<'static> {
        Node { taints: vec![Taint::new(key, "", effect)], ..Node::default() }
    }

    #[test]
    fn nodes_that_are_alike_share_one_evaluation_and_change_no_answer() {
        let nodes = [Node::default(), tainted("a", "NoSchedule"), Node::default(), Node::default()];
        let (pod, version, asked) = (PodSpec::default(), KubernetesVersion::NEWEST, Cell::new(0));
        let count = || {
            asked.set(asked.get() + 1);
            true
        };
        let answers = pod.answers_while(&nodes, &alike(&nodes), version, count);
        assert_eq!(answers, Some(pod.answers(&nodes, version)));
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn gives_up_between_two_nodes() {
        let nodes = [Node::default(), tainted("a", "NoSchedule"), tainted("b", "NoSchedule")];
        let left = Cell::new(2);
        let keep_going = || {
            left.set(left.get() - 1);
            left.get() > 0
        };
        let answers = PodSpec::default().answers_while(&nodes, &[], KubernetesVersion::NEWEST, keep_going);
        assert_eq!((answers, left.get()), (None, 0));
    }

    #[test]
    fn assumes_a_pod_where_only_the_nodes_condition_keeps_new_pods_off() {
        let nodes = [
            Node::default(),
            tainted("node.kubernetes.io/network-unavailable", "NoSchedule"),
            tainted("node.kubernetes.io/out-of-service", "NoExecute"),
            tainted("a", "NoSchedule"),
        ];
        let answers = PodSpec::default().answers(&nodes, KubernetesVersion::NEWEST);
        assert_eq!(
            answers.iter().map(|answer| answer.assumes_pod).collect::<Vec<_>>(),
            [true, true, false, false]
        );
    }
}
