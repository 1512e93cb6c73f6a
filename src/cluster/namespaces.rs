//! Labels of namespaces, from a watch of their metadata, so that no review calls the API server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use wardset_core::policy::NamespaceLabels;

use super::pause::Pause;
use crate::metrics::Metrics;

/// Time for which a review waits for an unknown namespace, which may have been created just before its DaemonSet.
const PATIENCE: Duration = Duration::from_secs(1);

type Labels = Arc<BTreeMap<String, String>>;

/// The last known labels of all namespaces.
#[derive(Debug)]
pub struct Namespaces {
    known: RwLock<HashMap<String, Labels>>,
    /// The number of processed events; 0 until the first complete list.
    events: watch::Sender<u64>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { known: RwLock::default(), events: watch::Sender::new(0) }
    }
}

impl Namespaces {
    /// Returns the labels of a namespace. If it is unknown, this waits for it for at most one second, and never past
    /// `deadline`.
    pub async fn labels(&self, namespace: &str, deadline: Instant) -> NamespaceLabels {
        let mut events = self.events.subscribe();
        let patience = (Instant::now() + PATIENCE).min(deadline);
        loop {
            if let Some(labels) = self.get(namespace) {
                return NamespaceLabels::Known(labels);
            }
            match tokio::time::timeout_at(patience.into(), events.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return NamespaceLabels::Unknown,
            }
        }
    }

    /// Completes once the first complete list has arrived.
    pub(super) async fn listed(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.events.subscribe().wait_for(|events| *events > 0).await;
    }

    /// Watches the namespaces until the process stops.
    pub(super) async fn watch(self: Arc<Self>, client: Client, metrics: Arc<Metrics>) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let mut events = watch_all(api, watcher::Config::default()).backoff(Pause::default()).boxed();
        let mut list = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if self.take(event, &mut list) {
                        self.events.send_modify(|events| *events += 1);
                    }
                }
                Err(error) => super::watch_failed(&metrics, "namespaces", &error),
            }
        }
    }

    fn get(&self, namespace: &str) -> Option<Labels> {
        // The lock cannot be poisoned midway: writers only insert, remove and swap.
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(namespace).map(Arc::clone)
    }

    /// Applies an event. Returns whether the known labels may have changed. `list` collects a new list until it is
    /// complete.
    fn take(&self, event: Event<PartialObjectMeta<Namespace>>, list: &mut HashMap<String, Labels>) -> bool {
        let entry = |namespace: PartialObjectMeta<Namespace>| {
            (namespace.name_any(), Arc::new(namespace.metadata.labels.unwrap_or_default()))
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                list.clear();
                return false;
            }
            Event::InitApply(namespace) => {
                list.extend([entry(namespace)]);
                return false;
            }
            Event::InitDone => *known = std::mem::take(list),
            Event::Apply(namespace) => known.extend([entry(namespace)]),
            Event::Delete(namespace) => {
                known.remove(&namespace.name_any());
            }
        }
        true
    }
}
