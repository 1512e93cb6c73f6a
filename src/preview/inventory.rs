//! The nodes, pods and DaemonSets of a cluster, as objects that were saved or listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff;
use serde_json::Value;
use wardset_core::placement::ClusterNodes;
use wardset_placement::{DaemonSet, ExistingPod, KubernetesVersion, Node, PodSpec};

use super::object::{ObjectError, ReadObject};
use super::shape;

/// The objects of one cluster at one time.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The version whose rules decide.
    pub version: KubernetesVersion,
    nodes: BTreeMap<String, ReadObject>,
    /// `None` if the input has no pods.
    pods: Option<Vec<StoredPod>>,
    daemon_sets: Vec<StoredDaemonSet>,
    /// The time at which pods count as available, in seconds since 1970.
    now: i64,
}

/// A DaemonSet of the cluster.
#[derive(Debug, Clone)]
pub struct StoredDaemonSet {
    /// Its namespace and name.
    pub title: String,
    /// The object.
    pub object: ReadObject,
}

/// A pod of the cluster.
#[derive(Debug)]
struct StoredPod {
    node: String,
    bound: bool,
    /// The DaemonSet as `namespace/name`; empty for other pods.
    owner: String,
    /// The time since which it is Ready, in seconds since 1970.
    ready_since: Option<i64>,
    /// The time at which it should have ended, in seconds since 1970, if it is being deleted.
    ends: Option<i64>,
    spec: ReadObject,
}

/// An object of a wrong form.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A field of another type than the API server accepts.
    #[error("{origin}: failed to read {kind} `{name}`")]
    Object {
        /// The file and the object's position in it.
        origin: String,
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// The field.
        source: ObjectError,
    },
    /// A value that is no object.
    #[error("{origin}: expected a Kubernetes object, found {found}")]
    NoObject {
        /// The file and the object's position in it.
        origin: String,
        /// Such as `a list`.
        found: &'static str,
    },
    /// An object without a name.
    #[error("{origin}: expected a name in `metadata.name` of the {kind}")]
    NoName {
        /// The file and the object's position in it.
        origin: String,
        /// The kind.
        kind: &'static str,
    },
    /// Two objects of one kind with the same name.
    #[error("{origin}: {kind} `{name}` occurs twice; hint: pass each object once")]
    Duplicate {
        /// The file and the object's position in it.
        origin: String,
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

impl Inventory {
    /// Returns an empty inventory of this moment.
    #[must_use]
    pub fn new(version: KubernetesVersion) -> Self {
        Self { version, now: jiff::Timestamp::now().as_second(), ..Self::default() }
    }

    /// Adds a Node, Pod or DaemonSet. Returns whether it is one of them: other objects are left out.
    ///
    /// # Errors
    ///
    /// A value that is no object, an object without a name, or with a field of another type.
    pub fn add(&mut self, object: Value, origin: &str) -> Result<bool, InventoryError> {
        if !object.is_object() {
            return Err(InventoryError::NoObject { origin: origin.to_owned(), found: shape::kind(&object) });
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = match (text("/apiVersion"), text("/kind")) {
            ("v1", "Node") => "Node",
            ("v1", "Pod") => "Pod",
            ("apps/v1", "DaemonSet") => "DaemonSet",
            _ => return Ok(false),
        };
        let name = text("/metadata/name").to_owned();
        if name.is_empty() {
            return Err(InventoryError::NoName { origin: origin.to_owned(), kind });
        }
        let title = title(text("/metadata/namespace"), &name);
        let object = ReadObject::new(object);
        let failed =
            |source| InventoryError::Object { origin: origin.to_owned(), kind, name: name.clone(), source };
        match kind {
            "Node" => {
                object.read::<Node<'_>>().map_err(failed)?;
                if self.nodes.insert(name.clone(), object).is_some() {
                    return Err(InventoryError::Duplicate { origin: origin.to_owned(), kind, name });
                }
            }
            "Pod" => {
                let pod = StoredPod::new(&object).map_err(failed)?;
                self.pods.get_or_insert_default().extend(pod);
            }
            _ => {
                object.read::<DaemonSet<'_>>().map_err(failed)?;
                if self.daemon_set(&title).is_some() {
                    return Err(InventoryError::Duplicate { origin: origin.to_owned(), kind, name: title });
                }
                self.daemon_sets.push(StoredDaemonSet { title, object });
            }
        }
        Ok(true)
    }

    /// Whether any source of pods was read.
    #[must_use]
    pub fn knows_pods(&self) -> bool {
        self.pods.is_some()
    }

    /// Records that all pods are known, even if there is none.
    pub fn with_all_pods(&mut self) {
        self.pods.get_or_insert_default();
    }

    /// Returns the nodes for reviews; `None` if there are none.
    #[must_use]
    pub fn cluster_nodes(&self) -> Option<Arc<ClusterNodes>> {
        let nodes: Vec<_> = self.nodes().into_iter().map(|node| Arc::new(node.into_owned())).collect();
        (!nodes.is_empty()).then(|| Arc::new(ClusterNodes::new(nodes, self.version)))
    }

    /// Returns the nodes by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node<'_>> {
        // Each was read when it was added.
        self.nodes.values().filter_map(|node| node.read().ok()).collect()
    }

    /// Returns the DaemonSets by namespace and name.
    #[must_use]
    pub fn daemon_sets(&self) -> Vec<&StoredDaemonSet> {
        let mut found: Vec<&StoredDaemonSet> = self.daemon_sets.iter().collect();
        found.sort_by(|a, b| a.title.cmp(&b.title));
        found
    }

    /// Returns the stored DaemonSet of this namespace and name.
    #[must_use]
    pub fn daemon_set(&self, title: &str) -> Option<&ReadObject> {
        self.daemon_sets.iter().find(|stored| stored.title == title).map(|stored| &stored.object)
    }

    /// Returns the pods, if any source of pods was read. A pod is available if it has been Ready for `min_ready_seconds`.
    #[must_use]
    pub fn pods(&self, min_ready_seconds: i64) -> Option<Vec<ExistingPod<'_>>> {
        let pods = self.pods.as_ref()?;
        Some(pods.iter().map(|pod| pod.at(self.now, min_ready_seconds)).collect())
    }
}

