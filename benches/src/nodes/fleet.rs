//! Node objects with the size and the variety of those in a large cluster.

use serde_json::{Map, Value, json};

/// A group of nodes with equal hardware.
struct Pool {
    name: &'static str,
    instance: &'static str,
    arch: &'static str,
    cpu: u32,
    memory_gi: u32,
    /// Of 100 nodes, this many belong to it.
    share: usize,
    label: Option<(&'static str, &'static str)>,
    /// Key and value; the effect is `NoSchedule`.
    taint: Option<(&'static str, &'static str)>,
}

const POOLS: [Pool; 7] = [
    pool("general", "m7i.4xlarge", 16, 64, 50),
    pool("compute", "c7i.8xlarge", 32, 64, 16),
    pool("memory", "r7i.8xlarge", 32, 256, 14),
    Pool { arch: "arm64", ..pool("arm", "m8g.4xlarge", 16, 64, 6) },
    Pool {
        label: Some(("nvidia.com/gpu.present", "true")),
        taint: Some(("nvidia.com/gpu", "present")),
        ..pool("gpu", "g6.12xlarge", 48, 192, 6)
    },
    Pool { taint: Some(("example.com/spot", "true")), ..pool("spot", "m7i.2xlarge", 8, 32, 7) },
    Pool {
        label: Some(("node-role.kubernetes.io/control-plane", "")),
        taint: Some(("node-role.kubernetes.io/control-plane", "")),
        ..pool("control-plane", "m7i.8xlarge", 32, 128, 1)
    },
];

/// One node of this many is cordoned.
const CORDONED: usize = 200;

/// Images on a node. The kubelet reports at most 50.
const IMAGES: usize = 36;

const fn pool(name: &'static str, instance: &'static str, cpu: u32, memory_gi: u32, share: usize) -> Pool {
    Pool { name, instance, arch: "amd64", cpu, memory_gi, share, label: None, taint: None }
}

/// Returns the node number `n`, as a kubelet registers it and reports its status.
#[must_use]
pub fn node(n: usize) -> Value {
    let pool = pool_of(n);
    let zone = ["eu-central-1a", "eu-central-1b", "eu-central-1c"][n % 3];
    let name = format!("ip-10-{}-{}-{}.eu-central-1.compute.internal", n >> 16, n >> 8 & 255, n & 255);
    let mut metadata = json!({
        "name": name,
        "labels": labels(pool, &name, zone),
        "annotations": {
            "alpha.kubernetes.io/provided-node-ip": address(n),
            "csi.volume.kubernetes.io/nodeid": format!("{{\"ebs.csi.aws.com\":\"{0}\",\"efs.csi.aws.com\":\"{0}\"}}", id(n)),
            "node.alpha.kubernetes.io/ttl": "300",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            "projectcalico.org/IPv4Address": format!("{}/16", address(n)),
        },
    });
    metadata["annotations"]["example.com/last-applied"] = metadata["labels"].to_string().into();
    let mut spec = json!({ "providerID": format!("aws:///{zone}/{}", id(n)), "taints": taints(n, pool) });
    if is_cordoned(n) {
        spec["unschedulable"] = true.into();
    }
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec,
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": address(n) },
                { "type": "InternalDNS", "address": name },
                { "type": "Hostname", "address": name },
            ],
            "capacity": resources(pool, 0), "allocatable": resources(pool, 1),
            "conditions": conditions(), "images": images(n),
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "nodeInfo": {
                "architecture": pool.arch, "operatingSystem": "linux", "osImage": "Amazon Linux 2023.9.20261020",
                "kernelVersion": "6.12.46-66.121.amzn2023.x86_64", "containerRuntimeVersion": "containerd://2.1.4",
                "kubeletVersion": "v1.37.2", "kubeProxyVersion": "",
                "bootID": uuid(n, 1), "machineID": uuid(n, 2).replace('-', ""), "systemUUID": uuid(n, 3),
            },
        },
    })
}

/// Returns the taints that node number `n` keeps. A new Node has one more until a controller removes it.
#[must_use]
pub fn taints_of(n: usize) -> Value {
    taints(n, pool_of(n))
}

fn pool_of(n: usize) -> &'static Pool {
    // Spreads each pool over all numbers.
    let mut left = n * 37 % 100;
    for pool in &POOLS {
        match left.checked_sub(pool.share) {
            Some(rest) => left = rest,
            None => return pool,
        }
    }
    &POOLS[0]
}

