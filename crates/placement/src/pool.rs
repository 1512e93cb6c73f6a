//! Pools: the nodes of one group with the same answer.

use std::collections::BTreeMap;

use super::{Node, NodeAnswer};

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
        let runs = NodeAnswer { runs: true, continues: true, assumes_pod: true, reason: None };
        let off = NodeAnswer {
            runs: false,
            continues: true,
            assumes_pod: false,
            reason: Some("taint t:NoSchedule".into()),
        };
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
}
