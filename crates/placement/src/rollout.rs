//! The effect of an update on the pods of a DaemonSet: the blast radius.
//!
//! The controller first syncs the nodes: it creates missing pods and deletes pods from nodes that no longer match, at
//! once. Then it replaces the other pods within the limits of the update strategy (pkg/controller/daemon/update.go).

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::obstacle::{NodeUpdate, Obstacle, counted};
use super::ports::HostPortSet;
use super::{DaemonSet, ExistingPod, HostPort, Node, NodeAnswer, RolloutLimit, port_conflicts};

/// The difference between the stored and the new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectChange {
    /// No difference.
    Nothing,
    /// Only `metadata`.
    Metadata,
    /// `spec`, but not `spec.template`.
    Specification,
    /// `spec.template`, so that a new revision begins; also a new object.
    Template,
}

/// A DaemonSet, and the answers of all nodes to it.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The DaemonSet.
    pub object: &'a DaemonSet<'a>,
    /// One answer for each node, in the same order.
    pub answers: &'a [NodeAnswer],
}

/// An update, or a new DaemonSet.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The DaemonSet as `namespace/name`.
    pub title: &'a str,
    /// The stored object; `None` if the DaemonSet is new.
    pub old: Option<Placed<'a>>,
    /// The new object.
    pub new: Placed<'a>,
    /// The difference between them.
    pub change: ObjectChange,
}

/// The effect of an update on pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlastRadius {
    /// The difference between the objects.
    pub change: ObjectChange,
    /// Nodes that run the new object and did not run the stored one.
    pub gained: usize,
    /// Nodes that ran the stored object and do not run the new one.
    pub lost: usize,
    /// Pods that the controller creates at once.
    pub created: usize,
    /// Pods that the controller deletes at once, because their nodes no longer match. No limit applies, not even with
    /// `OnDelete`.
    pub deleted: usize,
    /// Pods that the rollout replaces within the limit.
    pub restarted: usize,
    /// Pods that the rollout replaces at once, because they are not available.
    pub replaced_at_once: usize,
    /// Pods that the rollout deletes and does not replace: a taint with `NoSchedule` keeps new pods off their nodes.
    pub not_replaced: usize,
    /// The limit of the rollout.
    pub limit: RolloutLimit,
    /// Nodes whose pods cannot become available, and which use up a part of the limit.
    pub blocked: usize,
    /// The reason why the rollout cannot finish, or may not finish, if there is one.
    pub obstacle: Option<Obstacle>,
}

impl BlastRadius {
    /// Computes the effect. Without pods, each node on which the stored object runs counts as one with a pod.
    #[must_use]
    pub fn of<'n, N: Borrow<Node<'n>>>(
        update: &Update<'_>,
        nodes: &[N],
        pods: Option<&[ExistingPod<'_>]>,
    ) -> Self {
        let nodes = node_updates(update, nodes, pods);
        let count = |is: &dyn Fn(&NodeUpdate) -> bool| nodes.iter().filter(|node| is(node)).count();
        let desired = count(&|node| node.runs);
        let limit = update.new.object.spec.update_strategy.limit(desired);
        let outdated = update.change == ObjectChange::Template;
        let rolls = outdated && limit != RolloutLimit::OnDelete;
        let mut radius = Self {
            change: update.change,
            gained: count(&|node| node.runs && !node.ran),
            lost: count(&|node| node.ran && !node.runs),
            created: count(&|node| node.runs && !node.is_taken),
            deleted: count(&|node| !node.continues && node.pod.is_some()),
            restarted: 0,
            replaced_at_once: 0,
            not_replaced: 0,
            limit,
            blocked: 0,
            obstacle: None,
        };
        if outdated {
            let unprotected = |node: &NodeUpdate| rolls && node.pod == Some(false);
            radius.restarted = count(&|node| node.runs && node.pod.is_some() && !unprotected(node));
            radius.replaced_at_once = count(&|node| node.runs && unprotected(node));
        }
        if rolls {
            radius.not_replaced = count(&|node| node.continues && !node.runs && node.pod.is_some());
            radius.blocked = count(&|node| node.blocks(limit));
            radius.obstacle = Obstacle::of(limit, &nodes);
        }
        radius
    }

    /// Returns the number of steps in which the rollout replaces pods; 0 if it replaces none, or with `OnDelete`.
    #[must_use]
    pub fn waves(&self) -> usize {
        match self.limit {
            RolloutLimit::OnDelete => 0,
            RolloutLimit::MaxUnavailable(_) => {
                (self.restarted + self.not_replaced).div_ceil(self.at_a_time())
            }
            RolloutLimit::MaxSurge(_) => self.restarted.div_ceil(self.at_a_time()),
        }
    }

    /// Returns the number of pods that the rollout replaces in one step: the limit without the nodes that use it up.
    fn at_a_time(&self) -> usize {
        match self.limit {
            RolloutLimit::OnDelete => 1,
            RolloutLimit::MaxUnavailable(limit) | RolloutLimit::MaxSurge(limit) => {
                limit.saturating_sub(self.blocked).max(1)
            }
        }
    }

    /// Whether no pod is created, deleted or replaced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created + self.deleted + self.restarted + self.replaced_at_once + self.not_replaced == 0
    }

