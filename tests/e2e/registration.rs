//! Webhook configurations of one test: the API server asks for that test's objects only, and they go with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Kubectl, eventually, unique};

/// One configuration of each kind that has entries, both of one name. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    name: String,
}

/// Entries of both configurations, but for their `clientConfig`.
pub(crate) type Entries = Vec<(Kind, Value)>;

/// When the API server asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// After defaults, before validation.
    Mutating,
    /// After validation.
    Validating,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    /// The path of Wardset's that is asked.
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
    /// A name for a registration, and for the label by which it tells its own objects. Webhooks are called in the order of
    /// their configurations' names, so in the order in which they were named.
    pub(crate) fn name() -> String {
        unique("e2e")
    }

    /// Registers a server on this port of loopback, and waits until the API server asks it: until `asked` has seen a
    /// review of the DaemonSet [`PROBE`] on the path of each kind.
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

    /// The key of the label that its namespaces have, or its objects.
    pub(crate) fn label(name: &str) -> String {
        format!("e2e.wardset.dev/{name}")
    }

    /// Asks for a DaemonSet that is never stored, until the API server asks.
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
        eventually(Duration::from_secs(30), "the API server asks the webhook", || {
            let run =
                kubectl.run_with_input(&["create", "--dry-run=server", "--filename=-"], &probe.to_string());
            if asked() { Ok(()) } else { Err(run) }
        });
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // No second panic while a test fails: nothing of this matches another test's objects.
        let kubectl = Kubectl::new();
        let kinds = Kind::ALL.map(Kind::resource).join(",");
        kubectl.run(&["delete", &kinds, &self.name, "--ignore-not-found", "--wait=false"]);
        kubectl.run(&["delete", "namespace", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

/// The entries for DaemonSets that `deploy/install.yaml` registers.
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
    assert_eq!(entries.len(), 4, "each kind has an entry for kube-system, and one for the other namespaces");
    entries
}

/// The name of the DaemonSet that finds out whether the API server asks already.
pub(crate) const PROBE: &str = "probe";
