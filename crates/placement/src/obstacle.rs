//! The reasons why a rollout cannot finish.
//!
//! A rollout has finished if the controller has deleted each pod of an older template. It deletes a pod that is not
//! available at once. So only available pods can stay for ever: the limit of the strategy protects them, and nodes on
//! which no new pod can become available use up the limit (`rollingUpdate` in pkg/controller/daemon/update.go).

use std::fmt;

use super::RolloutLimit;

/// A reason why a rollout cannot finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// With `maxSurge`, the new pod waits for a port that the old pod has.
    SurgePort {
        /// The port, such as `9100/TCP`.
        port: String,
    },
    /// With `maxSurge`, old pods stay because no new pod can become available on their nodes.
    SurgeUnavailable {
        /// The nodes.
        nodes: UnavailableNodes,
    },
    /// With `maxSurge`, old pods stay that the rollout only deletes. The controller deletes them while more pods are
    /// available than nodes should run one.
    SurgeRemoval {
        /// The old pods that stay.
        pods: usize,
        /// The nodes that should run a pod, and on which none can become available.
        nodes: UnavailableNodes,
    },
    /// Pods on these nodes cannot become available, and they use up `maxUnavailable`.
    Unavailable {
        /// The nodes.
        nodes: UnavailableNodes,
        /// The limit as a number.
        limit: usize,
        /// Whether the rollout gets stuck in each order in which the controller can replace the pods. Otherwise it
        /// finishes if the controller replaces the pods on these nodes last.
        certain: bool,
    },
    /// No node runs the new pods, so the limit, a percentage, is 0.
    NoNodes,
}

/// The number of nodes on which no new pod can become available, for each cause. A node has one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnavailableNodes {
    /// Nodes that are not Ready.
    pub not_ready: usize,
    /// Nodes on which a deleted pod of the DaemonSet does not end.
    pub terminating: usize,
    /// Nodes on which another pod has a port of the new pod.
    pub port_taken: usize,
}

/// One node's part in an update.
pub(super) struct NodeUpdate {
    pub(super) is_not_ready: bool,
    /// Whether the stored object runs there.
    pub(super) ran: bool,
    pub(super) runs: bool,
    pub(super) continues: bool,
    /// Whether a pod of the DaemonSet is available; `None` if each is being deleted, or there is none.
    pub(super) pod: Option<bool>,
    /// Whether any pod of the DaemonSet is there.
    pub(super) is_taken: bool,
    /// Whether any pod of the DaemonSet is bound to the node, so that only the node's kubelet can end it.
    pub(super) is_bound: bool,
    /// Whether a deleted pod of the DaemonSet does not end.
    pub(super) is_overdue: bool,
    /// Whether another pod has a port of the new pod.
    pub(super) port_taken: bool,
    /// The port of the new pod that a pod of the DaemonSet keeps as long as it is there.
    pub(super) own_port: Option<String>,
}

#[derive(Clone, Copy)]
enum Cause {
    NotReady,
    Terminating,
    PortTaken,
}

impl Obstacle {
    /// Returns the obstacle of a rollout within a limit.
    pub(super) fn of(limit: RolloutLimit, nodes: &[NodeUpdate]) -> Option<Self> {
        match limit {
            RolloutLimit::OnDelete => None,
            RolloutLimit::MaxUnavailable(allowed) => Self::of_deletions(allowed, nodes),
            RolloutLimit::MaxSurge(_) => Self::of_surge(nodes),
        }
    }

    /// Whether the rollout gets stuck in each order in which the controller can replace the pods.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unavailable { certain: false, .. })
    }

    /// Returns a sentence that says whether the rollout cannot or may not finish, and why.
    #[must_use]
    pub fn sentence(&self) -> String {
        let verb = if self.is_certain() { "cannot" } else { "may not" };
        format!("the rollout {verb} finish: {self}")
    }

    /// With `maxUnavailable`, the controller deletes an old pod before it creates the new one.
    fn of_deletions(limit: usize, nodes: &[NodeUpdate]) -> Option<Self> {
        let waiting = nodes.iter().filter(|node| node.is_protected()).count();
        if waiting == 0 {
            return None;
        }
        if limit == 0 {
            return Some(Self::NoNodes);
        }
        let within = RolloutLimit::MaxUnavailable(limit);
        let blocked = UnavailableNodes::of(nodes, |node| node.cause(within));
        // These use up the limit only after the controller has deleted their available pods.
        let later = nodes.iter().filter(|node| node.is_protected() && node.cause(within).is_some()).count();
        let now = blocked.count() - later;
        let certain = now >= limit || blocked.count() > limit;
        let possible = blocked.count() == limit && waiting > later;
        (certain || possible).then_some(Self::Unavailable { nodes: blocked, limit, certain })
    }

    /// With `maxSurge`, the controller creates a new pod and deletes the old one when the new one is available.
    fn of_surge(nodes: &[NodeUpdate]) -> Option<Self> {
        let kept = || nodes.iter().filter(|node| node.runs && node.is_protected());
        // The new pod stays pending until the old one ends, and the old one stays until the new one is available.
        if let Some(port) = kept().find_map(|node| node.own_port.clone()) {
            return Some(Self::SurgePort { port });
        }
        let blocked = UnavailableNodes::of(kept(), NodeUpdate::surge_cause);
        if blocked.count() > 0 {
            return Some(Self::SurgeUnavailable { nodes: blocked });
        }
        let without = nodes.iter().filter(|node| node.runs && node.pod != Some(true));
        let missing = UnavailableNodes::of(without, NodeUpdate::surge_cause);
        let leaving = nodes.iter().filter(|node| !node.runs && node.is_protected()).count();
        let pods = leaving.min(missing.count());
        (pods > 0).then_some(Self::SurgeRemoval { pods, nodes: missing })
    }
}

