//! A webhook whose answers the test chooses, and which records its requests. Only with deliberately wrong answers can a
//! test show how the API server treats them.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wardset::certificates::CertificateFolder;
use wardset::certificates::ServedCertificate;
use wardset::certificates::development;
use wardset::metrics::Metrics;

use crate::registration::{Entries, Kind, PROBE, Registration};
use crate::support::Namespace;

/// A webhook that stops when it is dropped.
pub(crate) struct Canned {
    label: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _registration: Registration,
    // Dropped after the registration, so that the API server never calls a stopped server.
    _server: Answering,
}

/// One recorded review.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The kind of webhook, from the path of the request.
    pub(crate) kind: Kind,
    /// The query of the URL.
    pub(crate) query: String,
    /// The AdmissionReview.
    pub(crate) review: Value,
}

/// An HTTP status and a body. The body is sent as JSON, or as text if it is a string.
pub(crate) type Answer = (u16, Value);

impl Canned {
    /// Starts a webhook with these entries. Each is [`entry`], with the members of the given value on top.
    pub(crate) fn start(
        entries: &[(Kind, Value)],
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let probed = Arc::<Mutex<Vec<Kind>>>::default();
        let server = Answering::start({
            let (asked, probed) = (Arc::clone(&asked), Arc::clone(&probed));
            move |one: Asked| {
                if one.request()["name"] == PROBE {
                    probed.lock().unwrap().push(one.kind);
                    return one.allow();
                }
                asked.lock().unwrap().push(one.clone());
                answer(&one)
            }
        });
        let name = Registration::name();
        let label = Registration::label(&name);
        let entries: Entries = entries.iter().map(|(kind, own)| (*kind, entry(&label, own))).collect();
        let ca = server.folder.path().join("ca.pem");
        let registration = Registration::create(name, entries, server.port, &ca, |kind| {
            probed.lock().unwrap().contains(&kind)
        });
        Self { label, asked, _registration: registration, _server: server }
    }

    /// Returns the label of the namespaces in which the API server calls the webhook.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Creates a namespace in which the API server calls the webhook.
    pub(crate) fn namespace(&self, prefix: &str) -> Namespace {
        Namespace::labelled(prefix, &[&self.label])
    }

    /// Returns the recorded reviews.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the kind and operation of each recorded review, such as `Mutating CREATE`.
    pub(crate) fn operations(&self) -> Vec<String> {
        let asked = self.asked();
        asked
            .iter()
            .map(|one| format!("{:?} {}", one.kind, one.request()["operation"].as_str().unwrap()))
            .collect()
    }
}

impl Asked {
    /// Returns the request of the review.
    pub(crate) fn request(&self) -> &Value {
        &self.review["request"]
    }

    /// Returns the object's name. It is empty if the API server has yet to generate it.
    pub(crate) fn name(&self) -> &str {
        self.request()["name"].as_str().unwrap_or_default()
    }

    /// Returns an answer that allows the object.
    pub(crate) fn allow(&self) -> Answer {
        self.respond(&json!({ "allowed": true }))
    }

    /// Returns an answer that allows the object with a patch.
    pub(crate) fn patch(&self, patch: &Value) -> Answer {
        self.respond(&json!({ "allowed": true, "patchType": "JSONPatch", "patch": encode(patch) }))
    }

    /// Returns this response. It gets the review's uid if it has none.
    pub(crate) fn respond(&self, response: &Value) -> Answer {
        let mut response = response.clone();
        if response["uid"].is_null() {
            response["uid"] = self.request()["uid"].clone();
        }
        (200, json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }))
    }
}

/// Returns a patch in the encoding of a response.
pub(crate) fn encode(patch: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(patch.to_string())
}

/// Returns an entry for DaemonSets in namespaces with this label. Members of `own` replace the defaults.
fn entry(label: &str, own: &Value) -> Value {
    let mut entry = json!({
        "name": "canned.wardset.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "failurePolicy": "Fail",
        "namespaceSelector": { "matchExpressions": [{ "key": label, "operator": "Exists" }] },
        "rules": [{
            "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["daemonsets"],
            "operations": ["CREATE", "UPDATE"],
        }],
    });
    for (key, value) in own.as_object().unwrap() {
        entry[key] = value.clone();
    }
    entry
}

/// An HTTPS server on loopback, and its threads.
struct Answering {
    port: u16,
    folder: TempDir,
    runtime: Option<Runtime>,
}

impl Answering {
    fn start(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        development::make(folder.path()).unwrap();
        let served = Arc::new(ServedCertificate::new(Metrics::new().certificates));
        CertificateFolder::open(&folder.path().join("tls"), Arc::clone(&served)).unwrap();
        let config = RustlsConfig::from_config(wardset_port::config(served, None).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        let router = Router::new().fallback(async move |request: Request| {
            let kind =
                if request.uri().path() == Kind::Mutating.path() { Kind::Mutating } else { Kind::Validating };
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 16 << 20).await.unwrap();
            let asked = Asked { kind, query, review: serde_json::from_slice(&body).unwrap() };
            // An answer may block.
            let (status, body) = tokio::task::spawn_blocking(move || answer(asked)).await.unwrap();
            let (media_type, body) = match body {
                Value::String(text) => ("text/plain; charset=utf-8", text),
                body => ("application/json", body.to_string()),
            };
            (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, media_type)], body)
        });
        runtime.spawn(async move {
            let server = axum_server::from_tcp_rustls(listener, config).unwrap();
            server.serve(router.into_make_service()).await.unwrap();
        });
        Self { port, folder, runtime: Some(runtime) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
