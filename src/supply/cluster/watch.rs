//! Watches `Policy` resources and hands each change to the store.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::{self, Store as Cache};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::Notify;
use wardset_core::policy::{API_VERSION, Policy, PolicyError, Resource};
use wardset_core::text;

use crate::cluster::watching::{backoff, watch_failed};
use crate::metrics::Metrics;
use crate::supply::store::{Source, Store, Wanted};

/// The annotation by which a user asks to resolve the tag of a policy's module again. Each change of its value counts.
const RESOLVE_REQUEST: &str = "wardset.dev/resolve-requested-at";

/// Maximum length of an error about a malformed policy, in bytes.
const MAX_PROBLEM: usize = 1024;

/// The last known `Policy` resources, without parsing them: a malformed one must not break the watch of the others.
pub(crate) type Resources = Cache<DynamicObject>;

/// Returns the API of the `Policy` kind.
pub(crate) fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &kind())
}

/// Returns the `Policy` kind.
pub(crate) fn kind() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("wardset.dev", "v1alpha1", "Policy"))
}

/// Watches until the process stops, and keeps `store` up to date. `writer` fills `resources`.
pub(crate) async fn watch(
    client: Client,
    writer: reflector::store::Writer<DynamicObject>,
    resources: Resources,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
) {
    let changed = Notify::new();
    let heard = async {
        let slim = |resource: &mut DynamicObject| resource.managed_fields_mut().clear();
        let events = watcher(api(client), watcher::Config::default()).backoff(backoff()).modify(slim);
        let mut events = events.reflect(writer).boxed();
        while let Some(event) = events.next().await {
            match event {
                // During a list, the cache still holds the previous state.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => changed.notify_one(),
                Err(error) => watch_failed(&metrics, "policies", &error),
            }
        }
    };
    let applied = async {
        loop {
            // Changes that arrive in the meantime are applied together in the next round.
            changed.notified().await;
            let mut wanted: Vec<Wanted> = resources.state().iter().map(|resource| wanted(resource)).collect();
            wanted.sort_by(|a, b| a.name.cmp(&b.name));
            store.put(Source::Cluster, wanted).await;
        }
    };
    tokio::join!(heard, applied);
}

/// Returns a text that differs between any two different `spec`s.
pub(crate) fn revision(resource: &DynamicObject) -> String {
    resource.data.get("spec").map(Value::to_string).unwrap_or_default()
}

fn wanted(resource: &DynamicObject) -> Wanted {
    let name: Arc<str> = resource.name_any().into();
    let read = |spec: Option<&Value>| policy(&name, spec);
    // For a policy from a cluster, `file:` is a path in the server's own file system.
    let policy = read(resource.data.get("spec")).map(|policy| (policy, PathBuf::new()));
    let last_good = resource.data.pointer("/status/lastGood/spec").and_then(|spec| read(Some(spec)).ok());
    let resolve_request = resource.annotations().get(RESOLVE_REQUEST).map(|value| value.as_str().into());
    Wanted { revision: revision(resource).into(), policy, last_good, resolve_request, name }
}

fn policy(name: &str, spec: Option<&Value>) -> Result<Policy, String> {
    let resource =
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": name}, "spec": spec});
    let resource: Resource =
        serde_json::from_value(resource).map_err(|error| text::one_line(&error.to_string(), MAX_PROBLEM))?;
    Policy::try_from(resource).map_err(|error: PolicyError| text::with_causes(&error, MAX_PROBLEM))
}
