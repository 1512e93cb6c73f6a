//! A namespace and nodes for rollouts: states that a kubelet would cause, and the proof that the controller has nothing
//! left to do.
//!
//! KWOK makes each pod available on most nodes. A lost node has no kubelet: a pod there stays as it is, and a deleted
//! pod never ends.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use wardset::preview::{Forms, Inventory, Preview, ReadObject};
use wardset_placement::{BlastRadius, KubernetesVersion};

use crate::generated::{create, items, node_of};
use crate::nodes::{self, Hold};
use crate::oracle::name;
use crate::support::{Kubectl, Namespace, eventually, unique};

/// A namespace and nodes. No other test observes or changes nodes meanwhile. The nodes are deleted when it is dropped.
pub(crate) struct Trial {
    // Fields drop in this order.
    pub(crate) namespace: Namespace,
    kubectl: Kubectl,
    /// The label of the nodes.
    label: String,
    nodes: Vec<String>,
    lost: BTreeSet<String>,
    /// The last `revisionHistoryLimit` that [`Trial::at_rest`] set.
    history: Cell<u32>,
    held: Rc<Hold>,
}

/// The product's prediction for an update.
#[derive(Debug)]
pub(crate) struct Prediction {
    /// The number of nodes that run the new pods.
    pub(crate) desired: usize,
    /// The effect on the pods.
    pub(crate) radius: BlastRadius,
}

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ready, without a taint.
    Plain,
    /// Ready, with a taint `NoSchedule`.
    Reserved,
    /// Ready, with a taint `NoExecute`.
    Drained,
    /// Loses its kubelet, and is not Ready after [`Trial::lose_nodes`].
    Lost,
}

/// The key of the taint of [`Kind::Reserved`].
pub(crate) const RESERVED: &str = "wardset.dev/reserved";
/// The key of the taint of [`Kind::Drained`].
pub(crate) const DRAINED: &str = "wardset.dev/drained";
/// The annotation of templates and pods that tells their template.
pub(crate) const TEMPLATE: &str = "wardset.dev/template";
/// The DaemonSet of [`Trial::catch_up`].
const SENTINEL: &str = "sentinel";
/// A finalizer that keeps deleted pods.
const FINALIZER: &str = "wardset.dev/hung";
/// A time in the past.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";
/// Time limit of a step of all rollouts, on a machine that does other work.
const LIMIT: Duration = Duration::from_secs(240);

