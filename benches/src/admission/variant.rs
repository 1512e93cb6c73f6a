//! The ways to admit a DaemonSet that are compared, and the objects that configure each of them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::rules;
use crate::server::{Lab, Server};

/// One way to admit a DaemonSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// The API server alone.
    Nothing,
    /// A webhook that parses the review and answers yes.
    Yes,
    /// So many MutatingAdmissionPolicies, each with one rule.
    Policies(usize),
    /// One MutatingAdmissionPolicy with five rules in one expression.
    OneExpression,
    /// So many policies in one webhook, each with one rule.
    Wardset(usize),
}

impl Variant {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Yes,
        Self::Policies(1),
        Self::Wardset(1),
        Self::OneExpression,
        Self::Policies(5),
        Self::Wardset(5),
        Self::Policies(10),
        Self::Wardset(10),
    ];

    /// The words in the tables.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::Nothing => "none".to_owned(),
            Self::Yes => "webhook that answers yes".to_owned(),
            Self::Policies(1) => "1 MutatingAdmissionPolicy".to_owned(),
            Self::Policies(n) => format!("{n} MutatingAdmissionPolicies"),
            Self::OneExpression => "1 with 5 rules in one expression".to_owned(),
            Self::Wardset(1) => "Wardset, 1 policy".to_owned(),
            Self::Wardset(n) => format!("Wardset, {n} policies"),
        }
    }

    /// The number of rules that it applies.
    #[must_use]
    pub fn rules(self) -> usize {
        match self {
            Self::Nothing | Self::Yes => 0,
            Self::Policies(n) | Self::Wardset(n) => n,
            Self::OneExpression => 5,
        }
    }
}

impl Serialize for Variant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.label())
    }
}

/// The webhooks of all variants that have one. They run all the time.
pub struct Webhooks {
    servers: BTreeMap<Variant, Server>,
    /// The entry of `deploy/install.yaml` for namespaces other than kube-system.
    entry: Value,
    ca: String,
}

impl Webhooks {
    /// Starts the servers.
    ///
    /// # Errors
    ///
    /// A program that is missing or does not become ready, and a manifest without the webhook.
    pub fn start(lab: &Lab, manifest: &Path) -> Result<Self> {
        let text = fs::read_to_string(manifest)
            .with_context(|| format!("failed to read `{}`", manifest.display()))?;
        let documents: Vec<Value> = wardset::yaml::documents(&text)?;
        let shipped = documents.iter().find(|document| document["kind"] == "MutatingWebhookConfiguration");
        let entry = shipped.map(|document| document["webhooks"][0].clone());
        let mut servers = BTreeMap::from([(Variant::Yes, lab.baseline(false)?)]);
        for n in [1, 5, 10] {
            let file = lab.path(&format!("{n}-rules.yaml"));
            fs::write(&file, rules::wardset(n))?;
            let server = Server::start(lab.serve(&file, &lab.path("cache"), &[])?)?;
            servers.insert(Variant::Wardset(n), server);
        }
        Ok(Self {
            servers,
            entry: entry.context("the manifest has no MutatingWebhookConfiguration")?,
            ca: STANDARD.encode(lab.ca()?),
        })
    }

    /// The server of a variant, if it has one.
    #[must_use]
    pub fn server(&self, variant: Variant) -> Option<&Server> {
        self.servers.get(&variant)
    }

    /// The objects that configure a variant, each with its resource and its name.
    #[must_use]
    pub fn configuration(&self, variant: Variant) -> Vec<(&'static str, String, Value)> {
        let policies = match variant {
            Variant::Policies(n) => rules::policies(n),
            Variant::OneExpression => vec![rules::one_policy()],
            _ => Vec::new(),
        };
        let policies = policies.into_iter().flat_map(|(name, spec)| {
            let binding =
                object("MutatingAdmissionPolicyBinding", &name, "spec", &json!({ "policyName": name }));
            let policy = object("MutatingAdmissionPolicy", &name, "spec", &spec);
            [
                ("mutatingadmissionpolicies", name.clone(), policy),
                ("mutatingadmissionpolicybindings", name, binding),
            ]
        });
        let webhook = self.server(variant).map(|server| {
            let webhooks = json!([self.entry(server.webhook)]);
            let name = "bench".to_owned();
            let configuration = object("MutatingWebhookConfiguration", &name, "webhooks", &webhooks);
            ("mutatingwebhookconfigurations", name, configuration)
        });
        policies.chain(webhook).collect()
    }

    fn entry(&self, address: SocketAddr) -> Value {
        let mut entry = self.entry.clone();
        let url = format!("https://{address}/mutate");
        entry["clientConfig"] = json!({ "url": url, "caBundle": self.ca });
        entry
    }
}

fn object(kind: &str, name: &str, member: &str, content: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": name },
        member: content,
    })
}
