//! The effect of an update on the pods of a DaemonSet: the blast radius.
//!
//! The controller first syncs the nodes: it creates missing pods and deletes pods from nodes that no longer match, at
//! once. Then it replaces the other pods within the limits of the update strategy (pkg/controller/daemon/update.go).

use std::{collections::BTreeMap, fmt};

use super::{
    DaemonSet, ExistingPod, HostPort, KubernetesVersion, Node, NodePlacement, Reason, RolloutLimit,
    port_conflicts,
};

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

/// An update, or a new DaemonSet.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The DaemonSet as `namespace/name`.
    pub title: &'a str,
    /// The stored object; `None` if the DaemonSet is new.
    pub old: Option<&'a DaemonSet<'a>>,
    /// The new object.
    pub new: &'a DaemonSet<'a>,
    /// The difference between them.
    pub change: ObjectChange,
}

/// The nodes and pods of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct ClusterState<'a> {
    /// All nodes.
    pub nodes: &'a [&'a Node<'a>],
    /// All pods. Without them, each node on which the stored object runs counts as one with a pod.
    pub pods: Option<&'a [ExistingPod<'a>]>,
    /// The version of the cluster.
    pub version: KubernetesVersion,
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
    /// The reason why the rollout cannot finish, if there is one.
    pub obstacle: Option<Obstacle>,
}

/// A reason why a rollout cannot finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// With `maxSurge`, the new pod waits for a port that the old pod has.
    SurgePort {
        /// The port, such as `9100/TCP`.
        port: String,
    },
    /// Pods on these nodes cannot become available, and they use up the limit.
    Unavailable {
        /// Nodes that are not Ready and have or get a pod.
        not_ready: usize,
        /// Nodes on which another pod has a port of the new pod.
        port_taken: usize,
        /// The limit as a number.
        limit: usize,
        /// `maxUnavailable` or `maxSurge`.
        name: &'static str,
    },
}

/// One node's part in an update.
struct NodeUpdate<'a> {
    node: &'a Node<'a>,
    /// Whether the stored object runs there.
    ran: bool,
    runs: bool,
    continues: bool,
    /// A pod of the DaemonSet that is not being deleted: whether it is available.
    pod: Option<bool>,
    /// Whether any pod of the DaemonSet is there.
    is_taken: bool,
    port_taken: bool,
}

impl BlastRadius {
    /// Computes the effect.
    #[must_use]
    pub fn of(update: &Update<'_>, cluster: &ClusterState<'_>) -> Self {
        let nodes = node_updates(update, cluster);
        let count = |is: &dyn Fn(&NodeUpdate<'_>) -> bool| nodes.iter().filter(|node| is(node)).count();
        let desired = count(&|node| node.runs);
        let limit = update.new.spec.update_strategy.limit(desired);
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
            let unprotected = |node: &NodeUpdate<'_>| rolls && node.pod == Some(false);
            radius.restarted = count(&|node| node.runs && node.pod.is_some() && !unprotected(node));
            radius.replaced_at_once = count(&|node| node.runs && unprotected(node));
        }
        if rolls {
            radius.not_replaced = count(&|node| node.continues && !node.runs && node.pod.is_some());
            let waiting = count(&|node| node.continues && node.pod == Some(true) && !node.is_not_ready());
            radius.blocked = count(&|node| node.blocks(limit));
            radius.obstacle = (waiting > 0).then(|| obstacle(update, &nodes, limit)).flatten();
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
        lines.extend(self.obstacle.as_ref().map(|obstacle| format!("the rollout cannot finish: {obstacle}")));
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

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SurgePort { port } => {
                write!(f, "with maxSurge, each new pod waits for port {port} of the old pod on its node")
            }
            Self::Unavailable { not_ready, port_taken, limit, name } => {
                let causes = [(*not_ready, "not Ready"), (*port_taken, "on which another pod uses the port")];
                let causes = causes.into_iter().filter(|(count, _)| *count > 0);
                let causes: Vec<String> =
                    causes.map(|(count, cause)| format!("{} {cause}", counted(count, "node"))).collect();
                write!(f, "{name} ({limit}) is used up by {}", causes.join(" and "))
            }
        }
    }
}

