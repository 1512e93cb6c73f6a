//! The `caBundle` of a webhook configuration: checks it, and makes the patch that corrects it.
//!
//! Wardset manages the entries of one MutatingWebhookConfiguration and one ValidatingWebhookConfiguration. It manages
//! an entry if the entry names its Service, or a URL with a host of its certificate. It leaves all other entries
//! alone, and all entries of a configuration that cert-manager fills.

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::http::Uri;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::certificates;
use crate::certificates::trust::{self, TrustError};

/// Annotations that tell cert-manager's injector to fill `caBundle`.
const INJECTED: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// The kind of a webhook configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A MutatingWebhookConfiguration.
    Mutating,
    /// A ValidatingWebhookConfiguration.
    Validating,
}

/// The names that lead the API server to this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Hosts that a URL may name instead of the Service. Default: none.
    pub hosts: Vec<String>,
}

/// The relevant part of a webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    resource_version: Option<String>,
    injected: bool,
    entries: Vec<Entry>,
}

/// An entry that Wardset manages.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    /// The name that the API server requires in the certificate.
    host: String,
    /// The bundle in PEM; empty if it is not set.
    bundle: Vec<u8>,
}

impl Kind {
    /// Returns the kind's name in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }
}

impl Service {
    /// Returns the name that the API server calls and requires in the certificate.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// Returns the name that the API server requires in the certificate for this `clientConfig`. Returns `None` if
    /// the entry leads to another server.
    fn reached(&self, client: &WebhookClientConfig) -> Option<String> {
        if let Some(service) = &client.service {
            return (service.name == self.name && service.namespace == self.namespace).then(|| self.host());
        }
        let url: Uri = client.url.as_ref()?.parse().ok()?;
        let host = url.host()?.to_ascii_lowercase();
        self.hosts.contains(&host).then_some(host)
    }
}

impl Configuration {
    /// Reads the entries that lead to `service`.
    #[must_use]
    pub fn mutating(configuration: &MutatingWebhookConfiguration, service: &Service) -> Self {
        let entries = configuration.webhooks.iter().flatten();
        Self::read(&configuration.metadata, entries.map(|entry| (&entry.name, &entry.client_config)), service)
    }

    /// Reads the entries that lead to `service`.
    #[must_use]
    pub fn validating(configuration: &ValidatingWebhookConfiguration, service: &Service) -> Self {
        let entries = configuration.webhooks.iter().flatten();
        Self::read(&configuration.metadata, entries.map(|entry| (&entry.name, &entry.client_config)), service)
    }

    fn read<'a>(
        metadata: &ObjectMeta,
        entries: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>,
        service: &Service,
    ) -> Self {
        let annotations: Option<&BTreeMap<_, _>> = metadata.annotations.as_ref();
        let entries = entries.filter_map(|(name, client)| {
            let bundle = client.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
            Some(Entry { name: name.clone(), host: service.reached(client)?, bundle })
        });
        Self {
            resource_version: metadata.resource_version.clone(),
            injected: annotations.is_some_and(|all| INJECTED.iter().any(|name| all.contains_key(*name))),
            entries: entries.collect(),
        }
    }

    /// Returns the strategic merge patch that sets `bundle` (PEM) in every entry that has another one. Returns `None`
    /// if nothing needs to change. The patch touches no other field. The API server rejects it with 409 if the
    /// configuration has changed in the meantime.
    #[must_use]
    pub fn patch(&self, bundle: &str) -> Option<Value> {
        if self.injected {
            return None;
        }
        let other = self.entries.iter().filter(|entry| entry.bundle != bundle.as_bytes());
        let encoded = json!(k8s_openapi::ByteString(bundle.as_bytes().to_vec()));
        let entries: Vec<_> =
            other.map(|entry| json!({"name": entry.name, "clientConfig": {"caBundle": encoded}})).collect();
        (!entries.is_empty())
            .then(|| json!({"metadata": {"resourceVersion": self.resource_version}, "webhooks": entries}))
    }

    /// Returns whether every managed entry trusts all of `cas`. True if there is no managed entry.
    #[must_use]
    pub fn trusts(&self, cas: &[CertificateDer<'static>]) -> bool {
        self.entries.iter().all(|entry| {
            certificates::certificates(&entry.bundle)
                .is_ok_and(|found| cas.iter().all(|ca| found.contains(ca)))
        })
    }

    /// Verifies `chain` against each managed entry, as the API server does. Returns `None` if there is no managed
    /// entry.
    #[must_use]
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Option<Result<(), Untrusted>> {
        let verify = |entry: &Entry| {
            trust::verify(chain, &entry.bundle, &entry.host, now)
                .map_err(|source| Untrusted { entry: entry.name.clone(), source })
        };
        (!self.entries.is_empty()).then(|| self.entries.iter().try_for_each(verify))
    }
}

/// An error that names a webhook for which the API server would not trust this server.
#[derive(Debug, thiserror::Error)]
#[error("failed to verify the served certificate against the caBundle of webhook `{entry}`")]
pub struct Untrusted {
    entry: String,
    source: TrustError,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(value: Value) -> Configuration {
        let [namespace, name, host] = ["policy", "gate", "localhost"].map(str::to_owned);
        let service = Service { namespace, name, hosts: vec![host] };
        Configuration::mutating(&serde_json::from_value(value).unwrap(), &service)
    }

    fn entry(name: &str, namespace: &str, service: &str, bundle: Option<&str>) -> Value {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": namespace, "name": service}, "caBundle": bundle},
        })
    }

    #[test]
    fn patches_only_entries_of_our_service_that_differ() {
        let found = configuration(json!({"metadata": {"name": "gate", "resourceVersion": "7"}, "webhooks": [
            entry("a.example", "policy", "gate", None),
            entry("b.example", "policy", "gate", Some("UEVN")),
            entry("c.example", "policy", "another", None),
            entry("d.example", "other", "gate", None),
        ]}));
        let expected = json!({"metadata": {"resourceVersion": "7"}, "webhooks": [
            {"name": "a.example", "clientConfig": {"caBundle": "UEVN"}},
        ]});
        assert_eq!(found.patch("PEM"), Some(expected));
    }

    #[test]
    fn manages_an_entry_with_a_url_if_the_certificate_has_its_host() {
        let entry = |url: &str| {
            json!({
                "name": url, "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": url},
            })
        };
        let found = configuration(json!({"metadata": {"name": "gate"}, "webhooks": [
            entry("https://Localhost:8443/mutate"), entry("https://localhost.example/mutate"), entry("nonsense"),
        ]}));
        let patch = found.patch("PEM").unwrap();
        assert_eq!(patch["webhooks"].as_array().unwrap().len(), 1);
        assert_eq!(patch["webhooks"][0]["name"], "https://Localhost:8443/mutate");
    }

    #[test]
    fn makes_no_patch_if_the_bundle_is_correct() {
        let found = configuration(
            json!({"metadata": {"name": "gate"}, "webhooks": [entry("a.example", "policy", "gate", Some("UEVN"))]}),
        );
        assert_eq!(found.patch("PEM"), None);
        assert_eq!(configuration(json!({"metadata": {"name": "gate"}})).patch("PEM"), None);
    }

    #[test]
    fn leaves_configurations_alone_that_cert_manager_fills() {
        for annotation in INJECTED {
            let found = configuration(json!({
                "metadata": {"name": "gate", "annotations": {annotation: "policy/certificate"}},
                "webhooks": [entry("a.example", "policy", "gate", None)],
            }));
            assert_eq!(found.patch("PEM"), None, "{annotation}");
        }
    }
}
