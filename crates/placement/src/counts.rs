//! Counts of the nodes that run a DaemonSet, and of those that refuse it, by reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{KubernetesVersion, Node, NodeAnswer, PodSpec};

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
    /// Counts the answers of `nodes` to the pods of a template. `alike` is the result of [`alike`](super::alike) for them, or
    /// empty: it saves time, and changes no answer.
    #[must_use]
    pub fn of(pod: &PodSpec<'_>, nodes: &[&Node<'_>], alike: &[usize], version: KubernetesVersion) -> Self {
        let mut counter = Counter::default();
        let mut line = String::new();
        let alike = if pod.names_nodes() { &[] } else { alike };
        let mut copies = vec![0; nodes.len()];
        for n in 0..nodes.len() {
            let first = alike.get(n).copied().unwrap_or(n);
            copies[first] += 1;
        }
        for (node, copies) in nodes.iter().zip(copies).filter(|(_, copies)| *copies > 0) {
            let placement = pod.on(node, version);
            line.clear();
            for (n, reason) in placement.reasons().iter().enumerate() {
                // Writing to a String cannot fail.
                let _ = write!(line, "{}{reason}", if n > 0 { "; " } else { "" });
            }
            counter.add(node, copies, &line);
        }
        counter.counts(nodes.len())
    }

    /// Counts answers that are known already: one for each node, in the same order.
    #[must_use]
    pub fn of_answers(nodes: &[&Node<'_>], answers: &[NodeAnswer]) -> Self {
        let mut counter = Counter::default();
        for (node, answer) in nodes.iter().zip(answers) {
            counter.add(node, 1, answer.reason.as_deref().unwrap_or_default());
        }
        counter.counts(nodes.len())
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

/// Counts nodes by the line of their reasons.
#[derive(Default)]
struct Counter<'n> {
    runs: usize,
    refusals: BTreeMap<String, (usize, Option<&'n str>)>,
}

impl<'n> Counter<'n> {
    /// Counts equal nodes. Without a reason, the pods run there.
    fn add(&mut self, node: &'n Node<'_>, copies: usize, reason: &str) {
        if reason.is_empty() {
            self.runs += copies;
        } else if let Some((count, group)) = self.refusals.get_mut(reason) {
            *count += copies;
            *group = group.filter(|group| node.group() == Some(*group));
        } else {
            self.refusals.insert(reason.to_owned(), (copies, node.group()));
        }
    }

    fn counts(self, nodes: usize) -> NodeCounts {
        let refusal = |(reason, (nodes, group)): (String, (usize, Option<&str>))| NodeRefusal {
            nodes,
            group: group.map(str::to_owned),
            reason,
        };
        let mut refusals: Vec<NodeRefusal> = self.refusals.into_iter().map(refusal).collect();
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.nodes));
        NodeCounts { nodes, runs: self.runs, refusals }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Taint, alike};
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
            reason: reason.map(str::to_owned),
        };
        let show = |all: &[(Option<&'static str>, Option<&str>)]| {
            let nodes: Vec<Node<'_>> = all.iter().map(|(group, _)| node(*group)).collect();
            let answers: Vec<NodeAnswer> = all.iter().map(|(_, reason)| answer(*reason)).collect();
            NodeCounts::of_answers(&nodes.iter().collect::<Vec<_>>(), &answers).summary(None)
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
    fn counts_nodes_as_their_answers_do() {
        let tainted =
            |key: &'static str| Node { taints: vec![Taint::new(key, "", "NoSchedule")], ..Node::default() };
        let nodes = [Node::default(), tainted("a"), tainted("b"), tainted("b")];
        let nodes: Vec<&Node<'_>> = nodes.iter().collect();
        let (pod, version) = (PodSpec::default(), KubernetesVersion::NEWEST);
        let answers: Vec<NodeAnswer> = nodes.iter().map(|node| (&pod.on(node, version)).into()).collect();
        let counts = NodeCounts::of(&pod, &nodes, &[], version);
        assert_eq!(counts, NodeCounts::of(&pod, &nodes, &alike(&nodes), version));
        assert_eq!(counts, NodeCounts::of_answers(&nodes, &answers));
        let reasons: Vec<_> = counts.refusals.iter().map(|found| (found.nodes, &*found.reason)).collect();
        assert_eq!((counts.nodes, counts.runs), (4, 1));
        assert_eq!(reasons, [(2, "taint b:NoSchedule"), (1, "taint a:NoSchedule")]);
    }
}
