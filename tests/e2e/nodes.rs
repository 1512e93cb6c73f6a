//! Nodes that join and leave. A test with a namespace depends on where pods run, so it never runs beside a test that
//! changes nodes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::pods::{ALL, WORKERS_AND_GPU};
use crate::support::{Kubectl, Namespace, example};

/// A lock on the nodes, held until it is released or dropped. It is shared to observe them, exclusive to change them.
#[derive(Debug)]
pub(crate) struct Hold(RefCell<Option<Guard>>);

#[derive(Debug)]
enum Guard {
    /// No other test changes the nodes.
    Steady { _guard: RwLockReadGuard<'static, ()> },
    /// No other test observes the nodes.
    Changing { _guard: RwLockWriteGuard<'static, ()> },
}

/// Locks the nodes against changes until the result is dropped. The same thread may still change them if it called
/// [`changing`] before.
pub(crate) fn steady() -> Rc<Hold> {
    // A second lock on the same thread could deadlock: a waiting writer blocks it, and waits for the first lock.
    HELD.with_borrow(Weak::upgrade).unwrap_or_else(|| {
        held(Guard::Steady { _guard: NODES.read().unwrap_or_else(PoisonError::into_inner) })
    })
}

/// Locks the nodes exclusively, so that this test may change them until it releases the lock. Call it first in a test.
pub(crate) fn changing() -> Rc<Hold> {
    assert!(HELD.with_borrow(Weak::upgrade).is_none(), "this test observed the nodes before");
    held(Guard::Changing { _guard: NODES.write().unwrap_or_else(PoisonError::into_inner) })
}

fn held(guard: Guard) -> Rc<Hold> {
    let hold = Rc::new(Hold(RefCell::new(Some(guard))));
    HELD.set(Rc::downgrade(&hold));
    hold
}

impl Hold {
    /// Releases the lock while this test's namespaces still exist.
    pub(crate) fn release(&self) {
        self.0.take();
    }
}

static NODES: RwLock<()> = RwLock::new(());

thread_local! {
    /// The lock of this thread's test.
    static HELD: RefCell<Weak<Hold>> = const { RefCell::new(Weak::new()) };
}

/// A node that a test adds, with the settings of `cargo xtask cluster`. It is deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    name: &'static str,
}

impl Node {
    /// Adds a node for any workload.
    pub(crate) fn worker(name: &'static str) -> Self {
        Self::create(name, &json!({}), &json!([]))
    }

    /// Adds a node of the control plane, with its label and its taint.
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
        // Does not panic, because the test may be failing already.
        Kubectl::new().run(&["delete", "node", self.name, "--ignore-not-found"]);
    }
}

#[test]
fn new_worker_gets_a_pod_and_new_control_plane_node_gets_none() {
    let nodes = changing();
    let gate = Gate::shared();
    // Tolerates everything, so only the policies can keep it off a node.
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
    assert_eq!(gate.decisions(namespace.name()), decided, "expected no review when a node joins");

    let pods = namespace.pods(&stored);
    let on = |node: &str| {
        let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node).unwrap();
        format!("pod/{}", pod["metadata"]["name"].as_str().unwrap())
    };
    drop((worker, control_plane));
    nodes.release();
    // The pod garbage collector runs every 20 s, and deletes pods of a node that has been missing for 40 s.
    namespace.succeed(&["wait", "--for=delete", &on("worker-4"), "--timeout=180s"]);
    namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
}