impl NodeUpdate<'_> {
    /// Whether the node uses up the limit for ever: a new pod on it cannot become available, or an old one cannot
    /// terminate. With `maxSurge`, a node counts only while its old pod is available.
    fn blocks(&self, limit: RolloutLimit) -> bool {
        match limit {
            RolloutLimit::OnDelete => false,
            RolloutLimit::MaxUnavailable(_) => {
                (self.runs || self.is_taken) && (self.is_not_ready() || self.port_taken)
            }
            RolloutLimit::MaxSurge(_) => self.runs && self.pod == Some(true) && self.port_taken,
        }
    }

    fn is_not_ready(&self) -> bool {
        self.node.ready == Some(false)
    }
}

fn node_updates<'a>(update: &Update<'a>, cluster: &ClusterState<'a>) -> Vec<NodeUpdate<'a>> {
    let all = cluster.pods.unwrap_or_default();
    let mut own: BTreeMap<&str, Vec<&ExistingPod<'_>>> = BTreeMap::new();
    for pod in all.iter().filter(|pod| pod.owner == update.title) {
        own.entry(pod.node).or_default().push(pod);
    }
    let conflicts = port_conflicts(&update.new.spec.template.spec, update.title, cluster.nodes, all);
    let nodes = cluster.nodes.iter().zip(conflicts);
    nodes
        .map(|(node, conflict)| {
            let answer = update.new.spec.template.spec.on(node, cluster.version);
            let (runs, continues) = (answer.runs(), answer.continues());
            let stored = update.old.map(|old| old.spec.template.spec.on(node, cluster.version));
            let ran = stored.as_ref().is_some_and(NodePlacement::runs);
            let (pod, is_taken) = match (cluster.pods, &stored) {
                (Some(_), _) => {
                    let pods = own.get(&*node.name).map(Vec::as_slice).unwrap_or_default();
                    let mut live = pods.iter().filter(|pod| !pod.terminating).peekable();
                    (live.peek().is_some().then(|| live.all(|pod| pod.available)), !pods.is_empty())
                }
                (None, Some(stored)) => {
                    let has_pod = is_assumed(stored);
                    (has_pod.then_some(node.ready != Some(false)), has_pod)
                }
                (None, None) => (None, false),
            };
            let port_taken = runs && conflict.is_some();
            NodeUpdate { node, ran, runs, continues, pod, is_taken, port_taken }
        })
        .collect()
}

/// Returns the obstacle of a rollout that still has available pods to replace.
fn obstacle(update: &Update<'_>, nodes: &[NodeUpdate<'_>], limit: RolloutLimit) -> Option<Obstacle> {
    match limit {
        RolloutLimit::OnDelete => None,
        RolloutLimit::MaxSurge(surge) => {
            let port_taken = nodes.iter().filter(|node| node.blocks(limit)).count();
            if port_taken >= surge {
                return Some(Obstacle::Unavailable {
                    not_ready: 0,
                    port_taken,
                    limit: surge,
                    name: "maxSurge",
                });
            }
            // The new pod stays pending until the old one ends, and the old one stays until the new one is available.
            let old: Vec<HostPort<'_>> = update.old?.spec.template.spec.host_ports().collect();
            let mut new = update.new.spec.template.spec.host_ports();
            let port = new.find(|port| old.iter().any(|old| port.conflicts_with(old)))?;
            Some(Obstacle::SurgePort { port: port.to_string() })
        }
        RolloutLimit::MaxUnavailable(allowed) => {
            let blocked: Vec<&NodeUpdate<'_>> = nodes.iter().filter(|node| node.blocks(limit)).collect();
            let not_ready = blocked.iter().filter(|node| node.is_not_ready()).count();
            let port_taken = blocked.len() - not_ready;
            let name = "maxUnavailable";
            (blocked.len() >= allowed).then_some(Obstacle::Unavailable {
                not_ready,
                port_taken,
                limit: allowed,
                name,
            })
        }
    }
}

/// Whether a node counts as one with a pod if pods are unknown: the pod runs there, or only a taint of the node's
/// condition keeps new pods off. Kubernetes adds such a taint, for example to a node that is not Ready, after the pod.
fn is_assumed(placement: &NodePlacement<'_>) -> bool {
    placement.reasons().iter().all(|reason| {
        matches!(reason, Reason::Taint(taint) if taint.key.starts_with("node.kubernetes.io/") && !taint.evicts())
    })
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