fn labels(pool: &Pool, name: &str, zone: &str) -> Value {
    let mut labels = json!({
        "beta.kubernetes.io/arch": pool.arch,
        "beta.kubernetes.io/instance-type": pool.instance,
        "beta.kubernetes.io/os": "linux",
        "failure-domain.beta.kubernetes.io/region": "eu-central-1",
        "failure-domain.beta.kubernetes.io/zone": zone,
        "kubernetes.io/arch": pool.arch,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": pool.instance,
        "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": zone,
        "topology.ebs.csi.aws.com/zone": zone,
        "eks.amazonaws.com/nodegroup": format!("{}-{zone}", pool.name),
        "eks.amazonaws.com/nodegroup-image": "ami-0a1b2c3d4e5f60718",
        "eks.amazonaws.com/capacityType": if pool.name == "spot" { "SPOT" } else { "ON_DEMAND" },
        "k8s.io/cloud-provider-aws": "d41d8cd98f00b204e9800998ecf8427e",
        "example.com/pool": pool.name,
    });
    if let Some((key, value)) = pool.label {
        labels[key] = value.into();
    }
    labels
}

fn taints(n: usize, pool: &Pool) -> Value {
    let mut taints = Vec::new();
    if let Some((key, value)) = pool.taint {
        taints.push(json!({ "key": key, "value": value, "effect": "NoSchedule" }));
    }
    if is_cordoned(n) {
        taints.push(json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }));
    }
    Value::Array(taints)
}

fn is_cordoned(n: usize) -> bool {
    n % CORDONED == CORDONED - 1
}

fn resources(pool: &Pool, reserved: u32) -> Value {
    let mut resources: Map<String, Value> = [
        ("cpu", format!("{}", pool.cpu - reserved)),
        ("memory", format!("{}Mi", (pool.memory_gi - reserved) * 1024 - 331)),
        ("ephemeral-storage", "209702892Ki".to_owned()),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
        ("pods", "110".to_owned()),
    ]
    .into_iter()
    .map(|(name, quantity)| (name.to_owned(), quantity.into()))
    .collect();
    if pool.name == "gpu" {
        resources.insert("nvidia.com/gpu".to_owned(), "4".into());
    }
    resources.into()
}

fn conditions() -> Value {
    let condition = |name: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": name, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": "2026-11-28T10:15:30Z", "lastTransitionTime": "2026-11-01T08:00:00Z",
        })
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ])
}

fn images(n: usize) -> Vec<Value> {
    let image = |i: usize| {
        let repository = format!("registry.example.com/platform/team-{}/service-{}", (n + i) % 23, i);
        let digest = format!("{:032x}{:032x}", i * 0x9e37_79b9, (n % 7 + 1) * 0x85eb_ca6b);
        json!({
            "names": [format!("{repository}@sha256:{digest}"), format!("{repository}:v1.{}.{}", i % 12, n % 7)],
            "sizeBytes": 20_000_000 + i * 1_234_567,
        })
    };
    (0..IMAGES).map(image).collect()
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)
}

fn id(n: usize) -> String {
    format!("i-0{:016x}", (n + 1) * 0x9e37_79b9)
}

fn uuid(n: usize, kind: usize) -> String {
    let text = format!("{:016x}{:016x}", (n + 1) * 0x9e37_79b9, (n + kind) * 0x85eb_ca6b);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nodes_have_the_size_of_real_ones() {
        for n in 0..500 {
            let node = node(n);
            let (bytes, labels) =
                (node.to_string().len(), node["metadata"]["labels"].as_object().unwrap().len());
            assert!((10_000..15_000).contains(&bytes), "node {n}: {bytes} bytes");
            assert!((15..=20).contains(&labels), "node {n}: {labels} labels");
        }
    }

    #[test]
    fn each_node_has_its_own_name_and_most_nodes_are_alike_otherwise() {
        let nodes: Vec<Value> = (0..1000).map(node).collect();
        let names: BTreeSet<&str> =
            nodes.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect();
        assert_eq!(names.len(), 1000);
        let groups: BTreeSet<String> = nodes
            .iter()
            .map(|node| {
                let mut labels = node["metadata"]["labels"].clone();
                labels["kubernetes.io/hostname"] = "".into();
                format!("{labels} {}", node["spec"]["taints"])
            })
            .collect();
        assert!((20..60).contains(&groups.len()), "{} groups", groups.len());
        let cordoned = nodes.iter().filter(|node| node["spec"]["unschedulable"] == true).count();
        assert_eq!(cordoned, 5);
    }
}
