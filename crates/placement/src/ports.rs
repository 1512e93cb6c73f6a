//! Host ports of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::Text;

/// A container, with its ports alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    /// The declared ports.
    #[serde(borrow)]
    pub ports: Vec<ContainerPort<'a>>,
    /// `Always` makes an init container a sidecar, which keeps its ports.
    #[serde(borrow)]
    pub restart_policy: Text<'a>,
}

/// A declared port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort<'a> {
    /// The port in the pod.
    pub container_port: u32,
    /// The port of the node; 0 if the pod takes none.
    pub host_port: u32,
    /// The address of the node; empty means all.
    #[serde(borrow, rename = "hostIP")]
    pub host_ip: Text<'a>,
    /// `TCP` (the default if empty), `UDP` or `SCTP`.
    #[serde(borrow)]
    pub protocol: Text<'a>,
}

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// The number.
    pub port: u32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text<'a>,
    /// The address; `0.0.0.0` means all.
    pub address: Text<'a>,
}

/// All addresses of a node, for the scheduler.
const ANY_ADDRESS: &str = "0.0.0.0";

impl<'a> HostPort<'a> {
    /// Returns the port of the node that a declared port takes. In the node's network, each declared port is one of the
    /// node: the API server sets `hostPort` to `containerPort`.
    pub(super) fn of(port: &ContainerPort<'a>, host_network: bool) -> Option<Self> {
        let number = match port.host_port {
            0 if host_network => port.container_port,
            number => number,
        };
        let or = |text: &Text<'a>, default| if text.is_empty() { Text::new(default) } else { text.clone() };
        (number > 0).then(|| Self {
            port: number,
            protocol: or(&port.protocol, "TCP"),
            address: or(&port.host_ip, ANY_ADDRESS),
        })
    }

    /// Whether two pods with these ports cannot run on one node (`HostPortInfo.CheckConflict` of the scheduler).
    #[must_use]
    pub fn conflicts_with(&self, other: &HostPort<'_>) -> bool {
        let same_address =
            self.address == other.address || [&*self.address, &*other.address].contains(&ANY_ADDRESS);
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

/// Ports of the node, to find conflicts with others quickly: a pod can declare thousands.
pub(super) struct HostPortSet<'p>(BTreeMap<(u32, &'p str), BTreeSet<&'p str>>);

impl<'p, 'a: 'p> FromIterator<&'p HostPort<'a>> for HostPortSet<'p> {
    fn from_iter<I: IntoIterator<Item = &'p HostPort<'a>>>(ports: I) -> Self {
        let mut set = BTreeMap::<_, BTreeSet<_>>::new();
        for HostPort { port, protocol, address } in ports {
            set.entry((*port, &**protocol)).or_default().insert(&**address);
        }
        Self(set)
    }
}

impl HostPortSet<'_> {
    /// Whether a port of the set conflicts with `port`: see [`HostPort::conflicts_with`].
    pub(super) fn conflicts_with(&self, port: &HostPort<'_>) -> bool {
        let Some(addresses) = self.0.get(&(port.port, &*port.protocol)) else { return false };
        &*port.address == ANY_ADDRESS || addresses.contains(&*port.address) || addresses.contains(ANY_ADDRESS)
    }
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port<'a>(port: u32, protocol: &'a str, address: &'a str) -> HostPort<'a> {
        HostPort { port, protocol: protocol.into(), address: address.into() }
    }

    #[test]
    fn ports_conflict_if_number_protocol_and_address_meet() {
        let any = port(80, "TCP", ANY_ADDRESS);
        assert!(any.conflicts_with(&port(80, "TCP", "10.0.0.1")));
        assert!(port(80, "TCP", "10.0.0.1").conflicts_with(&any));
        assert!(!port(80, "TCP", "10.0.0.1").conflicts_with(&port(80, "TCP", "10.0.0.2")));
        assert!(!any.conflicts_with(&port(81, "TCP", ANY_ADDRESS)));
        assert!(!any.conflicts_with(&port(80, "UDP", ANY_ADDRESS)));
    }

    #[test]
    fn a_set_of_ports_conflicts_with_the_ports_that_one_of_them_conflicts_with() {
        let addresses = [ANY_ADDRESS, "10.0.0.1", "10.0.0.2"];
        let ports = || {
            let addresses = addresses.into_iter();
            addresses.flat_map(|address| [port(80, "TCP", address), port(80, "UDP", address)])
        };
        for one in ports() {
            let both = [one.clone(), port(81, "TCP", ANY_ADDRESS)];
            let set: HostPortSet<'_> = both.iter().collect();
            for other in ports() {
                assert_eq!(set.conflicts_with(&other), one.conflicts_with(&other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_declared_port_is_one_of_the_node_in_the_nodes_network() {
        let declared = ContainerPort { container_port: 9100, ..ContainerPort::default() };
        assert_eq!(HostPort::of(&declared, false), None);
        assert_eq!(HostPort::of(&declared, true), Some(port(9100, "TCP", ANY_ADDRESS)));
        let mapped = ContainerPort { host_port: 53, protocol: "UDP".into(), ..declared };
        assert_eq!(HostPort::of(&mapped, false), Some(port(53, "UDP", ANY_ADDRESS)));
    }
}