impl NodeUpdate {
    /// Whether the node uses up a part of the limit for ever, now or after the rollout has come to it.
    pub(super) fn blocks(&self, limit: RolloutLimit) -> bool {
        self.cause(limit).is_some()
    }

    /// Whether the limit protects a pod here: the controller replaces or deletes an available pod only within it.
    fn is_protected(&self) -> bool {
        self.continues && self.pod == Some(true)
    }

    fn cause(&self, limit: RolloutLimit) -> Option<Cause> {
        match limit {
            RolloutLimit::OnDelete => None,
            RolloutLimit::MaxUnavailable(_) if !self.runs && !self.is_bound => None,
            RolloutLimit::MaxUnavailable(_) if self.is_not_ready => Some(Cause::NotReady),
            // The controller creates no pod beside a pod that is being deleted.
            RolloutLimit::MaxUnavailable(_) if self.is_overdue => Some(Cause::Terminating),
            RolloutLimit::MaxUnavailable(_) => self.port_taken.then_some(Cause::PortTaken),
            // A node counts only while its old pod is available.
            RolloutLimit::MaxSurge(_) if !self.runs || !self.is_protected() => None,
            RolloutLimit::MaxSurge(_) => self.surge_cause(),
        }
    }

    /// Why no new pod beside the old one can become available.
    fn surge_cause(&self) -> Option<Cause> {
        if self.is_not_ready {
            Some(Cause::NotReady)
        } else if self.port_taken {
            Some(Cause::PortTaken)
        } else {
            self.own_port.is_some().then_some(Cause::Terminating)
        }
    }
}

impl UnavailableNodes {
    /// Returns the number of nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.not_ready + self.terminating + self.port_taken
    }

    fn of<'n>(
        nodes: impl IntoIterator<Item = &'n NodeUpdate>,
        cause: impl Fn(&NodeUpdate) -> Option<Cause>,
    ) -> Self {
        let mut counts = Self::default();
        for cause in nodes.into_iter().filter_map(cause) {
            match cause {
                Cause::NotReady => counts.not_ready += 1,
                Cause::Terminating => counts.terminating += 1,
                Cause::PortTaken => counts.port_taken += 1,
            }
        }
        counts
    }
}

impl fmt::Display for UnavailableNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = [
            (self.not_ready, "not Ready"),
            (self.terminating, "whose old pod does not end"),
            (self.port_taken, "on which another pod uses the port"),
        ];
        let causes = causes.into_iter().filter(|(count, _)| *count > 0);
        let causes: Vec<String> =
            causes.map(|(count, cause)| format!("{} {cause}", counted(count, "node"))).collect();
        f.write_str(&causes.join(" and "))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SurgePort { port } => {
                write!(f, "with maxSurge, each new pod waits for port {port} of the old pod on its node")
            }
            Self::SurgeUnavailable { nodes } => {
                write!(
                    f,
                    "with maxSurge, an old pod stays until the new pod on its node is available: {nodes}"
                )
            }
            Self::SurgeRemoval { pods, nodes } => write!(
                f,
                "with maxSurge, {} on nodes with a taint must wait for pods that cannot become available: {nodes}",
                counted(*pods, "old pod")
            ),
            Self::Unavailable { nodes, limit, certain } => {
                write!(f, "maxUnavailable ({limit}) is used up by {nodes}")?;
                if *certain {
                    Ok(())
                } else {
                    f.write_str(", unless the controller replaces their pods last")
                }
            }
            Self::NoNodes => {
                f.write_str("the limit is a percentage of 0 nodes, because no node runs the new pods")
            }
        }
    }
}

/// Returns a number with its noun, such as `2 nodes`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