impl Trial {
    /// Creates a namespace, nodes, and the sentinel on the first node.
    pub(crate) fn new(prefix: &str, kinds: &[(Kind, usize)]) -> Self {
        let held = nodes::changing();
        let kubectl = Kubectl::new();
        let namespace = Namespace::new(prefix);
        let label = format!("wardset.dev/{}", unique(prefix));
        let kinds = kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let (mut names, mut lost, mut objects) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (number, kind) in kinds.enumerate() {
            let name = format!("{}-{number:02}", namespace.name());
            objects.push(node(&name, kind, &label));
            if kind == Kind::Lost {
                lost.insert(name.clone());
            }
            names.push(name);
        }
        let history = Cell::new(10);
        let trial = Self { namespace, kubectl, label, nodes: names, lost, history, held };
        create(&trial.kubectl, objects);
        let ready = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO }]);
        let lost: Vec<&str> = trial.lost.iter().map(String::as_str).collect();
        trial.patch_status("nodes", &lost, &json!({ "conditions": ready }));
        trial.kubectl.succeed(&[
            "wait",
            "nodes",
            "--selector",
            &trial.label,
            "--for=condition=Ready",
            "--timeout=60s",
        ]);
        trial.await_taints("node.kubernetes.io/not-ready", false, |_| true);
        let mut sentinel = daemon_set(SENTINEL, json!({}));
        sentinel["spec"]["template"]["spec"]["nodeSelector"] =
            json!({ "kubernetes.io/hostname": trial.nodes[0] });
        trial.create(&[sentinel]);
        trial
    }

    /// Returns the names of the nodes.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Whether a node has no kubelet.
    pub(crate) fn is_lost(&self, node: &str) -> bool {
        self.lost.contains(node)
    }

    /// Creates objects in the namespace.
    pub(crate) fn create(&self, objects: &[Value]) {
        self.send("create", objects);
    }

    /// Replaces stored objects.
    pub(crate) fn replace(&self, objects: &[Value]) {
        self.send("replace", objects);
    }

    fn send(&self, verb: &str, objects: &[Value]) {
        let mut objects = objects.to_vec();
        for object in &mut objects {
            object["metadata"]["namespace"] = self.namespace.name().into();
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.kubectl.run_with_input(&[verb, "--filename=-"], &list.to_string()).succeeded();
    }

    /// Makes the lost nodes not Ready. Returns when they have the taint that Kubernetes adds.
    pub(crate) fn lose_nodes(&self) {
        let unknown = json!([{ "type": "Ready", "status": "Unknown", "lastTransitionTime": LONG_AGO }]);
        let lost: Vec<&str> = self.lost.iter().map(String::as_str).collect();
        self.patch_status("nodes", &lost, &json!({ "conditions": unknown }));
        self.await_taints("node.kubernetes.io/unreachable", true, |name| self.lost.contains(name));
    }

    /// Lets containers of running pods crash for ever. KWOK makes only Pending pods Ready.
    pub(crate) fn break_pods(&self, pods: &[&Value]) {
        let conditions = json!([
            { "type": "PodScheduled", "status": "True" },
            { "type": "Ready", "status": "False", "lastTransitionTime": LONG_AGO },
        ]);
        let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let container = json!({
            "name": "agent", "image": IMAGE, "imageID": "", "ready": false, "restartCount": 7, "state": state,
        });
        let status =
            json!({ "phase": "Running", "conditions": conditions, "containerStatuses": [container] });
        self.patch_status("pods", &names(pods), &status);
    }

    /// Makes pods Ready since long ago. On a lost node, they are available although the node is not Ready.
    pub(crate) fn make_available(&self, pods: &[&Value]) {
        let conditions = json!([
            { "type": "PodScheduled", "status": "True" },
            { "type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO },
        ]);
        self.patch_status("pods", &names(pods), &json!({ "phase": "Running", "conditions": conditions }));
    }

    /// Deletes pods that never end, as if the kubelet could not kill a container. A finalizer keeps them.
    pub(crate) fn hang_pods(&self, pods: &[&Value]) {
        let names = names(pods);
        self.patch("pods", &names, &json!({ "metadata": { "finalizers": [FINALIZER] } }), &[]);
        if !names.is_empty() {
            self.namespace.succeed(&[&["delete", "pods", "--wait=false"], &*names].concat());
        }
    }

    fn patch_status(&self, kind: &str, names: &[&str], status: &Value) {
        self.patch(kind, names, &json!({ "status": status }), &["--subresource=status"]);
    }

    fn patch(&self, kind: &str, names: &[&str], patch: &Value, more: &[&str]) {
        if !names.is_empty() {
            let patch = patch.to_string();
            self.namespace
                .succeed(&[&["patch", kind, "--type=merge", "--patch", &patch], more, names].concat());
        }
    }

    /// Returns the pods of the namespace, except the sentinel's.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let mut pods = items(&self.namespace.json(&["get", "pods"]));
        pods.retain(|pod| owner(pod) != SENTINEL);
        pods
    }

    /// Returns the DaemonSets, except the sentinel.
    pub(crate) fn daemon_sets(&self) -> Vec<Value> {
        let mut found = items(&self.namespace.json(&["get", "daemonsets"]));
        found.retain(|object| name(object) != SENTINEL);
        found
    }

    /// Waits until nothing would change any more, and returns the pods.
    ///
    /// The proof has four steps:
    ///
    /// 1. No pod in a listing waits for the scheduler or for KWOK: see [`Trial::is_final`].
    /// 2. The controller's cache of pods has reached that listing: see [`Trial::catch_up`].
    /// 3. After that, the controller has synced each DaemonSet: see [`Trial::sync`].
    /// 4. A second listing is equal, with the same versions of the same pods.
    ///
    /// So each DaemonSet had a complete sync of exactly this state, and the sync created and deleted nothing. A sync
    /// depends only on the DaemonSet, the nodes and the pods, which do not change any more. `minReadySeconds` and failed
    /// pods would add the time, and the generated states have neither.
    pub(crate) fn at_rest(&self) -> Vec<Value> {
        eventually(LIMIT, "the controller has nothing left to do", || {
            let before = self.pods();
            if let Some(pod) = before.iter().find(|pod| !self.is_final(pod, &before)) {
                return Err(format!("{} on {}: {}", name(pod), node_of(pod), pod["status"]));
            }
            self.catch_up();
            self.sync();
            let after = self.pods();
            let versions = |pods: &[Value]| -> BTreeSet<(String, String)> {
                let field = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
                pods.iter().map(|pod| (field(pod, "uid"), field(pod, "resourceVersion"))).collect()
            };
            if versions(&before) == versions(&after) { Ok(after) } else { Err("pods changed".to_owned()) }
        })
    }

    /// Whether neither the scheduler nor KWOK would change the pod.
    fn is_final(&self, pod: &Value, all: &[Value]) -> bool {
        let node = node_of(pod);
        let is_bound = pod["spec"]["nodeName"].is_string();
        if is_terminating(pod) {
            return is_bound && (self.is_lost(&node) || pod["metadata"]["finalizers"].is_array());
        }
        if pod["status"]["phase"] != "Pending" || is_bound {
            return pod["status"]["phase"] != "Pending" || self.is_lost(&node);
        }
        // On a slow machine, Kubernetes can find that a lost node has no kubelet before the scheduler binds its pods. The
        // taint stays.
        if self.is_lost(&node) && pod["status"]["conditions"].to_string().contains("untolerated taint") {
            return true;
        }
        // The scheduler retries after each change of a pod on the node. So no condition of the pod proves that the last
        // try has failed, but a pod that has the port does.
        all.iter().any(|other| {
            other["spec"]["nodeName"] == *node && !host_ports(other).is_disjoint(&host_ports(pod))
        })
    }

    /// Waits until the controller's cache of pods has all changes until now.
    ///
    /// The cache follows one watch of all pods, whose events arrive in the order in which the API server stored them. The
    /// controller creates the sentinel's new pod after it has received the deletion of the old one, so it has received
    /// all earlier changes, too.
    pub(crate) fn catch_up(&self) {
        let pod = || {
            eventually(LIMIT, "the sentinel has one pod", || {
                let mut pods = items(&self.namespace.json(&["get", "pods", "--selector=app=sentinel"]));
                pods.retain(|pod| !is_terminating(pod));
                if let [pod] = &*pods { Ok(name(pod).to_owned()) } else { Err(pods.len()) }
            })
        };
        let old = pod();
        self.namespace.succeed(&["delete", "pod", &old, "--wait=false"]);
        eventually(LIMIT, "the controller replaces the sentinel's pod", || {
            let new = pod();
            if new == old { Err(new) } else { Ok(()) }
        });
    }

    /// Lets the controller sync each DaemonSet once, and waits for it.
    ///
    /// A change of `revisionHistoryLimit` raises the generation, but begins no rollout. The controller writes the
    /// generation to `status.observedGeneration` only after a sync in which it had no earlier pods to wait for. If such a
    /// sync neither creates nor deletes pods for the nodes, it also does the rolling update.
    fn sync(&self) {
        self.history.set(self.history.get() + 1);
        let stored = self.daemon_sets();
        let all: Vec<&Value> = stored.iter().collect();
        let patch = json!({ "spec": { "revisionHistoryLimit": self.history.get() } });
        self.patch("daemonsets", &names(&all), &patch, &[]);
        eventually(LIMIT, "the controller has observed each DaemonSet", || {
            let stored = self.daemon_sets();
            let is_behind =
                |object: &&Value| object["status"]["observedGeneration"] != object["metadata"]["generation"];
            match stored.iter().find(is_behind) {
                None => Ok(()),
                Some(object) => Err(format!("{}: {}", name(object), object["status"])),
            }
        });
    }

    /// Predicts the effects of updates with the code of `wardset place --cluster`.
    pub(crate) fn predict(&self, updates: &[Value], pods: &[Value]) -> Vec<Prediction> {
        let mut inventory = Inventory::new(KubernetesVersion::NEWEST);
        let nodes = items(&self.kubectl.json(&["get", "nodes"]));
        for object in nodes.iter().chain(pods) {
            let mut object = object.clone();
            // The product waits for some time after the grace period before it counts a deleted pod as one that does not end.
            if is_terminating(&object) {
                object["metadata"]["deletionTimestamp"] = LONG_AGO.into();
            }
            assert!(inventory.add(object, "the cluster").unwrap());
        }
        inventory.with_all_pods();
        let nodes = inventory.nodes();
        let stored = self.daemon_sets();
        let prediction = |update: &Value| {
            let stored = stored.iter().find(|stored| name(stored) == name(update)).unwrap();
            let (stored, new) = (ReadObject::new(stored.clone()), ReadObject::new(update.clone()));
            let forms = Forms { stored: Some(&stored), written: &new, decided: Some(&new) };
            let title = format!("{}/{}", self.namespace.name(), name(update));
            let preview = Preview::new(title, String::new(), &forms, &inventory, &nodes, None).unwrap();
            Prediction { desired: preview.runs(), radius: preview.radius.unwrap() }
        };
        updates.iter().map(prediction).collect()
    }

    /// Removes the DaemonSets and their pods, even those that never end, and releases the nodes.
    pub(crate) fn end(self) {
        self.namespace.succeed(&["delete", "daemonsets", "--all", "--wait=false"]);
        let pods = self.pods();
        let hung: Vec<&Value> = pods.iter().filter(|pod| pod["metadata"]["finalizers"].is_array()).collect();
        self.patch("pods", &names(&hung), &json!({ "metadata": { "finalizers": null } }), &[]);
        let now = ["--force", "--grace-period=0", "--wait=false"];
        self.namespace.succeed(&[&["delete", "pods", "--all"], &now[..]].concat());
        self.delete_nodes();
        self.held.release();
    }

    fn delete_nodes(&self) {
        // Does not panic, because the test may be failing already.
        self.kubectl.run(&["delete", "nodes", "--selector", &self.label, "--wait=false"]);
    }

    /// Waits until each of these nodes has a taint, or none has it.
    fn await_taints(&self, key: &str, expected: bool, of: impl Fn(&str) -> bool) {
        let what = format!("the taint {key} is {}", if expected { "there" } else { "gone" });
        eventually(LIMIT, &what, || {
            let nodes = items(&self.kubectl.json(&["get", "nodes", "--selector", &self.label]));
            let wrong: Vec<&str> = nodes
                .iter()
                .filter(|node| of(name(node)))
                .filter(|node| {
                    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
                    taints.any(|taint| taint["key"] == key && taint["effect"] == "NoSchedule") != expected
                })
                .map(name)
                .collect();
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join(" ")) }
        });
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.delete_nodes();
    }
}

