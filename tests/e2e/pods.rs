//! The nodes on which a DaemonSet's pods run, and the end of a rollout.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Namespace, eventually};

/// The workers of a new cluster that any pod may run on.
pub(crate) const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// [`WORKERS`] and the GPU node, whose taint the default policies tolerate.
pub(crate) const WORKERS_AND_GPU: [&str; 4] = ["gpu-1", "worker-1", "worker-2", "worker-3"];

/// The nodes of a new cluster.
pub(crate) const ALL: [&str; 7] = ["cp-1", "cp-2", "gpu-1", "virtual-1", "worker-1", "worker-2", "worker-3"];

/// Limit for the controllers, the scheduler and KWOK, which share two processors with everything else.
const LIMIT: Duration = Duration::from_secs(60);

impl Namespace {
    /// Returns the stored DaemonSet.
    pub(crate) fn daemonset(&self, name: &str) -> Value {
        self.json(&["get", "daemonset", name])
    }

    /// Waits until a DaemonSet's rollout is complete and exactly these nodes run a pod of it. Returns the stored
    /// object.
    ///
    /// # Panics
    /// Panics if that does not happen in time.
    pub(crate) fn settled(&self, name: &str, nodes: &[&str]) -> Value {
        let expected: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let what = format!("`{name}` runs on {nodes:?} and nowhere else");
        eventually(LIMIT, &what, || {
            let daemonset = self.daemonset(name);
            let status = &daemonset["status"];
            let counts = ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]
                .map(|count| status[count].as_u64().unwrap_or_default());
            let done = status["observedGeneration"] == daemonset["metadata"]["generation"]
                && counts == [nodes.len() as u64; 3];
            let running = if done { self.running(&daemonset) } else { Vec::new() };
            // A list and not a set, so that a second pod on a node is noticed.
            if done && running.iter().eq(expected.iter()) {
                Ok(daemonset)
            } else {
                Err((status.clone(), running))
            }
        })
    }

    /// Returns the nodes of a DaemonSet's running pods, sorted, with one entry per pod.
    pub(crate) fn running(&self, daemonset: &Value) -> Vec<String> {
        let mut nodes: Vec<String> = self
            .pods(daemonset)
            .iter()
            .filter(|pod| {
                pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned())
            .collect();
        nodes.sort();
        nodes
    }

    /// Returns the pods that a DaemonSet owns.
    pub(crate) fn pods(&self, daemonset: &Value) -> Vec<Value> {
        let uid = &daemonset["metadata"]["uid"];
        let mut pods = self.json(&["get", "pods"]);
        let mut pods = std::mem::take(pods["items"].as_array_mut().unwrap());
        pods.retain(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == *uid);
        pods
    }

    /// Returns the names of a DaemonSet's pods.
    pub(crate) fn pod_names(&self, daemonset: &Value) -> BTreeSet<String> {
        let names = self.pods(daemonset);
        names.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the revisions that the controller keeps, sorted.
    pub(crate) fn revisions(&self) -> Vec<u64> {
        let revisions = self.json(&["get", "controllerrevisions"]);
        let mut revisions: Vec<u64> = revisions["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|revision| revision["revision"].as_u64().unwrap())
            .collect();
        revisions.sort_unstable();
        revisions
    }
}

/// Returns the object's generation, which counts the changes of its `spec`.
pub(crate) fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().unwrap()
}
