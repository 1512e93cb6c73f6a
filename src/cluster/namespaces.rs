//! Labels of namespaces, from a watch of their metadata, so that no review calls the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_all};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use wardset_core::policy::NamespaceLabels;

use super::watching::{backoff, watch_failed};
use crate::metrics::Metrics;

/// Time for which a review waits for an unknown namespace, which may have been created just before its DaemonSet.
const PATIENCE: Duration = Duration::from_secs(1);

type Metadata = PartialObjectMeta<Namespace>;

/// The last known labels of all namespaces.
#[derive(Debug)]
pub struct Namespaces {
    known: Store<Metadata>,
    /// Signals each change of `known`.
    changed: watch::Sender<()>,
}

impl Namespaces {
    /// Returns labels that are empty until the writer is passed to `watch`.
    pub(super) fn new() -> (Self, Writer<Metadata>) {
        let writer = Writer::default();
        (Self { known: writer.as_reader(), changed: watch::Sender::new(()) }, writer)
    }

    /// Returns the labels of a namespace. If it is unknown, this waits for it for at most one second, and never past
    /// `deadline`.
    pub async fn labels(&self, namespace: &str, deadline: Instant) -> NamespaceLabels {
        let mut changed = self.changed.subscribe();
        let patience = (Instant::now() + PATIENCE).min(deadline);
        let namespace = ObjectRef::new(namespace);
        loop {
            if let Some(found) = self.known.get(&namespace) {
                return NamespaceLabels::Known(Arc::new(found.labels().clone()));
            }
            match tokio::time::timeout_at(patience.into(), changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return NamespaceLabels::Unknown,
            }
        }
    }

    /// Completes once the first complete list has arrived.
    pub(super) async fn listed(&self) {
        // Fails if the watch has ended, which happens only at shutdown.
        let _ = self.known.wait_until_ready().await;
    }

    /// Watches the namespaces until the process stops.
    pub(super) async fn watch(
        self: Arc<Self>,
        client: Client,
        writer: Writer<Metadata>,
        metrics: Arc<Metrics>,
    ) {
        let events = watch_all(Api::<Metadata>::all(client), watcher::Config::default());
        self.follow(events.backoff(backoff()), writer, &metrics).await;
    }

    async fn follow(
        &self,
        events: impl Stream<Item = watcher::Result<Event<Metadata>>> + Send,
        writer: Writer<Metadata>,
        metrics: &Metrics,
    ) {
        // Nothing reads the rest.
        let slim = |namespace: &mut Metadata| {
            namespace.annotations_mut().clear();
            namespace.managed_fields_mut().clear();
        };
        let mut events = events.modify(slim).reflect(writer).boxed();
        while let Some(event) = events.next().await {
            match event {
                // During a list, the store still holds the previous state.
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(_) => self.changed.send_replace(()),
                Err(error) => watch_failed(metrics, "namespaces", &error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::{FutureExt as _, stream};
    use tokio::sync::mpsc;

    use super::*;

    type Sent = watcher::Result<Event<Metadata>>;

    /// Returns labels, and a sender of the events of their watch.
    fn watched() -> (Arc<Namespaces>, mpsc::UnboundedSender<Sent>) {
        let (namespaces, writer) = Namespaces::new();
        let namespaces = Arc::new(namespaces);
        let (events, received) = mpsc::unbounded_channel();
        let received =
            stream::unfold(received, async |mut received| Some((received.recv().await?, received)));
        let following = Arc::clone(&namespaces);
        tokio::spawn(async move { following.follow(received, writer, &Metrics::new()).await });
        (namespaces, events)
    }

    fn namespace(name: &str, tier: &str) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.metadata.name = Some(name.to_owned());
        metadata.metadata.labels = Some([("tier".to_owned(), tier.to_owned())].into());
        metadata
    }

    fn known(tier: &str) -> NamespaceLabels {
        NamespaceLabels::Known(Arc::new(BTreeMap::from([("tier".to_owned(), tier.to_owned())])))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn failure() -> Sent {
        Err(watcher::Error::NoResourceVersion)
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_waits_for_the_first_list_and_sees_only_complete_ones() {
        let (namespaces, events) = watched();
        let mut labels = std::pin::pin!(namespaces.labels("a", soon()));
        assert!((&mut labels).now_or_never().is_none());
        for event in [Event::Init, Event::InitApply(namespace("a", "prod"))] {
            events.send(Ok(event)).unwrap();
        }
        tokio::task::yield_now().await;
        assert!((&mut labels).now_or_never().is_none(), "the list is not complete");
        assert!(namespaces.listed().now_or_never().is_none());
        events.send(Ok(Event::InitDone)).unwrap();
        assert_eq!(labels.await, known("prod"));
        namespaces.listed().await;
    }

    /// Returns how long a review waits if the API server is unreachable.
    async fn waits(deadline: Duration) -> Duration {
        let (namespaces, events) = watched();
        events.send(failure()).unwrap();
        let began = Instant::now();
        assert_eq!(namespaces.labels("a", began + deadline).await, NamespaceLabels::Unknown);
        // Tokio's clock stands still unless all tasks wait.
        tokio::time::Instant::now().into_std() - began
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_api_server_delays_a_review_by_a_second() {
        let waited = waits(Duration::from_secs(10)).await;
        assert!((PATIENCE..2 * PATIENCE).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_api_server_never_delays_a_review_past_its_deadline() {
        let deadline = Duration::from_millis(300);
        let waited = waits(deadline).await;
        assert!((deadline..2 * deadline).contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn labels_stay_known_while_the_watch_fails_and_follow_it_afterwards() {
        let (namespaces, events) = watched();
        let list = |tier| [Event::Init, Event::InitApply(namespace("a", tier)), Event::InitDone];
        for event in list("prod") {
            events.send(Ok(event)).unwrap();
        }
        assert_eq!(namespaces.labels("a", soon()).await, known("prod"));
        events.send(failure()).unwrap();
        events.send(Ok(Event::Init)).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(namespaces.labels("a", soon()).await, known("prod"));
        // A namespace that was created after the list.
        events.send(Ok(Event::Apply(namespace("b", "test")))).unwrap();
        assert_eq!(namespaces.labels("b", soon()).await, known("test"));
        events.send(Ok(Event::Delete(namespace("b", "test")))).unwrap();
        for event in list("dev") {
            events.send(Ok(event)).unwrap();
        }
        events.send(Ok(Event::Apply(namespace("last", "")))).unwrap();
        assert_eq!(namespaces.labels("last", soon()).await, known(""));
        assert_eq!(namespaces.labels("a", soon()).await, known("dev"));
        assert_eq!(namespaces.labels("b", soon()).await, NamespaceLabels::Unknown);
    }
}
