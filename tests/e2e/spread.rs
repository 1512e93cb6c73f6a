//! The nodes that the scheduler chooses for the replicas of `install.yaml`. KWOK simulates the pods. The nodes have no
//! label of a zone, as on kubeadm, kind and bare metal.

use std::time::Duration;

use serde_json::{Value, json};

use crate::installed::Installed;
use crate::pods::WORKERS;
use crate::support::{Namespace, eventually};

/// The labels that the chart's selectors use.
const REPLICAS: &str = "app.kubernetes.io/name=wardset,app.kubernetes.io/component=webhook";

#[test]
fn replicas_run_on_different_nodes_without_zones_though_one_has_the_most_room() {
    let namespace = Namespace::new("spread");
    let nodes = namespace.json(&["get", "nodes", "--selector=topology.kubernetes.io/zone"]);
    assert_eq!(nodes["items"], json!([]), "expected nodes without zones");
    // By its other scores, the scheduler prefers the node that has most room left: `worker-1`.
    for node in ["worker-2", "worker-3"] {
        namespace.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("filler-{node}") },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": node },
                "containers": [{
                    "name": "filler", "image": "filler:1",
                    "resources": { "requests": { "cpu": "10", "memory": "40Gi" } },
                }],
            },
        }));
    }
    namespace.succeed(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);

    let installed = Installed::apply();
    assert_eq!(replicas(&installed), WORKERS);
    // The old replicas don't decide about the nodes of the new ones.
    for restart in 1..=3 {
        restart_with_annotation(&installed, restart);
        assert_eq!(replicas(&installed), WORKERS, "after restart {restart}");
    }
    // A drained node takes no replica and blocks none. The surge of a rollout needs no other node.
    for (nodes, expected) in [
        (
            &["worker-1", "worker-2"][..],
            &[["worker-1", "worker-1", "worker-2"], ["worker-1", "worker-2", "worker-2"]][..],
        ),
        (&["worker-3"], &[["worker-3"; 3]]),
    ] {
        only_on(&installed, nodes);
        let found = replicas(&installed);
        assert!(expected.iter().any(|nodes| found == *nodes), "{found:?}");
    }
}

/// Replaces all replicas. `kubectl rollout restart` would fail if the last one was in the same second.
fn restart_with_annotation(installed: &Installed, restart: u32) {
    let annotations = json!({ "wardset.test/restart": restart.to_string() });
    patch(installed, &json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }));
}

/// Limits the replicas to these nodes. The chart's other affinity stays.
fn only_on(installed: &Installed, nodes: &[&str]) {
    let term = json!({ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": nodes },
    ] });
    let required =
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } });
    patch(
        installed,
        &json!({ "spec": { "template": { "spec": { "affinity": { "nodeAffinity": required } } } } }),
    );
}

fn patch(installed: &Installed, patch: &Value) {
    let patch = patch.to_string();
    installed.kubectl.succeed(&[
        "-n",
        "wardset",
        "patch",
        "deployment/wardset",
        "--type=merge",
        "-p",
        &patch,
    ]);
}

/// Waits until the rollout is complete, and returns the nodes of the replicas, sorted, with one entry for each.
fn replicas(installed: &Installed) -> Vec<String> {
    installed.kubectl.succeed(&[
        "-n",
        "wardset",
        "rollout",
        "status",
        "deployment/wardset",
        "--timeout=120s",
    ]);
    eventually(Duration::from_secs(60), "three replicas are left", || {
        let pods = installed.kubectl.json(&["-n", "wardset", "get", "pods", "--selector", REPLICAS]);
        let pods = pods["items"].as_array().unwrap().iter();
        let active: Vec<&Value> = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        let mut nodes: Vec<String> = active
            .iter()
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
            .collect();
        nodes.sort();
        if nodes.len() == 3 { Ok(nodes) } else { Err(nodes) }
    })
}