    /// Describes the effect, one fact a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.created > 0 {
            lines.push(format!("{} created at once", counted(self.created, "pod")));
        }
        if self.deleted > 0 {
            lines.push(format!(
                "{} deleted at once, on nodes that no longer match; no limit of the update strategy applies",
                counted(self.deleted, "pod")
            ));
        }
        if self.replaced_at_once > 0 {
            lines.push(format!(
                "{} replaced at once, because they are not available; maxUnavailable does not apply to them",
                counted(self.replaced_at_once, "pod")
            ));
        }
        if self.restarted > 0 {
            lines.push(match self.limit {
                RolloutLimit::OnDelete => {
                    format!(
                        "{} replaced only after a manual deletion (OnDelete)",
                        counted(self.restarted, "pod")
                    )
                }
                RolloutLimit::MaxUnavailable(limit) => self.rolling("maxUnavailable", "", limit),
                RolloutLimit::MaxSurge(limit) => self.rolling("maxSurge", " more", limit),
            });
        }
        if self.not_replaced > 0 {
            lines.push(format!(
                "{} deleted by the rollout and not replaced: a taint keeps new pods off their nodes",
                counted(self.not_replaced, "pod")
            ));
        }
        lines.extend(self.obstacle.as_ref().map(Obstacle::sentence));
        if lines.is_empty() {
            lines.push(match self.change {
                ObjectChange::Nothing => "no effect".to_owned(),
                ObjectChange::Metadata => "metadata only: no pod restarts".to_owned(),
                ObjectChange::Specification | ObjectChange::Template => {
                    "no pod is created, deleted or restarted".to_owned()
                }
            });
        }
        lines
    }

    fn rolling(&self, name: &str, more: &str, limit: usize) -> String {
        let pods = counted(self.restarted, "pod");
        if self.obstacle.is_some() {
            return format!("rolling restart of {pods}");
        }
        let used = match self.blocked {
            0 => String::new(),
            blocked => format!(" {limit}, less {}", counted(blocked, "blocked node")),
        };
        format!(
            "rolling restart of {pods}, {}{more} at a time ({name}{used}), in {}",
            self.at_a_time(),
            counted(self.waves(), "step")
        )
    }
}

fn node_updates<'n, N: Borrow<Node<'n>>>(
    update: &Update<'_>,
    nodes: &[N],
    pods: Option<&[ExistingPod<'_>]>,
) -> Vec<NodeUpdate> {
    let all = pods.unwrap_or_default();
    let mut own: BTreeMap<&str, Vec<&ExistingPod<'_>>> = BTreeMap::new();
    for pod in all.iter().filter(|pod| pod.owner == update.title) {
        own.entry(pod.node).or_default().push(pod);
    }
    let pod = &update.new.object.spec.template.spec;
    let conflicts = port_conflicts(pod, update.title, nodes, all);
    let wanted: Vec<HostPort<'_>> = pod.host_ports().collect();
    let wanted: HostPortSet<'_> = wanted.iter().collect();
    let port_of = |ports: &[HostPort<'_>]| {
        ports.iter().find(|port| wanted.conflicts_with(port)).map(HostPort::to_string)
    };
    let ports_of_old: Vec<HostPort<'_>> =
        update.old.iter().flat_map(|old| old.object.spec.template.spec.host_ports()).collect();
    let port_of_old = port_of(&ports_of_old);
    let answers = nodes.iter().zip(update.new.answers).zip(conflicts).enumerate();
    answers
        .map(|(n, ((node, answer), conflict))| {
            let node: &Node<'_> = node.borrow();
            let stored = update.old.and_then(|old| old.answers.get(n));
            let mut found = NodeUpdate {
                is_not_ready: node.ready == Some(false),
                ran: stored.is_some_and(|stored| stored.runs),
                runs: answer.runs,
                continues: answer.continues,
                pod: None,
                is_taken: false,
                is_bound: false,
                is_overdue: false,
                port_taken: answer.runs && conflict.is_some(),
                own_port: None,
            };
            match (pods, stored) {
                (Some(_), _) => {
                    let pods = own.get(&*node.name).map(Vec::as_slice).unwrap_or_default();
                    let is_live = |pod: &&&ExistingPod<'_>| !pod.terminating;
                    // If there are several, the controller keeps the one that is available.
                    found.pod = pods.iter().filter(is_live).map(|pod| pod.available).reduce(|a, b| a || b);
                    found.is_taken = !pods.is_empty();
                    found.is_bound = pods.iter().any(|pod| pod.bound);
                    found.is_overdue = pods.iter().any(|pod| pod.overdue);
                    let stays = |pod: &&&ExistingPod<'_>| pod.overdue || pod.available && !pod.terminating;
                    found.own_port = pods.iter().filter(stays).find_map(|pod| port_of(&pod.ports));
                }
                (None, Some(stored)) => {
                    found.is_taken = stored.assumes_pod;
                    found.is_bound = found.is_taken;
                    found.pod = found.is_taken.then_some(!found.is_not_ready);
                    found.own_port = port_of_old.clone().filter(|_| found.is_taken);
                }
                (None, None) => {}
            }
            found
        })
        .collect()
}

#[cfg(test)]
mod tests;
