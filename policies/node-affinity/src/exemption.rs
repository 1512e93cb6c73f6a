//! What serves the node itself and belongs on each node: kube-proxy, network and storage drivers.

use serde::Deserialize;
use wardset_policy_sdk::{Review, Stop, Taint, Text, Toleration, pointer};

use crate::CONTROL_PLANE;

pub(crate) const TOLERATIONS: &str = "/spec/template/spec/tolerations";
pub(crate) const PRIORITY_CLASS: &str = "/spec/template/spec/priorityClassName";
pub(crate) const HOST_NETWORK: &str = "/spec/template/spec/hostNetwork";
pub(crate) const VOLUMES: &str = "/spec/template/spec/volumes";

/// Where network and storage drivers register with the kubelet.
const DRIVER_PATHS: [&str; 5] =
    ["/opt/cni", "/etc/cni", "/var/lib/cni", "/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry"];

/// What shows that the pods serve the node, and where it stands, if they also tolerate the taint of the
/// control plane: its author means them to run there.
pub(crate) fn node_service(review: &Review) -> Result<Option<(&'static str, String)>, Stop> {
    let tolerations: Vec<Toleration<'_>> = review.object(TOLERATIONS)?.unwrap_or_default();
    let taints = CONTROL_PLANE.map(|key| Taint { key, value: "", effect: "NoSchedule" });
    if !tolerations.iter().any(|toleration| taints.iter().any(|taint| toleration.tolerates(taint))) {
        return Ok(None);
    }
    if review.object::<Text<'_>>(PRIORITY_CLASS)?.is_some_and(|name| &*name == "system-node-critical") {
        return Ok(Some((PRIORITY_CLASS, "system-node-critical".to_owned())));
    }
    if review.object::<bool>(HOST_NETWORK)? == Some(true) {
        return Ok(Some((HOST_NETWORK, "hostNetwork: true".to_owned())));
    }
    let volumes: Vec<Volume<'_>> = review.object(VOLUMES)?.unwrap_or_default();
    let mut paths = volumes.iter().filter_map(|volume| Some(&*volume.host_path.as_ref()?.path));
    Ok(paths.find(|path| is_driver_path(path)).map(|path| (VOLUMES, path.to_owned())))
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

fn is_driver_path(path: &str) -> bool {
    DRIVER_PATHS.iter().any(|driver| pointer::is_within(path, driver))
}
