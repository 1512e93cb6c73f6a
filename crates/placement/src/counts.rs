//! Counts of the nodes that run a DaemonSet, and of those that refuse it, by reason.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::{Node, NodeAnswer};

/// The nodes of a cluster by their answer to one pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// All nodes.
    pub nodes: usize,
    /// The nodes on which the controller creates a pod.
    pub runs: usize,
    /// The other nodes by reason. The most frequent reason comes first.
    pub refusals: Vec<NodeRefusal>,
}

/// Nodes that refuse the pods for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRefusal {
    /// The number of nodes.
    pub nodes: usize,
    /// The name of their group, if all of them are in one: see [`Node::group`].
    pub group: Option<String>,
    /// The reasons of each of these nodes, as one line.
    pub reason: String,
}

/// Reasons that the summary names; the rest is counted.
const MAX_REASONS: usize = 2;

impl NodeCounts {
    /// Counts the answers of `nodes`: one for each node, in the same order.
    #[must_use]
    pub fn of<'n, N: Borrow<Node<'n>>>(nodes: &[N], answers: &[NodeAnswer]) -> Self {
        let mut counts = Self { nodes: nodes.len(), ..Self::default() };
        let mut refusals: BTreeMap<&str, (usize, Option<&str>)> = BTreeMap::new();
        for (node, answer) in nodes.iter().zip(answers) {
            let Some(reason) = answer.reason.as_deref() else {
                counts.runs += 1;
                continue;
            };
            let group = node.borrow().group();
            let (count, common) = refusals.entry(reason).or_insert((0, group));
            *count += 1;
            *common = common.filter(|common| group == Some(*common));
        }
        let refusals = refusals.into_iter().map(|(reason, (nodes, group))| NodeRefusal {
            nodes,
            group: group.map(str::to_owned),
            reason: reason.to_owned(),
        });
        counts.refusals = refusals.collect();
        counts.refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.nodes));
        counts
    }

    /// Describes the counts in one line: `runs on 12 of 15 nodes; 3 gpu nodes refuse it: taint nvidia.com/gpu:NoSchedule`.
    ///
    /// `before` is the number of nodes before a change, if the line names it.
    #[must_use]
    pub fn summary(&self, before: Option<usize>) -> String {
        let before = before.map(|before| format!(" (before: {before})")).unwrap_or_default();
        let mut line = format!("runs on {} of {} {}{before}", self.runs, self.nodes, noun(self.nodes));
        for (n, NodeRefusal { nodes, group, reason }) in self.refusals.iter().take(MAX_REASONS).enumerate() {
            let group = group.as_ref().map(|group| format!(" {group}")).unwrap_or_default();
            let verb = match (n, *nodes) {
                (0, 1) => " refuses it",
                (0, _) => " refuse it",
                _ => "",
            };
            line.push_str(&format!("; {nodes}{group} {}{verb}: {reason}", noun(*nodes)));
        }
        let rest: usize = self.refusals.iter().skip(MAX_REASONS).map(|refusal| refusal.nodes).sum();
        if rest > 0 {
            line.push_str(&format!("; {rest} for other reasons"));
        }
        line
    }
}

fn noun(nodes: usize) -> &'static str {
    if nodes == 1 { "node" } else { "nodes" }
}

#[cfg(test)]
mod tests {
    use super::super::{KubernetesVersion, PodSpec, Taint};
    use super::*;

    #[test]
    fn the_summary_names_the_two_most_frequent_reasons() {
        let pool = "karpenter.sh/nodepool";
        let node = |group: Option<&'static str>| Node {
            labels: group.map(|group| (pool.into(), group.into())).into_iter().collect(),
            ..Node::default()
        };
        let answer = |reason: Option<&str>| NodeAnswer {
            runs: reason.is_none(),
            continues: true,
            assumes_pod: false,
            reason: reason.map(Into::into),
        };
        let show = |all: &[(Option<&'static str>, Option<&str>)]| {
            let nodes: Vec<Node<'_>> = all.iter().map(|(group, _)| node(*group)).collect();
            let answers: Vec<NodeAnswer> = all.iter().map(|(_, reason)| answer(*reason)).collect();
            NodeCounts::of(&nodes, &answers).summary(None)
        };
        assert_eq!(show(&[(None, None)]), "runs on 1 of 1 node");
        assert_eq!(
            show(&[
                (Some("gpu"), Some("taint a:NoSchedule")),
                (Some("gpu"), Some("taint a:NoSchedule")),
                (None, None)
            ]),
            "runs on 1 of 3 nodes; 2 gpu nodes refuse it: taint a:NoSchedule"
        );
        assert_eq!(
            show(&[(Some("a"), Some("x")), (Some("b"), Some("x")), (None, Some("y")), (None, Some("z"))]),
            "runs on 0 of 4 nodes; 2 nodes refuse it: x; 1 node: y; 1 for other reasons"
        );
    }

    #[test]
    fn counts_nodes_by_their_reason() {
        let tainted =
            |key: &'static str| Node { taints: vec![Taint::new(key, "", "NoSchedule")], ..Node::default() };
        let nodes = [Node::default(), tainted("a"), tainted("b"), tainted("b")];
        let counts = NodeCounts::of(&nodes, &PodSpec::default().answers(&nodes, KubernetesVersion::NEWEST));
        let reasons: Vec<_> = counts.refusals.iter().map(|found| (found.nodes, &*found.reason)).collect();
        assert_eq!((counts.nodes, counts.runs), (4, 1));
        assert_eq!(reasons, [(2, "taint b:NoSchedule"), (1, "taint a:NoSchedule")]);
    }
}
