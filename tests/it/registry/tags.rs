//! Tags that move while a server runs: resolved again by an interval or on request. Also the metrics of pulls, and the
//! registries that a server allows.

use std::sync::Arc;

use wardset::metrics::Metrics;
use wardset::supply::RegistrySupply;
use wardset::supply::store::{Source, State, Store, Wanted};
use wardset_signatures::Trust;

use super::policies::{policy, standings, until, wanted};
use super::signatures::Key;
use super::*;
use crate::support;

/// A store with one policy, `a`, whose module is `policy:1`.
struct Server {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
}

impl Server {
    async fn start(registry: &FakeRegistry, trust: Trust, allowed: &[&str]) -> Self {
        let metrics = Arc::new(Metrics::new());
        let modules = support::modules().with_registries(RegistrySupply {
            options: options(registry),
            trust,
            allowed: allowed.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            metrics: metrics.pulls.clone(),
            ..RegistrySupply::default()
        });
        let store = Arc::new(Store::new(Arc::new(modules), Arc::clone(&metrics)).unwrap());
        store.put(Source::Cluster, desired(registry, None)).await;
        Self { store, metrics }
    }

    fn reference(&self) -> String {
        standings(&self.store)[0].module.clone().unwrap().reference.unwrap()
    }

    fn state(&self) -> State {
        standings(&self.store)[0].state.clone()
    }

    /// Returns whether the metrics have all these lines.
    #[track_caller]
    fn counts(&self, lines: &[&str]) {
        let text = self.metrics.to_text();
        for line in lines {
            assert!(text.lines().any(|one| one == *line), "no {line} in\n{text}");
        }
    }
}

fn desired(registry: &FakeRegistry, request: Option<&str>) -> Vec<Wanted> {
    let mut all = wanted(&policy("a", &tagged(registry), "enforce"));
    all[0].resolve_request = request.map(Into::into);
    all
}

#[tokio::test]
async fn a_tag_that_is_resolved_again_costs_one_request_and_its_new_module_becomes_active() {
    let registry = FakeRegistry::start();
    let first = store(&registry, LAYOUTS[0], &component());
    let server = Server::start(&registry, Trust::default(), &[]).await;
    registry.requests();
    server.store.resolve_tags().await;
    assert_eq!(registry.requests(), ["HEAD policy/manifests/1"]);
    // A registry need not name the digest in the headers.
    registry.fail(1, "manifests", &Fault::Bare);
    server.store.resolve_tags().await;
    assert_eq!(registry.requests(), ["HEAD policy/manifests/1", "GET policy/manifests/1"]);
    assert_eq!(server.reference(), tagged(&registry).pinned(&first).to_string());

    let second = store(&registry, LAYOUTS[1], &component());
    server.store.resolve_tags().await;
    let second = tagged(&registry).pinned(&second).to_string();
    until(&server.store, |standing| standing.module.as_ref().unwrap().reference.as_ref() == Some(&second))
        .await;
    assert_eq!(server.state(), State::Ready);
    registry.requests();
    server.store.resolve_tags().await;
    assert_eq!(registry.requests(), ["HEAD policy/manifests/1"]);
    let bytes = format!("wardset_module_pull_bytes_total {}", 2 * component().len());
    server.counts(&[
        "wardset_tag_resolutions_total{result=\"unchanged\"} 3",
        "wardset_tag_resolutions_total{result=\"moved\"} 1",
        "wardset_tag_resolutions_total{result=\"failed\"} 0",
        "wardset_module_pulls_total{result=\"pulled\"} 2",
        "wardset_module_pull_duration_seconds_count 2",
        &bytes,
    ]);
}

#[tokio::test]
async fn a_registry_that_is_away_changes_nothing() {
    let mut registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    let server = Server::start(&registry, Trust::default(), &[]).await;
    let before = standings(&server.store);
    registry.stop();
    server.store.resolve_tags().await;
    assert_eq!(standings(&server.store), before);
    assert!(!server.store.retry().await, "the policy is active");
    server.counts(&["wardset_tag_resolutions_total{result=\"failed\"} 1"]);
}

#[tokio::test]
async fn a_tag_that_moves_to_an_unsigned_module_leaves_the_signed_one_active() {
    let (registry, key) = (FakeRegistry::start(), Key::new());
    let signed = store(&registry, LAYOUTS[0], &component());
    client(&registry).attach(&pinned(&registry, &signed), &key.signatures(&signed)).await.unwrap();
    let server = Server::start(&registry, key.trust(&registry), &[]).await;
    let active = server.reference();

    let unsigned = store(&registry, LAYOUTS[1], &component());
    server.store.resolve_tags().await;
    until(&server.store, |standing| standing.refusal == Some("Unsigned")).await;
    assert!(matches!(server.state(), State::LastGood(problem) if problem.contains(&unsigned)));
    assert_eq!(server.reference(), active);
    server.counts(&[
        "wardset_module_pulls_total{result=\"untrusted\"} 1",
        "wardset_policy_ready{policy=\"a\"} 0",
    ]);
    // The tag returns to the signed module, and the next attempt finds it.
    store(&registry, LAYOUTS[0], &component());
    assert!(server.store.retry().await);
    until(&server.store, |standing| standing.state == State::Ready).await;
    assert_eq!(server.reference(), active);
}

#[tokio::test]
async fn a_tag_that_moves_to_an_unusable_artifact_is_tried_once_until_it_moves_again() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    let server = Server::start(&registry, Trust::default(), &[]).await;
    let active = server.reference();
    store(&registry, LAYOUTS[0], &Bytes::from_static(b"no module"));
    server.store.resolve_tags().await;
    let failed =
        |state: &State| matches!(state, State::LastGood(problem) if problem.contains("other content"));
    until(&server.store, |standing| failed(&standing.state)).await;
    assert_eq!(server.reference(), active);
    registry.requests();
    server.store.resolve_tags().await;
    assert_eq!(registry.requests(), ["HEAD policy/manifests/1"]);
    store(&registry, LAYOUTS[0], &component());
    server.store.resolve_tags().await;
    until(&server.store, |standing| standing.state == State::Ready).await;
}

#[tokio::test]
async fn a_request_resolves_the_tag_again_and_its_repetition_does_not() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    let server = Server::start(&registry, Trust::default(), &[]).await;
    let second = store(&registry, LAYOUTS[1], &component());
    server.store.put(Source::Cluster, desired(&registry, Some("now"))).await;
    assert_eq!(server.reference(), tagged(&registry).pinned(&second).to_string());
    registry.requests();
    server.store.put(Source::Cluster, desired(&registry, Some("now"))).await;
    server.store.put(Source::Cluster, desired(&registry, None)).await;
    assert_eq!(registry.requests(), [""; 0]);
}

#[tokio::test]
async fn a_server_takes_modules_only_from_allowed_registries() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &component());
    let team = format!("{}/team", registry.host);
    let server = Server::start(&registry, Trust::default(), &["registry.example.com", &team]).await;
    let expected = format!(
        "policy `a`: expected a module from `registry.example.com` or `{team}`, found one from `{}/policy`; hint: \
         `--allow-registry` of the server names the allowed registries",
        registry.host
    );
    assert_eq!(server.state(), State::Unready(expected));
    assert_eq!(standings(&server.store)[0].refusal, Some("RegistryNotAllowed"));
    assert!(!server.store.retry().await);
    server.store.resolve_tags().await;
    assert_eq!(registry.requests(), [""; 0], "the server asks only allowed registries");
    let server = Server::start(&registry, Trust::default(), &[&registry.host]).await;
    assert_eq!(server.state(), State::Ready);
}
