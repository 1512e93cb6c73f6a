//! Existing pods and their host ports. A port does not decide where the controller creates a pod, but the pod stays
//! Pending.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use super::ports::HostPortSet;
use super::{HostPort, Node, PodSpec};

/// An existing pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingPod<'a> {
    /// The name of its node.
    pub node: &'a str,
    /// Whether it is bound to the node. Otherwise it still waits for the scheduler, and ends at once if it is deleted.
    pub bound: bool,
    /// Its DaemonSet as `namespace/name`; empty for other pods.
    pub owner: &'a str,
    /// Whether it has been Ready for `minReadySeconds`.
    pub available: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it is being deleted and should have ended by now, so that it may stay for ever.
    pub overdue: bool,
    /// The ports of the node that it takes.
    pub ports: Vec<HostPort<'a>>,
}

/// A port that another pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConflict<'a> {
    /// The port.
    pub port: HostPort<'a>,
    /// The DaemonSet of the other pod as `namespace/name`; empty for other pods.
    pub owner: &'a str,
}

impl fmt::Display for PortConflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            "" => write!(f, "another pod uses host port {}", self.port),
            owner => write!(f, "{owner} uses host port {}", self.port),
        }
    }
}

/// Returns for each node the first port of `pod` that a pod of another DaemonSet than `title` has there.
#[must_use]
pub fn port_conflicts<'a, 'n, N: Borrow<Node<'n>>>(
    pod: &PodSpec<'a>,
    title: &str,
    nodes: &[N],
    pods: &'a [ExistingPod<'a>],
) -> Vec<Option<PortConflict<'a>>> {
    let wanted: Vec<HostPort<'_>> = pod.host_ports().collect();
    let own: HostPortSet<'_> = wanted.iter().collect();
    let mut taken: BTreeMap<&str, Vec<(&HostPort<'_>, &str)>> = BTreeMap::new();
    if !wanted.is_empty() {
        for other in pods.iter().filter(|other| other.owner != title) {
            taken.entry(other.node).or_default().extend(other.ports.iter().map(|port| (port, other.owner)));
        }
    }
    let conflict = |node: &Node<'_>| {
        let taken = taken.get(&*node.name)?;
        let (port, owner) = taken.iter().find(|(port, _)| own.conflicts_with(port))?;
        Some(PortConflict { port: (*port).clone(), owner })
    };
    nodes.iter().map(|node| conflict(node.borrow())).collect()
}
