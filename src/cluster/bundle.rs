//! The `caBundle` of a webhook configuration: whether it is what it should be, and the patch that makes it so.
//!
//! Ours are the entries that name our Service, or a URL to a host that the certificate is made for, in the configurations of one
//! name. Any other entry is somebody else's, and so is every entry of a configuration that cert-manager was told to fill.

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::http::Uri;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::certificate;
use crate::certificate::trust::{self, TrustError};

/// The annotations by which cert-manager's injector is told to fill `caBundle`.
const INJECTED: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];

/// Which of the two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A MutatingWebhookConfiguration.
    Mutating,
    /// A ValidatingWebhookConfiguration.
    Validating,
}

/// By what the API server calls this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Hosts that a URL may name instead. Default: none.
    pub hosts: Vec<String>,
}

/// What matters of a webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    resource_version: Option<String>,
    injected: bool,
    entries: Vec<Entry>,
}

/// An entry of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    /// The name that the API server asks for.
    host: String,
    /// In PEM; empty where it isn't set.
    bundle: Vec<u8>,
}

impl Kind {
    /// The word for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }
}

impl Service {
    /// The name by which the API server calls it, and for which it wants a certificate.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// The name that the API server asks for by this `clientConfig`; None where it leads elsewhere.
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
    /// Reads the entries that name `service`.
    #[must_use]
    pub fn mutating(configuration: &MutatingWebhookConfiguration, service: &Service) -> Self {
        let entries = configuration.webhooks.iter().flatten();
        Self::read(&configuration.metadata, entries.map(|entry| (&entry.name, &entry.client_config)), service)
    }

    /// Reads the entries that name `service`.
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

    /// The strategic merge patch that sets `bundle`, in PEM, where it isn't set; None where there is nothing to do. It touches
    /// no other field, and the API server refuses it with 409 where the configuration has changed since it was read.
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

    /// Whether every entry trusts all of `cas`; true where there is no entry of ours.
    #[must_use]
    pub fn trusts(&self, cas: &[CertificateDer<'static>]) -> bool {
        self.entries.iter().all(|entry| {
            certificate::certificates(&entry.bundle)
                .is_ok_and(|found| cas.iter().all(|ca| found.contains(ca)))
        })
    }

    /// Verifies `chain` as the API server would, by each entry; None where there is no entry of ours.
    #[must_use]
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Option<Result<(), Untrusted>> {
        let verify = |entry: &Entry| {
            trust::verify(chain, &entry.bundle, &entry.host, now)
                .map_err(|source| Untrusted { entry: entry.name.clone(), source })
        };
        (!self.entries.is_empty()).then(|| self.entries.iter().try_for_each(verify))
    }
}

/// A webhook for which the API server would not trust this server.
#[derive(Debug, thiserror::Error)]
#[error("the caBundle of the webhook `{entry}` does not verify the certificate that is served")]
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
    fn only_the_entries_of_our_service_that_differ_are_patched() {
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
    fn an_entry_with_a_url_is_ours_where_the_certificate_is_made_for_its_host() {
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
    fn a_configuration_that_is_as_it_should_be_gets_no_patch() {
        let found = configuration(
            json!({"metadata": {"name": "gate"}, "webhooks": [entry("a.example", "policy", "gate", Some("UEVN"))]}),
        );
        assert_eq!(found.patch("PEM"), None);
        assert_eq!(configuration(json!({"metadata": {"name": "gate"}})).patch("PEM"), None);
    }

    #[test]
    fn what_cert_manager_fills_is_left_to_it() {
        for annotation in INJECTED {
            let found = configuration(json!({
                "metadata": {"name": "gate", "annotations": {annotation: "policy/certificate"}},
                "webhooks": [entry("a.example", "policy", "gate", None)],
            }));
            assert_eq!(found.patch("PEM"), None, "{annotation}");
        }
    }
}
