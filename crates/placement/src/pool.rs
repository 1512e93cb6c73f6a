//! Nodes with the same answer, as one line.

use std::collections::BTreeMap;

use super::{Node, NodePlacement};

/// The answer for a node, without borrowed parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeAnswer {
    /// Whether the controller creates a pod.
    pub runs: bool,
    /// Whether the controller keeps an existing pod.
    pub continues: bool,
    /// The reasons why it creates no pod.
    pub reason: Option<String>,
}

/// Nodes of one group with the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool<'n> {
    /// The name of the group: see [`Node::group`].
    pub group: Option<&'n str>,
    /// The names of the nodes, in the given order.
    pub nodes: Vec<&'n str>,
    /// The answer before the change, if there is a change.
    pub before: Option<NodeAnswer>,
    /// The answer after it.
    pub after: NodeAnswer,
}

impl From<&NodePlacement<'_>> for NodeAnswer {
    fn from(placement: &NodePlacement<'_>) -> Self {
        Self { runs: placement.runs(), continues: placement.continues(), reason: placement.reason() }
    }
}

/// Groups nodes by their group and their answers. Large pools come first.
///
/// `before` and `after` have one answer for each node, in the same order.
#[must_use]
pub fn pools<'n>(
    nodes: &'n [Node<'n>],
    before: Option<&[NodeAnswer]>,
    after: &[NodeAnswer],
) -> Vec<Pool<'n>> {
    let mut grouped: BTreeMap<_, Vec<&'n str>> = BTreeMap::new();
    for (n, (node, after)) in nodes.iter().zip(after).enumerate() {
        let before = before.and_then(|before| before.get(n));
        grouped.entry((node.group(), before, after)).or_default().push(&node.name);
    }
    let mut pools: Vec<Pool<'n>> = grouped
        .into_iter()
        .map(|((group, before, after), nodes)| Pool {
            group,
            nodes,
            before: before.cloned(),
            after: after.clone(),
        })
        .collect();
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.nodes.len()));
    pools
}

/// Reasons that the summary names; the rest is counted.
const MAX_REASONS: usize = 2;

/// Describes the answers in one line: `runs on 12 of 15 nodes; 3 gpu nodes refuse it: taint nvidia.com/gpu:NoSchedule`.
///
/// `answers` has one answer for each node, in the same order. `before` is the number of nodes before a change, if the line
/// names it.
#[must_use]
pub fn summary(nodes: &[&Node<'_>], answers: &[NodeAnswer], before: Option<usize>) -> String {
    let runs = answers.iter().filter(|answer| answer.runs).count();
    let noun = if nodes.len() == 1 { "node" } else { "nodes" };
    let before = before.map(|before| format!(" (before: {before})")).unwrap_or_default();
    let mut line = format!("runs on {runs} of {} {noun}{before}", nodes.len());
    let mut refusals: BTreeMap<&str, (usize, Option<&str>)> = BTreeMap::new();
    for (node, answer) in nodes.iter().zip(answers) {
        if let Some(reason) = &answer.reason {
            let (count, group) = refusals.entry(reason).or_insert((0, node.group()));
            *count += 1;
            *group = group.filter(|group| node.group() == Some(*group));
        }
    }
    let mut refusals: Vec<_> = refusals.into_iter().collect();
    refusals.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (n, (reason, (count, group))) in refusals.iter().take(MAX_REASONS).enumerate() {
        let group = group.map(|group| format!(" {group}")).unwrap_or_default();
        let noun = if *count == 1 { "node" } else { "nodes" };
        let verb = match (n, *count) {
            (0, 1) => " refuses it",
            (0, _) => " refuse it",
            _ => "",
        };
        line.push_str(&format!("; {count}{group} {noun}{verb}: {reason}"));
    }
    let rest: usize = refusals.iter().skip(MAX_REASONS).map(|(_, (count, _))| count).sum();
    if rest > 0 {
        line.push_str(&format!("; {rest} for other reasons"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_nodes_with_the_same_group_and_answers() {
        let node = |name: &'static str, role: Option<&'static str>| Node {
            name: name.into(),
            labels: role.map(|role| (role.into(), "".into())).into_iter().collect(),
            ..Node::default()
        };
        let worker = Some("node-role.kubernetes.io/worker");
        let nodes = [node("a", None), node("b", worker), node("c", worker), node("d", worker)];
        let runs = NodeAnswer { runs: true, continues: true, reason: None };
        let off = NodeAnswer { runs: false, continues: true, reason: Some("taint t:NoSchedule".into()) };
        let answers = [runs.clone(), runs.clone(), off.clone(), runs.clone()];
        let pools = pools(&nodes, None, &answers);
        let seen: Vec<_> = pools.iter().map(|pool| (pool.group, pool.nodes.clone(), &pool.after)).collect();
        assert_eq!(
            seen,
            [
                (Some("worker"), vec!["b", "d"], &runs),
                (None, vec!["a"], &runs),
                (Some("worker"), vec!["c"], &off),
            ]
        );
    }

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
            summary(&nodes.iter().collect::<Vec<_>>(), &answers, None)
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
}
