//! Webhook configurations of one test. They select only that test's objects, and the test deletes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Kubectl, eventually, unique};

/// One configuration of each kind that has entries; both have the same name. They are deleted on drop.
#[derive(Debug)]
pub(crate) struct Registration {
    name: String,
}

/// Entries of both configurations, without their `clientConfig`.
pub(crate) type Entries = Vec<(Kind, Value)>;

/// The point at which the API server calls the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// After defaults, before validation.
    Mutating,
    /// After validation.
    Validating,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    /// Returns Wardset's path for this kind.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Mutating => "/mutate",
            Self::Validating => "/validate",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

impl Registration {
    /// Returns a name for a registration and its label. The API server calls webhooks in the order of their
    /// configurations' names, and each name sorts after those from earlier calls.
    pub(crate) fn name() -> String {
        unique("e2e")
    }

    /// Registers a server on this loopback port, and waits until the API server calls it. `asked` must return true
    /// after a review of the DaemonSet [`PROBE`] arrived on the path of the kind.
    pub(crate) fn create(
        name: String,
        entries: Entries,
        port: u16,
        ca: &Path,
        asked: impl Fn(Kind) -> bool,
    ) -> Self {
        let ca = base64::engine::general_purpose::STANDARD.encode(std::fs::read(ca).unwrap());
        let mut webhooks: BTreeMap<Kind, Vec<Value>> = BTreeMap::new();
        for (kind, mut entry) in entries {
            let url = format!("https://127.0.0.1:{port}{}", kind.path());
            entry["clientConfig"] = json!({ "url": url, "caBundle": ca });
            webhooks.entry(kind).or_default().push(entry);
        }
        let kinds: Vec<Kind> = webhooks.keys().copied().collect();
        let items: Vec<Value> = webhooks
            .into_iter()
            .map(|(kind, webhooks)| {
                json!({
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": kind.resource(),
                    "metadata": { "name": name },
                    "webhooks": webhooks,
                })
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let registration = Self { name };
        Kubectl::new().run_with_input(&["create", "--filename=-"], &list.to_string()).succeeded();
        registration.wait(|| kinds.iter().all(|kind| asked(*kind)));
        registration
    }

    /// Returns the key of the label that its namespaces or objects have.
    pub(crate) fn label(name: &str) -> String {
        format!("e2e.wardset.dev/{name}")
    }

    /// Creates a DaemonSet in dry runs until the API server calls the webhook.
    fn wait(&self, asked: impl Fn() -> bool) {
        let kubectl = Kubectl::new();
        let labels = json!({ Self::label(&self.name): "" });
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.name, "labels": labels },
        });
        kubectl.run_with_input(&["create", "--filename=-"], &namespace.to_string()).succeeded();
        let probe = json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": { "name": PROBE, "namespace": self.name, "labels": labels },
            "spec": {
                "selector": { "matchLabels": { "app": PROBE } },
                "template": {
                    "metadata": { "labels": { "app": PROBE } },
                    "spec": { "containers": [{ "name": PROBE, "image": PROBE }] },
                },
            },
        });
        eventually(Duration::from_secs(30), "the API server calls the webhook", || {
            let run =
                kubectl.run_with_input(&["create", "--dry-run=server", "--filename=-"], &probe.to_string());
            if asked() { Ok(()) } else { Err(run) }
        });
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Does not panic, because the test may be failing already. Leftovers match no objects of other tests.
        let kubectl = Kubectl::new();
        let kinds = Kind::ALL.map(Kind::resource).join(",");
        kubectl.run(&["delete", &kinds, &self.name, "--ignore-not-found", "--wait=false"]);
        kubectl.run(&["delete", "namespace", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

/// Returns the entries for DaemonSets in `deploy/install.yaml`.
pub(crate) fn shipped() -> Entries {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.yaml");
    let documents = wardset::yaml::documents::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut entries = Vec::new();
    for kind in Kind::ALL {
        let configuration = documents.iter().find(|document| document["kind"] == kind.resource()).unwrap();
        for entry in configuration["webhooks"].as_array().unwrap() {
            if entry["clientConfig"]["service"]["path"] == kind.path() {
                entries.push((kind, entry.clone()));
            }
        }
    }
    assert_eq!(
        entries.len(),
        4,
        "expected an entry for kube-system and one for other namespaces, of each kind"
    );
    entries
}

/// The name of the DaemonSet that detects when the API server starts to call a webhook.
pub(crate) const PROBE: &str = "probe";
