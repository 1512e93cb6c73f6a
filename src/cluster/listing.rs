//! One listing of the nodes, pods and DaemonSets of a cluster, for commands.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wardset_placement::KubernetesVersion;

use crate::preview::{Inventory, InventoryError};

/// Time for one answer of the API server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// Why a cluster cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The API server refuses the list, or does not answer.
    #[error("failed to list {kind}; hint: check your permission with `kubectl auth can-i list {kind}`")]
    List {
        /// The resource, such as `nodes`.
        kind: String,
        /// The cause.
        source: kube::Error,
    },
    /// The API server accepts the connection and does not answer.
    #[error("the API server did not answer within {} s; hint: test the connection with `kubectl version`", PATIENCE.as_secs())]
    TimedOut,
    /// The API server does not return its version.
    #[error("failed to read the version of the cluster")]
    Version(#[source] kube::Error),
    /// An object that this program cannot read.
    #[error("failed to read an object of the cluster")]
    Object(#[from] InventoryError),
    /// An object that cannot be written as JSON.
    #[error("failed to write an object of the cluster as JSON")]
    Json(#[from] serde_json::Error),
}

/// Adds all nodes, pods and DaemonSets to the inventory, and returns the cluster's version. Without permission to list
/// pods, it reports that and adds none. If Wardset does not support the cluster's version, it returns the newest supported
/// one.
///
/// # Errors
///
/// The API server cannot be reached, or refuses to list nodes or DaemonSets.
pub async fn fill(
    client: &Client,
    inventory: &mut Inventory,
    say: impl Fn(&str),
) -> Result<KubernetesVersion, ListingError> {
    let version = in_time(client.apiserver_version()).await?.map_err(ListingError::Version)?;
    let version = known(&version.major, &version.minor, &say);
    add::<Node>(Api::all(client.clone()), inventory).await?;
    add::<DaemonSet>(everywhere(client), inventory).await?;
    match add::<Pod>(everywhere(client), inventory).await {
        Ok(()) => inventory.with_all_pods(),
        Err(error @ ListingError::List { .. }) => {
            say(&format!("note: {error}; assuming a pod on each matching node"));
        }
        Err(error) => return Err(error),
    }
    Ok(version)
}

fn everywhere<K>(client: &Client) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::all(client.clone())
}

async fn add<K>(api: Api<K>, inventory: &mut Inventory) -> Result<(), ListingError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let failed = |source| ListingError::List { kind: K::plural(&()).into_owned(), source };
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = in_time(api.list(&page)).await?.map_err(failed)?;
        for object in &list.items {
            // The items of a list have no `apiVersion` and `kind` of their own.
            let mut object = serde_json::to_value(object)?;
            if let Value::Object(members) = &mut object {
                members.insert("apiVersion".to_owned(), K::api_version(&()).into());
                members.insert("kind".to_owned(), K::kind(&()).into());
            }
            inventory.add(object, "the cluster")?;
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Waits for one answer of the API server.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, ListingError> {
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| ListingError::TimedOut)
}

fn known(major: &str, minor: &str, say: &impl Fn(&str)) -> KubernetesVersion {
    let text = format!("{major}.{minor}");
    text.parse().unwrap_or_else(|error| {
        let version = KubernetesVersion::NEWEST;
        say(&format!("note: the cluster has Kubernetes {text}: {error}; using the rules of {version}"));
        version
    })
}
