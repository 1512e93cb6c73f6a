//! A cluster: the client, the Lease, the watches of policies and namespaces, and one listing for commands.
//!
//! ```text
//! API server ──► supply::cluster::watch ──► Store (active) ──► supply::cluster::status ──► API server    the leader only
//!            ──► namespaces ──► labels, for reviews
//!            ──► nodes ──► placement, for reviews
//!            ◄── revisions (asked for denied updates only)
//!            ──► daemon_sets ──► the metric of DaemonSets without nodes
//! ```
//!
//! A review waits for this module in two cases: for unknown labels of its namespace, and for the revisions of a denied
//! update. Failures of this module never stop the server. While the API server is unreachable,
//! the last known state stays active.

mod daemon_sets;
mod leader;
pub mod listing;
mod namespaces;
mod nodes;
mod revisions;
pub(crate) mod watching;

use std::sync::Arc;

use kube::runtime::reflector;
use kube::{Client, Config};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wardset_placement::KubernetesVersion;

use crate::metrics::Metrics;
use crate::supply::cluster::{status, watch as policies};
use crate::supply::store::Store;

pub use namespaces::Namespaces;
pub use nodes::Nodes;
pub use revisions::Revisions;

/// The server's names in its cluster.
#[derive(Debug, Clone)]
pub struct LeaseNames {
    /// The server's namespace.
    pub namespace: String,
    /// The Lease that elects the replica that writes.
    pub lease: String,
}

/// An error in the connection to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is neither a Pod's service account nor a kubeconfig.
    #[error(
        "failed to find a cluster: expected a Pod's service account or a kubeconfig (`KUBECONFIG`, ~/.kube/config)"
    )]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration is unusable.
    #[error("failed to make a client from the cluster's configuration")]
    Client(#[from] kube::Error),
}

/// The tasks of a server in a cluster.
pub struct Cluster {
    namespaces: Arc<Namespaces>,
    nodes: Arc<Nodes>,
    client: Client,
    resources: policies::Resources,
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    election: JoinSet<()>,
    /// The watches and the task that writes statuses. They end when this set is dropped.
    _tasks: JoinSet<()>,
}

/// Returns a client and the server's namespace. It uses a Pod's service account, else a kubeconfig.
///
/// # Errors
///
/// Neither of them exists, or it is unusable.
pub async fn client() -> Result<(Client, String), ClusterError> {
    let config = Config::infer().await?;
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}

impl Cluster {
    /// Starts to watch the cluster, and keeps `store` up to date.
    #[must_use]
    pub fn start(client: &Client, names: &LeaseNames, store: &Arc<Store>, metrics: &Arc<Metrics>) -> Self {
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
        let (namespaces, writer) = Namespaces::new();
        let namespaces = Arc::new(namespaces);
        tasks.spawn(Arc::clone(&namespaces).watch(client.clone(), writer, Arc::clone(metrics)));
        let nodes = Arc::new(Nodes::new(KubernetesVersion::default()));
        tasks.spawn(Arc::clone(&nodes).watch(client.clone(), Arc::clone(metrics)));
        tasks.spawn(daemon_sets::watch(client.clone(), Arc::clone(metrics)));
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
        Self { namespaces, nodes, client: client.clone(), resources, leading, stop, election, _tasks: tasks }
    }

    /// Returns the labels of namespaces, for reviews.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        Arc::clone(&self.namespaces)
    }

    /// Returns the nodes, for warnings and policies.
    #[must_use]
    pub fn nodes(&self) -> Arc<Nodes> {
        Arc::clone(&self.nodes)
    }

    /// Returns a reader of the revisions of DaemonSets.
    #[must_use]
    pub fn revisions(&self) -> Revisions {
        Revisions::new(self.client.clone())
    }

    /// Returns whether this replica leads and therefore writes.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// Completes once policies and namespaces have been listed and the policies are active.
    pub async fn heard(&self, store: &Store) {
        // The writer belongs to a task that runs until `self` is dropped.
        let _ = self.resources.wait_until_ready().await;
        store.taken(crate::supply::store::Source::Cluster).await;
        self.namespaces.listed().await;
    }

    /// Releases the Lease, so that another replica leads at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.election.join_next().await.is_some() {}
    }
}