/// The image of all containers. KWOK never pulls it.
const IMAGE: &str = "registry.example.com/agent:1";

/// Returns a DaemonSet with one container, and with this update strategy.
pub(crate) fn daemon_set(name: &str, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "updateStrategy": strategy,
            "template": {
                "metadata": { "labels": { "app": name }, "annotations": { TEMPLATE: "0" } },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{ "name": "agent", "image": IMAGE }],
                },
            },
        },
    })
}

/// Returns a pod that has a port of a node for ever.
pub(crate) fn port_holder(node: &str, port: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("port-{port}-{node}") },
        "spec": {
            "nodeName": node,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "agent", "image": IMAGE, "ports": [{ "containerPort": 80, "hostPort": port }],
            }],
        },
    })
}

/// Returns the name of a pod's DaemonSet; empty for other pods.
pub(crate) fn owner(pod: &Value) -> &str {
    pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default()
}

/// Whether a pod is being deleted.
pub(crate) fn is_terminating(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

/// Whether a pod is Ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Returns the pods of a DaemonSet that are not being deleted and have another template than it.
pub(crate) fn outdated<'p>(object: &Value, pods: &'p [Value]) -> Vec<&'p Value> {
    let current = &object["spec"]["template"]["metadata"]["annotations"][TEMPLATE];
    let of = |pod: &&Value| owner(pod) == name(object) && !is_terminating(pod);
    pods.iter().filter(of).filter(|pod| pod["metadata"]["annotations"][TEMPLATE] != *current).collect()
}

fn names<'p>(objects: &[&'p Value]) -> Vec<&'p str> {
    objects.iter().map(|object| name(object)).collect()
}

fn host_ports(pod: &Value) -> BTreeSet<u64> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.filter_map(|port| port["hostPort"].as_u64()).collect()
}

fn node(name: &str, kind: Kind, label: &str) -> Value {
    let taints = match kind {
        Kind::Reserved => json!([{ "key": RESERVED, "effect": "NoSchedule" }]),
        Kind::Drained => json!([{ "key": DRAINED, "effect": "NoExecute" }]),
        Kind::Plain | Kind::Lost => json!([]),
    };
    let annotations = if kind == Kind::Lost { json!({}) } else { json!({ "kwok.x-k8s.io/node": "fake" }) };
    let resources = json!({ "cpu": "16", "memory": "64Gi", "pods": "1000" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "annotations": annotations, "labels": { "kubernetes.io/hostname": name, label: "" },
        },
        "spec": { "taints": taints },
        "status": { "capacity": resources, "allocatable": resources },
    })
}
