//! The nodes of the cluster: objects only, which KWOK keeps ready.

use serde_json::{Value, json};

/// How many nodes of each kind there are.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Nodes {
    /// Nodes of the control plane (`cp-1`…), with its label and its taint
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    pub(crate) control_planes: u8,
    /// Nodes for any workload (`worker-1`…)
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub(crate) workers: u8,
    /// Nodes with GPUs (`gpu-1`…), with the taint `nvidia.com/gpu`
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) gpu_workers: u8,
    /// Virtual nodes (`virtual-1`…), as virtual-kubelet makes them
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) r#virtual: u8,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { control_planes: 2, workers: 3, gpu_workers: 1, r#virtual: 1 }
    }
}

impl Nodes {
    /// How many there are in all.
    pub(crate) fn count(self) -> usize {
        self.kinds().iter().map(|(_, count)| usize::from(*count)).sum()
    }

    /// The input of `kubectl create`: a list of Node objects.
    pub(crate) fn manifest(self) -> Value {
        let mut items = Vec::new();
        for (kind, count) in self.kinds() {
            for number in 1..=count {
                // Two bytes are enough for four kinds of 255 nodes each.
                let place = items.len() + 1;
                items.push(kind.node(number, [172, 30, (place >> 8) as u8, (place & 0xff) as u8]));
            }
        }
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }

    fn kinds(self) -> [(Kind, u8); 4] {
        [
            (Kind::ControlPlane, self.control_planes),
            (Kind::Worker, self.workers),
            (Kind::Gpu, self.gpu_workers),
            (Kind::Virtual, self.r#virtual),
        ]
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    ControlPlane,
    Worker,
    Gpu,
    Virtual,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::ControlPlane => "cp",
            Self::Worker => "worker",
            Self::Gpu => "gpu",
            Self::Virtual => "virtual",
        }
    }

    fn node(self, number: u8, address: [u8; 4]) -> Value {
        let name = format!("{}-{number}", self.prefix());
        let mut resources =
            json!({ "cpu": "16", "memory": "64Gi", "ephemeral-storage": "200Gi", "pods": "110" });
        let mut labels = json!({
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": "amd64",
        });
        let taint = match self {
            Self::ControlPlane => {
                labels["node-role.kubernetes.io/control-plane"] = "".into();
                Some(json!({ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }))
            }
            Self::Worker => None,
            Self::Gpu => {
                labels["nvidia.com/gpu.present"] = "true".into();
                resources["nvidia.com/gpu"] = "8".into();
                Some(json!({ "key": "nvidia.com/gpu", "effect": "NoSchedule" }))
            }
            Self::Virtual => {
                labels["type"] = "virtual-kubelet".into();
                Some(json!({ "key": "virtual-kubelet.io/provider", "value": "kwok", "effect": "NoSchedule" }))
            }
        };
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": { "kwok.x-k8s.io/node": "fake" },
            },
            "spec": { "taints": taint.into_iter().collect::<Vec<_>>() },
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "addresses": [
                    { "type": "InternalIP", "address": address.map(|byte| byte.to_string()).join(".") },
                    { "type": "Hostname", "address": name },
                ],
                "nodeInfo": {
                    "architecture": "amd64",
                    "operatingSystem": "linux",
                    "kubeletVersion": "fake",
                    "kubeProxyVersion": "",
                    "containerRuntimeVersion": "kwok",
                    "kernelVersion": "",
                    "osImage": "",
                    "bootID": "",
                    "machineID": "",
                    "systemUUID": "",
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_names_and_taint() {
        let nodes = Nodes::default();
        let manifest = nodes.manifest();
        let items = manifest["items"].as_array().unwrap();
        assert_eq!(items.len(), nodes.count());
        let shown: Vec<String> = items
            .iter()
            .map(|node| {
                let name = node["metadata"]["name"].as_str().unwrap();
                let taint = node["spec"]["taints"][0]["key"].as_str().unwrap_or("-");
                let address = node["status"]["addresses"][0]["address"].as_str().unwrap();
                format!("{name} {taint} {address}")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "cp-1 node-role.kubernetes.io/control-plane 172.30.0.1",
                "cp-2 node-role.kubernetes.io/control-plane 172.30.0.2",
                "worker-1 - 172.30.0.3",
                "worker-2 - 172.30.0.4",
                "worker-3 - 172.30.0.5",
                "gpu-1 nvidia.com/gpu 172.30.0.6",
                "virtual-1 virtual-kubelet.io/provider 172.30.0.7",
            ]
        );
    }
}
