//! Labels of namespaces, from a watch of their metadata: no review asks the API server for anything.

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

/// How long a review waits for a namespace that is not known yet: one that was made just before its DaemonSet.
const PATIENCE: Duration = Duration::from_secs(1);

type Labels = Arc<BTreeMap<String, String>>;

/// The labels of all namespaces, as last heard of.
#[derive(Debug)]
pub struct Namespaces {
    known: RwLock<HashMap<String, Labels>>,
    /// How many events were taken; none before the first whole list.
    events: watch::Sender<u64>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { known: RwLock::default(), events: watch::Sender::new(0) }
    }
}

impl Namespaces {
    /// The labels of a namespace. One that is not known is waited for, one second at most and never past `deadline`.
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

    /// Completes once the first whole list is there.
    pub(super) async fn listed(&self) {
        // The sender is in `self`, so it can't be gone.
        let _ = self.events.subscribe().wait_for(|events| *events > 0).await;
    }

    /// Watches until the process ends.
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
        // No writer can panic in the middle: it only inserts, removes and swaps.
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(namespace).map(Arc::clone)
    }

    /// Whether anything is known now that was not before. A new list is gathered in `list` until it is whole.
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
