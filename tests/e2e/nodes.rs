//! Nodes that come and go. Tests that look at where pods run, which is all that have a namespace, wait for those that
//! change nodes, and the other way round.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::pods::{ALL, WORKERS_AND_GPU};
use crate::support::{Kubectl, Namespace, example};

/// The nodes, until this is released or dropped: for several tests to look at, or for one to change.
#[derive(Debug)]
pub(crate) struct Hold(RefCell<Option<Guard>>);

#[derive(Debug)]
enum Guard {
    /// Nobody changes them.
    Steady { _guard: RwLockReadGuard<'static, ()> },
    /// Nobody else looks at them.
    Changing { _guard: RwLockWriteGuard<'static, ()> },
}

/// Nobody changes nodes as long as what it returns lives, but for a test that called [`changing`] itself.
pub(crate) fn steady() -> Rc<Hold> {
    // A second lock of the same thread could wait for a writer that waits for the first.
    HELD.with_borrow(Weak::upgrade).unwrap_or_else(|| {
        held(Guard::Steady { _guard: NODES.read().unwrap_or_else(PoisonError::into_inner) })
    })
}

/// This test may change nodes until it releases what it gets; no other test looks at them. To be called first.
pub(crate) fn changing() -> Rc<Hold> {
    assert!(HELD.with_borrow(Weak::upgrade).is_none(), "this test has looked at the nodes already");
    held(Guard::Changing { _guard: NODES.write().unwrap_or_else(PoisonError::into_inner) })
}

fn held(guard: Guard) -> Rc<Hold> {
    let hold = Rc::new(Hold(RefCell::new(Some(guard))));
    HELD.set(Rc::downgrade(&hold));
    hold
}

impl Hold {
    /// Others may look again, while this test's namespaces still live.
    pub(crate) fn release(&self) {
        self.0.take();
    }
}

static NODES: RwLock<()> = RwLock::new(());

thread_local! {
    /// What the test of this thread holds.
    static HELD: RefCell<Weak<Hold>> = const { RefCell::new(Weak::new()) };
}

/// A node that a test brings, as `cargo xtask cluster` makes those that are there from the start. It goes when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Node {
    name: &'static str,
}

impl Node {
    /// A node for any workload.
    pub(crate) fn worker(name: &'static str) -> Self {
        Self::create(name, &json!({}), &json!([]))
    }

    /// A node of the control plane, with its label and its taint.
    pub(crate) fn control_plane(name: &'static str) -> Self {
        let key = "node-role.kubernetes.io/control-plane";
        Self::create(name, &json!({ key: "" }), &json!([{ "key": key, "effect": "NoSchedule" }]))
    }

    fn create(name: &'static str, labels: &Value, taints: &Value) -> Self {
        let mut labels = labels.clone();
        labels["kubernetes.io/hostname"] = name.into();
        labels["kubernetes.io/os"] = "linux".into();
        let resources = json!({ "cpu": "16", "memory": "64Gi", "pods": "110" });
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": name, "labels": labels, "annotations": { "kwok.x-k8s.io/node": "fake" } },
            "spec": { "taints": taints },
            "status": { "capacity": resources, "allocatable": resources },
        });
        Kubectl::new().run_with_input(&["create", "--filename=-"], &node.to_string()).succeeded();
        Self { name }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // As of namespaces: no second panic while a test fails.
        Kubectl::new().run(&["delete", "node", self.name, "--ignore-not-found"]);
    }
}

#[test]
fn a_new_worker_gets_its_pod_a_new_control_plane_does_not_and_the_pod_of_a_lost_node_is_collected() {
    let nodes = changing();
    let gate = Gate::shared();
    // Tolerates everything, so that it is the policies that keep it off where it is not wanted.
    let mut object = example();
    object["spec"]["template"]["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    let (namespace, elsewhere) = (gate.namespace("joining"), Namespace::new("joining"));
    for namespace in [&namespace, &elsewhere] {
        namespace.apply(&object);
    }
    namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    elsewhere.settled("fluentd-agent", &ALL);
    let decided = gate.decisions(namespace.name());

    let worker = Node::worker("worker-4");
    let control_plane = Node::control_plane("cp-3");
    let mut all = ALL.to_vec();
    all.extend(["worker-4", "cp-3"]);
    elsewhere.settled("fluentd-agent", &all);
    let stored = namespace.settled("fluentd-agent", &[&WORKERS_AND_GPU[..], &["worker-4"]].concat());
    assert_eq!(gate.decisions(namespace.name()), decided, "nodes come without a review");

    let pods = namespace.pods(&stored);
    let on = |node: &str| {
        let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node).unwrap();
        format!("pod/{}", pod["metadata"]["name"].as_str().unwrap())
    };
    drop((worker, control_plane));
    nodes.release();
    // The controller of lost pods looks every 20 s, and believes what it sees after 40 s.
    namespace.succeed(&["wait", "--for=delete", &on("worker-4"), "--timeout=180s"]);
    namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
}
