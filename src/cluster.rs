//! A server in a cluster: policies and namespaces that it watches, what it writes back, and who of the replicas writes.
//!
//! ```text
//! API server ──► policies ──► Store (in force) ──► status ──► API server     the leader only
//!            ──► namespaces ──► labels, for reviews
//!            ──► certificates ──► ServedCertificate; Secret and caBundle ──► API server
//! ```
//!
//! Nothing here is on the path of a review, and nothing here ends the server: while the API server is away, what was heard
//! last goes on.

pub mod bundle;
pub mod certificates;
mod leader;
mod namespaces;
mod policies;
mod status;

use std::sync::Arc;

use kube::runtime::reflector;
use kube::{Client, Config};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::store::Store;

pub use namespaces::Namespaces;
pub use status::PolicyStatus;

/// The names that a server has in its cluster.
#[derive(Debug, Clone)]
pub struct Names {
    /// Its namespace.
    pub namespace: String,
    /// The Lease by which replicas agree on who writes.
    pub lease: String,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither a Pod's service account nor a kubeconfig.
    #[error("no cluster: expected a Pod's service account or a kubeconfig (`KUBECONFIG`, ~/.kube/config)")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration can't be used.
    #[error("the cluster's configuration can't be used")]
    Client(#[from] kube::Error),
}

/// The tasks of a server in a cluster.
pub struct Cluster {
    namespaces: Arc<Namespaces>,
    resources: policies::Resources,
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    election: JoinSet<()>,
    /// Watches and the status; they end with this.
    _tasks: JoinSet<()>,
}

/// A client as the surroundings say: a Pod's service account, else a kubeconfig.
///
/// # Errors
///
/// Neither, or one that can't be used.
pub async fn client() -> Result<(Client, String), ClusterError> {
    let config = Config::infer().await?;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}

impl Cluster {
    /// Starts to watch, and to keep `store` at what is wanted.
    #[must_use]
    pub fn start(client: &Client, names: &Names, store: &Arc<Store>, metrics: &Arc<Metrics>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (leads, leading) = watch::channel(false);
        let mut election = JoinSet::new();
        election.spawn(leader::stand(
            client.clone(),
            names.namespace.clone(),
            names.lease.clone(),
            leads,
            Arc::clone(metrics),
            stopping,
        ));
        let mut tasks = JoinSet::new();
        let namespaces = Arc::new(Namespaces::default());
        tasks.spawn(Arc::clone(&namespaces).watch(client.clone(), Arc::clone(metrics)));
        let writer = reflector::store::Writer::new(policies::kind());
        let resources = writer.as_reader();
        tasks.spawn(policies::watch(
            client.clone(),
            writer,
            resources.clone(),
            Arc::clone(store),
            Arc::clone(metrics),
        ));
        tasks.spawn(status::keep(client.clone(), resources.clone(), store.standings(), leading.clone()));
        Self { namespaces, resources, leading, stop, election, _tasks: tasks }
    }

    /// Labels of namespaces, for reviews.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        Arc::clone(&self.namespaces)
    }

    /// Whether this replica is the one that writes.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Completes once policies and namespaces were heard of for the first time, and the policies are in force.
    pub async fn heard(&self, store: &Store) {
        // The writer is in a task that goes on until this is dropped.
        let _ = self.resources.wait_until_ready().await;
        store.taken(crate::store::Source::Cluster).await;
        self.namespaces.listed().await;
    }

    /// Gives the Lease back, so that another replica goes on at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.election.join_next().await.is_some() {}
    }
}

/// Says that a watch broke. It is taken up again.
fn watch_failed(metrics: &Metrics, what: &'static str, error: &kube::runtime::watcher::Error) {
    metrics.watch_failed(what);
    tracing::warn!(what, error = %error, "a watch of the cluster broke; what was heard last goes on");
}
