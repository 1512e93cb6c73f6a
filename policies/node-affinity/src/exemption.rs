//! How `workersOnly` treats a DaemonSet that has business on the control plane.

use serde::Deserialize;
use wardset_policy_sdk::{Outcome, Patch, Placement, Review, Stop, Taint, Text, Toleration, Wanted};

use crate::{
    AFFINITY, CONTROL_PLANE, NODE_SELECTOR, NodeInfrastructure, Settings, ToleratesControlPlane, no,
};

pub(crate) const TOLERATIONS: &str = "/spec/template/spec/tolerations";
pub(crate) const PRIORITY_CLASS: &str = "/spec/template/spec/priorityClassName";
pub(crate) const HOST_NETWORK: &str = "/spec/template/spec/hostNetwork";
pub(crate) const VOLUMES: &str = "/spec/template/spec/volumes";

/// The taint that keeps pods off RKE2's control plane. AKS taints its system nodes with the same key and
/// `NoSchedule`; those are workers.
const CRITICAL_ADDONS: Taint<'_> = Taint::new("CriticalAddonsOnly", "true", "NoExecute");

/// The directories in which network and storage drivers register with the kubelet, as path segments.
///
/// Distributions move the root (`/var/lib/k0s/kubelet`, `/var/lib/rancher/k3s/agent/etc/cni`) and keep these
/// names, so the segments match anywhere in a path. An author who abuses that gains nothing: a
/// `nodeSelector` that targets the control plane has the same effect.
const DRIVER_DIRECTORIES: [&[&str]; 10] = [
    &["kubelet", "plugins"],
    &["kubelet", "plugins_registry"],
    &["cni", "net.d"],
    &["cni", "bin"],
    &["etc", "cni"],
    &["opt", "cni"],
    &["lib", "cni"],
    // The plugins of k3s, in its releases before and since October 2024.
    &["k3s", "data", "current", "bin"],
    &["k3s", "data", "cni"],
    // The configuration of MicroK8s.
    &["args", "cni-network"],
];

/// The answer of `workersOnly` to one DaemonSet.
#[derive(Debug)]
pub(crate) enum Treatment {
    /// It stays on the control plane.
    LeaveAlone(Finding),
    /// It runs on workers only. The finding is a toleration by which its author asks for the opposite.
    Restrict(Option<Finding>),
}

/// A reason and the pointer to the field that gives it.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) pointer: String,
    pub(crate) text: String,
}

impl Finding {
    fn new(pointer: impl Into<String>, text: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), text: text.into() }
    }
}

/// Returns how `workersOnly` treats the DaemonSet.
pub(crate) fn treatment(
    settings: &Settings,
    review: &Review,
    placement: &Placement<'_>,
) -> Result<Treatment, Stop> {
    if let Some(target) = target(review, placement)? {
        return Ok(Treatment::LeaveAlone(target));
    }
    let tolerations: Vec<Toleration<'_>> = review.object(TOLERATIONS)?.unwrap_or_default();
    if settings.node_infrastructure == NodeInfrastructure::LeaveAlone
        && let Some(service) = node_service(review, &tolerations)?
    {
        return Ok(Treatment::LeaveAlone(service));
    }
    let named = tolerations.iter().enumerate().find(|(_, toleration)| names_control_plane(toleration));
    let named = named.map(|(i, toleration)| (format!("{TOLERATIONS}/{i}"), &*toleration.key));
    Ok(match (named, settings.tolerates_control_plane) {
        (Some((pointer, key)), ToleratesControlPlane::LeaveAlone) => {
            Treatment::LeaveAlone(Finding::new(pointer, format!("it tolerates the control plane (`{key}`)")))
        }
        (named, _) => Treatment::Restrict(named.map(|(pointer, key)| Finding::new(pointer, key))),
    })
}

/// Returns the entry of `nodeSelector` or the term of the affinity that requires a control plane label.
///
/// Terms are ORed. If only some of them target the control plane, requirements would kill just these, so
/// one is enough.
fn target(review: &Review, placement: &Placement<'_>) -> Result<Option<Finding>, Stop> {
    if let Some(key) = CONTROL_PLANE.into_iter().find(|key| placement.demands(key)) {
        // The term that dies of the contrary is the term that requires the label.
        let contrary = [Wanted { requirement: no(key), reason: "" }];
        let pointer = match placement.narrow(&contrary, &mut Patch::new(review))? {
            Outcome::Conflict { pointer, .. } => Some(pointer),
            Outcome::Narrowed { dead } => dead.into_iter().next(),
            Outcome::Nowhere => None,
        };
        // The term may match no node for another reason, such as an earlier change. It still targets.
        let pointer = pointer.unwrap_or_else(|| AFFINITY.to_owned());
        let by = if pointer.starts_with(NODE_SELECTOR) { "`nodeSelector`" } else { "a term" };
        let text = format!("it targets the control plane ({by} requires `{key}`)");
        return Ok(Some(Finding::new(pointer, text)));
    }
    Ok(None)
}

