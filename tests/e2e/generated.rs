//! The real controller places the pods of 40 generated DaemonSets. There are 25 generated nodes, and those of every
//! test cluster. For each stored object, the oracle of `tests/it/placement` and `crates/placement` must return exactly the
//! nodes with a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use wardset_placement::{DaemonSet, KubernetesVersion, Node};

use crate::dice::Dice;
use crate::gate::Gate;
use crate::nodes;
use crate::oracle::{name, reached};
use crate::support::{Kubectl, eventually, kubernetes};
use crate::worlds;

const NODES: usize = 25;
/// `WARDSET_DAEMONSETS` sets another number.
const DAEMONSETS: usize = 40;
const LABEL: &str = "wardset.dev/generated";

/// Deletes the generated nodes when it is dropped.
struct Nodes;

impl Drop for Nodes {
    fn drop(&mut self) {
        // Does not panic, because the test may be failing already.
        Kubectl::new().run(&["delete", "nodes", "--selector", LABEL, "--wait=false"]);
    }
}

#[test]
fn controller_places_pods_as_the_oracle_predicts() {
    let seed = std::env::var("WARDSET_SEED").map_or(0x91ace, |seed| seed.parse().unwrap());
    let daemonsets = std::env::var("WARDSET_DAEMONSETS").map_or(DAEMONSETS, |number| number.parse().unwrap());
    let mut dice = Dice::new(seed, 0);
    let held = nodes::changing();
    let kubectl = Kubectl::new();
    let gate = Gate::shared();
    let namespace = gate.namespace("generated");

    let names: Vec<String> = (0..NODES).map(|n| format!("generated-{n}")).collect();
    let mut made: Vec<Value> = names.iter().map(|name| worlds::node(&mut dice, name)).collect();
    for node in &mut made {
        node["metadata"]["labels"][LABEL] = "".into();
    }
    let _nodes = Nodes;
    create(&kubectl, made);
    kubectl.succeed(&["wait", "nodes", "--selector", LABEL, "--for=condition=Ready", "--timeout=60s"]);
    // Kubernetes removes the taint of a node that is not ready, and adds the one of a cordoned node, with a delay.
    let nodes = eventually(Duration::from_secs(60), "the nodes' taints match their states", || {
        let nodes = items(&kubectl.json(&["get", "nodes"]));
        let settled = nodes.iter().all(|node| {
            let has = |key: &str| {
                let taints = node["spec"]["taints"].as_array();
                taints.is_some_and(|taints| taints.iter().any(|taint| taint["key"] == key))
            };
            !has("node.kubernetes.io/not-ready")
                && has("node.kubernetes.io/unschedulable") == (node["spec"]["unschedulable"] == true)
        });
        if settled { Ok(nodes) } else { Err(()) }
    });
    assert!(nodes.len() >= NODES + 7, "{}", nodes.len());

    let generated = (0..daemonsets).map(|n| {
        let mut object = worlds::daemonset(&mut dice, &format!("agent-{n:03}"), &names);
        object["metadata"]["namespace"] = namespace.name().into();
        object
    });
    create(&kubectl, generated.collect());
    // A watch waits until the controller has counted the nodes for each DaemonSet.
    let observed = "--for=jsonpath={.status.observedGeneration}=1";
    namespace.succeed(&["wait", "daemonsets", "--all", observed, "--timeout=300s"]);
    let (stored, pods) = eventually(Duration::from_secs(60), "the controller has created all pods", || {
        let (stored, pods) =
            (items(&namespace.json(&["get", "daemonsets"])), items(&namespace.json(&["get", "pods"])));
        let count = |field: &str| {
            stored.iter().map(|one| one["status"][field].as_u64().unwrap_or_default()).sum::<u64>()
        };
        let counts = (count("desiredNumberScheduled"), count("currentNumberScheduled"), pods.len() as u64);
        if counts.0 == counts.1 && counts.1 == counts.2 { Ok((stored, pods)) } else { Err(counts) }
    });

    assert_eq!(stored.len(), daemonsets);
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for pod in &pods {
        let of = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
        assert!(
            found.entry(of).or_default().insert(node_of(pod)),
            "two pods of `{of}` on `{}`",
            node_of(pod)
        );
    }
    let version = kubernetes();
    let mut changed = 0;
    for object in &stored {
        let expected = reached(object, &nodes);
        let there = found.remove(name(object)).unwrap_or_default();
        assert_eq!(there, expected, "WARDSET_SEED={seed}: {object:#}");
        assert_eq!(there, predicted(object, &nodes, version), "WARDSET_SEED={seed}: {object:#}");
        let affinity = &object["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
        changed += usize::from(affinity.to_string().contains("virtual-kubelet"));
    }
    // The policies changed the stored objects, and the generator covered all cases.
    assert!(changed > daemonsets / 2, "{changed}");
    let pairs = stored.len() * nodes.len();
    assert!(pods.len() > pairs / 20 && pods.len() < pairs / 2, "{} pods of {pairs} pairs", pods.len());
    eprintln!(
        "Kubernetes {version}: {pairs} pairs of DaemonSet and node, {} with a pod, as the oracle and the product say",
        pods.len()
    );
    drop(_nodes);
    held.release();
}

/// Returns the nodes that the product predicts.
fn predicted(object: &Value, nodes: &[Value], version: KubernetesVersion) -> BTreeSet<String> {
    let object = DaemonSet::deserialize(object).unwrap();
    let pod = &object.spec.template.spec;
    let runs = |node: &&Value| pod.on(&Node::deserialize(*node).unwrap(), version).runs();
    nodes.iter().filter(runs).map(|node| name(node).to_owned()).collect()
}

/// Creates objects with one command.
pub(crate) fn create(kubectl: &Kubectl, items: Vec<Value>) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    kubectl.run_with_input(&["create", "--filename=-"], &list.to_string()).succeeded();
}

/// Returns the objects of a list.
pub(crate) fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().unwrap().clone()
}

/// Returns the node of a pod. If the scheduler has not bound the pod yet, returns the node in its affinity.
pub(crate) fn node_of(pod: &Value) -> String {
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let meant = &terms[0]["matchFields"][0]["values"][0];
    pod["spec"]["nodeName"].as_str().or(meant.as_str()).unwrap().to_owned()
}
