//! The nodes of the cluster, from a watch, so that no review calls the API server.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use wardset_core::placement::ClusterNodes;
use wardset_placement::{KubernetesVersion, Node, SharedLabels, Taint};

use super::watching::{backoff, watch_failed};
use crate::metrics::Metrics;

/// The fields of a node's `spec` that matter. The watch drops all others while it reads them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WatchedSpec {
    taints: Vec<WatchedTaint>,
    unschedulable: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WatchedTaint {
    key: String,
    value: String,
    effect: String,
}

/// The fields of a node's `status` that matter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WatchedStatus {
    conditions: Vec<WatchedCondition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WatchedCondition {
    r#type: String,
    status: String,
}

/// A node with the fields that matter. Its metadata has neither annotations nor managed fields: both are larger than the rest.
#[derive(Debug, Clone, Deserialize)]
struct WatchedNode {
    #[serde(deserialize_with = "small_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: WatchedSpec,
    #[serde(default)]
    status: WatchedStatus,
}

impl Resource for WatchedNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        NodeObject::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        NodeObject::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        NodeObject::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        NodeObject::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Reads the metadata that the watch needs.
fn small_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct SmallMetadata {
        name: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    let SmallMetadata { name, uid, resource_version, labels } = SmallMetadata::deserialize(deserializer)?;
    Ok(ObjectMeta { name, uid, resource_version, labels, ..ObjectMeta::default() })
}

/// Nodes in one answer to a list request. A real node has 10 KiB and more, and the whole answer is in memory.
const PAGE: u32 = 100;

/// The last known nodes.
#[derive(Debug)]
pub struct Nodes {
    /// None until the first complete list.
    known: ArcSwapOption<ClusterNodes>,
    version: KubernetesVersion,
}

/// Nodes by name.
type ByName = BTreeMap<String, Arc<Node<'static>>>;

impl Nodes {
    /// Creates an empty set of nodes, which the watch fills, for a cluster of this version.
    #[must_use]
    pub fn new(version: KubernetesVersion) -> Self {
        Self { known: ArcSwapOption::empty(), version }
    }

    /// Returns all nodes; `None` until the first list is complete.
    #[must_use]
    pub fn current(&self) -> Option<Arc<ClusterNodes>> {
        self.known.load_full()
    }

    /// Watches the nodes until the process stops.
    pub(super) async fn watch(self: Arc<Self>, client: Client, metrics: Arc<Metrics>) {
        let nodes = Api::<WatchedNode>::all(client);
        let events = watch_all(nodes, watcher::Config::default().page_size(PAGE));
        self.follow(events.backoff(backoff()), &metrics).await;
    }

    async fn follow(
        &self,
        events: impl Stream<Item = watcher::Result<Event<WatchedNode>>> + Send,
        metrics: &Metrics,
    ) {
        let mut events = std::pin::pin!(events);
        // During a list, the previous nodes stay known.
        let (mut listed, mut known) = (ByName::new(), ByName::new());
        let mut labels = SharedLabels::default();
        while let Some(event) = events.next().await {
            let is_changed = match event {
                Ok(Event::Init) => {
                    listed = ByName::new();
                    false
                }
                Ok(Event::InitApply(node)) => {
                    listed.extend(named(node, &mut labels));
                    false
                }
                Ok(Event::InitDone) => {
                    known = std::mem::take(&mut listed);
                    labels.forget_unused();
                    true
                }
                // Before the first list is complete, there are no such events.
                Ok(Event::Apply(node)) => named(node, &mut labels).is_some_and(|(name, node)| {
                    // Most updates of a node are reports of its kubelet, and change nothing that matters here.
                    let former = known.insert(name, Arc::clone(&node));
                    former.is_none_or(|former| former != node)
                }),
                Ok(Event::Delete(node)) => {
                    node.metadata.name.is_some_and(|name| known.remove(&name).is_some())
                }
                Err(error) => {
                    watch_failed(metrics, "nodes", &error);
                    false
                }
            };
            if is_changed {
                let nodes = known.values().cloned().collect();
                self.known.store(Some(Arc::new(ClusterNodes::new(nodes, self.version))));
            }
        }
    }
}

/// Returns the name and the small form of a node, with labels that it shares with equal nodes.
fn named(object: WatchedNode, shared: &mut SharedLabels) -> Option<(String, Arc<Node<'static>>)> {
    let name = object.metadata.name?;
    let ready = object.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    let labels = object.metadata.labels.unwrap_or_default();
    let taint = |taint: WatchedTaint| Taint {
        key: taint.key.into(),
        value: taint.value.into(),
        effect: taint.effect.into(),
    };
    let node = Node {
        name: name.clone().into(),
        labels: shared.share(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()),
        taints: object.spec.taints.into_iter().map(taint).collect(),
        unschedulable: object.spec.unschedulable,
        ready: ready.map(|condition| condition.status == "True"),
    };
    Some((name, Arc::new(node)))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::json;

    use super::*;

    fn node(name: &str, taint: &str) -> WatchedNode {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"zone": "a"}},
            "spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": taint, "effect": "NoSchedule"}]},
            "status": {"images": [{"names": ["x"]}], "conditions": [{"type": "Ready", "status": "True"}]},
        });
        serde_json::from_value(node).expect("a node")
    }

    async fn after(events: Vec<watcher::Result<Event<WatchedNode>>>) -> Option<Vec<String>> {
        let nodes = Nodes::new(KubernetesVersion::default());
        nodes.follow(stream::iter(events), &Metrics::new()).await;
        let known = nodes.current()?;
        Some(known.nodes().iter().map(|node| format!("{} {}", node.name, node.taints[0])).collect())
    }

    #[tokio::test]
    async fn nothing_is_known_before_the_first_complete_list() {
        assert_eq!(after(vec![Ok(Event::Init), Ok(Event::InitApply(node("a", "t")))]).await, None);
    }

    #[tokio::test]
    async fn a_list_replaces_all_nodes_and_a_failure_keeps_them() {
        let listed =
            |name: &str| vec![Ok(Event::Init), Ok(Event::InitApply(node(name, "t"))), Ok(Event::InitDone)];
        let mut events = listed("a");
        events.push(Err(watcher::Error::NoResourceVersion));
        events.push(Ok(Event::Init));
        assert_eq!(after(events).await.expect("nodes"), ["a t:NoSchedule"]);
        let both = listed("a").into_iter().chain(listed("b")).collect();
        assert_eq!(after(both).await.expect("nodes"), ["b t:NoSchedule"]);
    }

    #[tokio::test]
    async fn changes_and_deletions_follow_the_list() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(node("a", "t"))),
            Ok(Event::InitApply(node("b", "t"))),
            Ok(Event::InitDone),
            Ok(Event::Apply(node("a", "u"))),
            Ok(Event::Delete(node("b", "t"))),
        ];
        assert_eq!(after(events).await.expect("nodes"), ["a u:NoSchedule"]);
    }
}