/// Returns the field that shows that the pods serve the node itself, on each node: kube-proxy, network and
/// storage drivers. Such a DaemonSet needs no toleration, because not every control plane has a taint.
fn node_service(review: &Review, tolerations: &[Toleration<'_>]) -> Result<Option<Finding>, Stop> {
    let serves = |pointer: String, field: String| {
        Ok(Some(Finding::new(pointer, format!("it serves the node itself (`{field}`)"))))
    };
    if let Some(class) =
        review.object::<Text<'_>>(PRIORITY_CLASS)?.filter(|name| &**name == "system-node-critical")
    {
        return serves(PRIORITY_CLASS.to_owned(), format!("priorityClassName: {class}"));
    }
    let volumes: Vec<Volume<'_>> = review.object(VOLUMES)?.unwrap_or_default();
    let mut paths =
        volumes.iter().enumerate().filter_map(|(i, volume)| Some((i, &*volume.host_path.as_ref()?.path)));
    if let Some((i, path)) = paths.find(|(_, path)| is_driver_path(path)) {
        return serves(format!("{VOLUMES}/{i}"), format!("hostPath: {path}"));
    }
    // Agents of many kinds use the host network, so it shows nothing unless the author means all nodes.
    if review.object::<bool>(HOST_NETWORK)? == Some(true) && tolerations.iter().any(tolerates_control_plane) {
        return serves(HOST_NETWORK.to_owned(), "hostNetwork: true".to_owned());
    }
    Ok(None)
}

/// Returns whether the toleration tolerates the control plane, by a key of it or by a wildcard.
fn tolerates_control_plane(toleration: &Toleration<'_>) -> bool {
    let wildcard =
        toleration.key.is_empty() && toleration.tolerates(&Taint::new(CONTROL_PLANE[0], "", "NoSchedule"));
    wildcard || names_control_plane(toleration)
}

/// Returns whether the toleration names a taint of the control plane. Its value does not matter, because
/// distributions give the same taint different values.
fn names_control_plane(toleration: &Toleration<'_>) -> bool {
    let effect = &*toleration.effect;
    let is_known = matches!(&*toleration.operator, "" | "Equal" | "Exists");
    let is_role =
        CONTROL_PLANE.contains(&&*toleration.key) && matches!(effect, "" | "NoSchedule" | "NoExecute");
    is_known && (is_role || (!toleration.key.is_empty() && toleration.tolerates(&CRITICAL_ADDONS)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow)]
    host_path: Option<HostPath<'a>>,
}

#[derive(Deserialize)]
struct HostPath<'a> {
    #[serde(borrow)]
    path: Text<'a>,
}

/// Returns whether the path is at or below a directory of drivers.
fn is_driver_path(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    // The API server refuses `..` in a host path.
    path.starts_with('/')
        && !segments.contains(&"..")
        && DRIVER_DIRECTORIES
            .iter()
            .any(|directory| segments.windows(directory.len()).any(|part| part == *directory))
}

#[cfg(test)]
mod tests {
    use super::is_driver_path;

    #[test]
    fn finds_the_directories_of_drivers_in_every_distribution() {
        for path in [
            "/etc/cni/net.d",
            "/etc/cni/multus/net.d",
            "/etc/kubernetes/cni/net.d",
            "/home/kubernetes/cni/bin/",
            "/opt/cni",
            "/opt/cni/bin",
            "/opt/rke/var/lib/kubelet/plugins_registry",
            "/run/multus/cni/net.d",
            "/usr/lib/cni",
            "/var/lib/cni/networks",
            "/var/lib/k0s/kubelet/plugins/csi.example.com",
            "/var/lib/kubelet/plugins",
            "/var/lib/kubelet/plugins_registry/",
            "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            "/var/lib/rancher/k3s/agent/kubelet/plugins",
            "/var/lib/rancher/k3s/data/cni",
            "/var/lib/rancher/k3s/data/current/bin",
            "/var/lib/rancher/rke2/agent/etc/cni/net.d",
            "/var/snap/microk8s/common/var/lib/kubelet/plugins_registry",
            "/var/snap/microk8s/current/args/cni-network",
            "/var/snap/microk8s/current/opt/cni/bin",
            "/var/vcap/data/kubelet/plugins",
            "//var//lib/./kubelet//plugins//x",
        ] {
            assert!(is_driver_path(path), "{path}");
        }
    }

    #[test]
    fn ignores_paths_that_only_look_like_directories_of_drivers() {
        for path in [
            "",
            "/",
            "cni/bin",
            "/bin/cni",
            "/cni",
            "/etc/cni2/net.d",
            "/etc/kubernetes",
            "/opt/cnizer",
            "/opt/x/../cni/bin",
            "/var/lib/kubelet",
            "/var/lib/kubelet/device-plugins",
            "/var/lib/kubelet/plugins2",
            "/var/lib/kubelet/pods/plugins",
            "/var/lib/mykubelet/plugins",
            "/var/log/calico/cni",
            "/var/log/pods",
        ] {
            assert!(!is_driver_path(path), "{path}");
        }
    }
}