impl StoredPod {
    /// Reads a pod; `None` if it has no node, or has terminated.
    fn new(pod: &ReadObject) -> Result<Option<Self>, ObjectError> {
        let value = pod.value();
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if matches!(text("/status/phase"), "Succeeded" | "Failed") {
            return Ok(None);
        }
        // The controller pins each pod to its node by this affinity, so a pending pod has a node, too.
        let pinned = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
        let node = [text("/spec/nodeName"), text(pinned)].into_iter().find(|name| !name.is_empty());
        let Some(node) = node else { return Ok(None) };
        let spec = ReadObject::new(value.get("spec").cloned().unwrap_or_default());
        spec.read::<PodSpec<'_>>()?;
        let list = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let owner = list("/metadata/ownerReferences").find(|owner| {
            owner["apiVersion"] == "apps/v1" && owner["kind"] == "DaemonSet" && owner["controller"] == true
        });
        let owner = owner.and_then(|owner| owner["name"].as_str());
        let ready = list("/status/conditions").find(|condition| condition["type"] == "Ready");
        let since = ready.filter(|ready| ready["status"] == "True");
        Ok(Some(Self {
            node: node.to_owned(),
            bound: !text("/spec/nodeName").is_empty(),
            owner: owner.map(|name| title(text("/metadata/namespace"), name)).unwrap_or_default(),
            // A condition without a time counts as an old one.
            ready_since: since.map(|ready| ready["lastTransitionTime"].as_str().map_or(0, seconds)),
            // The API server adds the grace period to the time of the deletion.
            ends: value
                .pointer("/metadata/deletionTimestamp")
                .map(|time| time.as_str().map_or(i64::MAX, seconds)),
            spec,
        }))
    }

    fn at(&self, now: i64, min_ready_seconds: i64) -> ExistingPod<'_> {
        // It was read when it was added.
        let spec: Option<PodSpec<'_>> = self.spec.read().ok();
        ExistingPod {
            node: &self.node,
            bound: self.bound,
            owner: &self.owner,
            available: self.ready_since.is_some_and(|since| since.saturating_add(min_ready_seconds) <= now),
            terminating: self.ends.is_some(),
            overdue: self.ends.is_some_and(|ends| ends.saturating_add(SECONDS_TO_END) < now),
            ports: spec.iter().flat_map(PodSpec::host_ports).collect(),
        }
    }
}

/// Time for the kubelet to end a pod after its grace period.
const SECONDS_TO_END: i64 = 30;

/// Returns namespace and name. An object without a namespace belongs to `default`.
fn title(namespace: &str, name: &str) -> String {
    format!("{}/{name}", if namespace.is_empty() { "default" } else { namespace })
}

fn seconds(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second())
}
