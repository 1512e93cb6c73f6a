//! The DaemonSets of the cluster that run on no node, from a watch of their status.
//!
//! The DaemonSet controller counts the nodes, so the answer also covers changes of nodes and DaemonSets that no policy
//! reviews.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::ApiResource;
use kube::core::Object;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use kube::{Api, Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use wardset_core::text::{self, MAX_LOGGED};

use super::watching::{backoff, watch_failed};
use crate::metrics::Metrics;

/// No field of `spec` matters. The watch drops all of them while it reads them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct WatchedSpec {}

/// The fields of a DaemonSet's `status` that matter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WatchedStatus {
    observed_generation: i64,
    desired_number_scheduled: u64,
}

type WatchedDaemonSet = Object<WatchedSpec, WatchedStatus>;

/// The number of nodes of each DaemonSet, by namespace and name.
type Desired = BTreeMap<(String, String), u64>;

/// Watches the DaemonSets until the process stops, and keeps the metric up to date.
pub(super) async fn watch(client: Client, metrics: Arc<Metrics>) {
    let kind = ApiResource::erase::<DaemonSet>(&());
    let objects = Api::<WatchedDaemonSet>::all_with(client, &kind);
    let events = watch_all(objects, watcher::Config::default());
    follow(events.backoff(backoff()), &metrics).await;
}

async fn follow(
    events: impl Stream<Item = watcher::Result<Event<WatchedDaemonSet>>> + Send,
    metrics: &Metrics,
) {
    let mut events = std::pin::pin!(events);
    let (mut listed, mut desired) = (Desired::new(), Desired::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Desired::new(),
            Ok(Event::InitApply(object)) => listed.extend(counted(&object)),
            Ok(Event::InitDone) => desired = std::mem::take(&mut listed),
            Ok(Event::Apply(object)) => {
                if let Some((title, nodes)) = counted(&object) {
                    let before = desired.insert(title.clone(), nodes);
                    report(&title, before, nodes);
                }
            }
            Ok(Event::Delete(object)) => {
                desired.remove(&title(&object));
            }
            Err(error) => watch_failed(metrics, "daemonsets", &error),
        }
        let without = desired.values().filter(|nodes| **nodes == 0).count();
        metrics.daemon_sets_without_nodes.set(i64::try_from(without).unwrap_or(i64::MAX));
    }
}

fn title(object: &WatchedDaemonSet) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Returns the number of nodes of a DaemonSet; `None` until the controller has counted them for its current generation.
fn counted(object: &WatchedDaemonSet) -> Option<((String, String), u64)> {
    let status = object.status.as_ref()?;
    let is_current = status.observed_generation > 0
        && object.metadata.generation.is_none_or(|generation| status.observed_generation >= generation);
    is_current.then(|| (title(object), status.desired_number_scheduled))
}

/// Writes a log line if a DaemonSet lost its last node, or has a node again.
fn report((namespace, name): &(String, String), before: Option<u64>, nodes: u64) {
    let [namespace, name] = [namespace, name].map(|text| text::one_line(text, MAX_LOGGED));
    match (before, nodes) {
        (Some(before), 0) if before > 0 => tracing::warn!(
            namespace,
            name,
            before,
            "this DaemonSet runs on no node any more; hint: `wardset place --cluster` says why"
        ),
        (Some(0), 1..) => tracing::info!(namespace, name, nodes, "this DaemonSet runs on nodes again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use serde_json::json;

    use super::*;

    fn object(name: &str, observed: i64, desired: u64) -> WatchedDaemonSet {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": "a", "generation": 2},
            "spec": {"template": {}},
            "status": {"observedGeneration": observed, "desiredNumberScheduled": desired, "numberReady": 1},
        });
        serde_json::from_value(object).expect("a DaemonSet")
    }

    async fn without_nodes(events: Vec<watcher::Result<Event<WatchedDaemonSet>>>) -> i64 {
        let metrics = Metrics::new();
        follow(stream::iter(events), &metrics).await;
        metrics.daemon_sets_without_nodes.get()
    }

    fn listed(objects: Vec<WatchedDaemonSet>) -> Vec<watcher::Result<Event<WatchedDaemonSet>>> {
        let objects = objects.into_iter().map(|object| Ok(Event::InitApply(object)));
        std::iter::once(Ok(Event::Init)).chain(objects).chain([Ok(Event::InitDone)]).collect()
    }

    #[tokio::test]
    async fn counts_daemon_sets_whose_status_has_no_node() {
        let all = || listed(vec![object("a", 2, 0), object("b", 2, 3), object("c", 2, 0)]);
        assert_eq!(without_nodes(all()).await, 2);
        let mut events = all();
        events.push(Ok(Event::Apply(object("b", 2, 0))));
        events.push(Ok(Event::Delete(object("a", 2, 0))));
        assert_eq!(without_nodes(events).await, 2);
    }

    #[tokio::test]
    async fn a_status_of_an_earlier_generation_does_not_count() {
        assert_eq!(without_nodes(listed(vec![object("a", 1, 0), object("b", 0, 0)])).await, 0);
    }
}
