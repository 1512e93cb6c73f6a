//! Checks the webhook contract of Kubernetes over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use reqwest::{Client, Response, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wardset::admission::{Desk, Judge, NamespaceSource};
use wardset::certificates::{CertificateFolder, ServedCertificate, development};
use wardset::metrics::Metrics;
use wardset::server::{Addresses, Limits, Options, ServeError};
use wardset::supply::policy_files;
use wardset::supply::store::{Source, Store};
use wardset_core::policy::NamespaceLabels;
use wardset_runtime::{Evaluator, Snapshot};

use crate::support::{self, admission_review, daemonset};

pub(crate) struct Server {
    pub(crate) addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
    pub(crate) certificates: TempDir,
}

impl Server {
    pub(crate) async fn with(snapshot: Snapshot, max_in_flight: usize) -> Self {
        Self::at(desk_with(snapshot, max_in_flight), Arc::default(), |it| it)
    }

    /// Starts a server that decides with `snapshot`, with changed options.
    pub(crate) fn launch(snapshot: Snapshot, change: impl FnOnce(Options) -> Options) -> Self {
        Self::at(desk(snapshot), Arc::default(), change)
    }

    /// Starts a server with the default policies, loaded as in `wardset serve`.
    async fn start() -> Self {
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(Store::new(Arc::new(support::modules()), Arc::clone(&metrics)).unwrap());
        let wanted = policy_files::defaults().unwrap().into_iter().map(Into::into).collect();
        store.put(Source::Files, wanted).await;
        let evaluator = Evaluator::new(support::engine(), 64);
        let judge = judge(store.live(), evaluator);
        Self::at(Desk { judge, modules: store.modules() }, metrics, |it| it)
    }

    pub(crate) fn at(desk: Desk, metrics: Arc<Metrics>, change: impl FnOnce(Options) -> Options) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        development::make(certificates.path()).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let tls = wardset_port::config(served(certificates.path(), &metrics), None).unwrap();
        let bound = change(options(any)).bind().unwrap();
        let addresses = bound.addresses;
        let (stop, stopped) = oneshot::channel();
        let desk = Desk { judge: desk.judge.observed_by(Arc::clone(&metrics)), ..desk };
        let open = bound.open(metrics).unwrap();
        let running = tokio::spawn(open.run(tls, desk, async { stopped.await.unwrap_or(()) }));
        Self { addresses, stop: Some(stop), running, certificates }
    }

    pub(crate) fn client(&self) -> Client {
        client(self.certificates.path(), |builder| builder)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addresses.webhook.port())
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client().post(self.url(path)).header("Content-Type", "application/json");
        request.body(body).send().await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.addresses.admin)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn shut_down(mut self) {
        self.begin_shut_down();
        self.running.await.unwrap().unwrap();
    }

    /// Starts a shutdown, as SIGTERM does.
    pub(crate) fn begin_shut_down(&mut self) {
        // Fails if the server has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// Returns a desk whose snapshot never changes.
pub(crate) fn desk(snapshot: Snapshot) -> Desk {
    desk_with(snapshot, 64)
}

/// Returns a desk with a limit of reviews in flight.
pub(crate) fn desk_with(snapshot: Snapshot, max_in_flight: usize) -> Desk {
    let evaluator = Evaluator::new(support::engine(), max_in_flight);
    let judge = judge(Arc::new(ArcSwap::from_pointee(snapshot)), evaluator);
    Desk { judge, modules: Arc::new(support::modules()) }
}

fn judge(policies: Arc<ArcSwap<Snapshot>>, evaluator: Evaluator) -> Judge {
    Judge::new(policies, NamespaceSource::Fixed(NamespaceLabels::Unknown), evaluator)
}

/// Returns the options of a server, with both ports at `address`.
pub(crate) fn options(address: SocketAddr) -> Options {
    Options {
        listen: address,
        admin: address,
        max_connections: 64,
        drain: Duration::from_secs(10),
        limits: Limits::default(),
    }
}

/// Returns the certificate in the folder `certificates`, in the layout of `development::make`.
fn served(certificates: &Path, metrics: &Metrics) -> Arc<ServedCertificate> {
    let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
    CertificateFolder::open(&certificates.join("tls"), Arc::clone(&served)).unwrap();
    served
}

pub(crate) fn client(
    certificates: &Path,
    build: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Client {
    // Fails if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(certificates.join("ca.pem")).unwrap()).unwrap();
    build(Client::builder().add_root_certificate(ca).use_rustls_tls()).build().unwrap()
}

/// A body of this number of blanks, chunked and without a stated length.
struct Blanks(usize);

impl http_body::Body for Blanks {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let chunk = self.0.min(1 << 16);
        self.0 -= chunk;
        Poll::Ready((chunk > 0).then(|| Ok(http_body::Frame::data(vec![b' '; chunk].into()))))
    }
}

/// A body with a stated length that never sends any data.
struct Never(u64);

impl http_body::Body for Never {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

async fn refusal(response: Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn allows_with_a_patch() {
    let server = Server::start().await;
    let client = client(server.certificates.path(), |builder| builder);
    let request = client
        .post(server.url("/mutate?timeout=10s"))
        .header("Content-Type", "application/json; charset=utf-8");
    let response = request.body(admission_review(&daemonset(), None)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_11));
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &answer["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let patch =
        base64::engine::general_purpose::STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut object = daemonset();
    json_patch::patch(&mut object, &patch).unwrap();
    let affinity = &object["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
    assert!(affinity["requiredDuringSchedulingIgnoredDuringExecution"].is_object(), "{object}");
    // A review of the stored object changes nothing.
    let again = server.post("/mutate", admission_review(&object, None)).await;
    let again: Value = serde_json::from_str(&again.text().await.unwrap()).unwrap();
    assert!(
        again["response"].get("patch").is_none() && again["response"].get("patchType").is_none(),
        "{again}"
    );
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denies_with_a_code_and_a_message_that_names_the_fix() {
    let server = Server::start().await;
    let mut volatile = daemonset();
    volatile["spec"]["selector"]["matchLabels"]["version"] = json!("v1");
    volatile["spec"]["template"]["metadata"]["labels"]["version"] = json!("v1");
    let mut mismatched = daemonset();
    mismatched["spec"]["selector"]["matchLabels"]["k8s-app"] = json!("other");
    for path in ["/mutate", "/validate"] {
        for (object, code, reason, pointer) in [
            (&volatile, 403, "Forbidden", "/spec/selector/matchLabels/version"),
            (&mismatched, 422, "Invalid", "/spec/selector"),
        ] {
            let response = server.post(path, admission_review(object, None)).await;
            assert_eq!(response.status().as_u16(), 200);
            let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            let response = &answer["response"];
            assert_eq!(
                (&response["allowed"], &response["status"]["code"]),
                (&json!(false), &json!(code)),
                "{answer}"
            );
            assert_eq!(response["status"]["reason"], reason);
            let message = response["status"]["message"].as_str().unwrap();
            assert!(
                message.contains("selector-safety")
                    && message.contains(pointer)
                    && message.contains("to fix it:"),
                "{message}"
            );
            assert!(response.get("patch").is_none());
        }
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_malformed_requests_with_a_reason_on_one_line() {
    let server = Server::start().await;
    let good = || admission_review(&daemonset(), None);
    let v1beta1 =
        String::from_utf8(good()).unwrap().replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    let repeated =
        String::from_utf8(good()).unwrap().replace(r#"{"matchLabels""#, r#"{"a":1,"a":2,"matchLabels""#);
    for (path, body, status, line) in [
        (
            "/mutate",
            b"{\"a\":".to_vec(),
            400,
            "failed to parse the body as an AdmissionReview: expected a JSON value at byte 5\n",
        ),
        ("/mutate", b"\xff\xfe".to_vec(), 400, "failed to parse the body as an AdmissionReview: "),
        ("/mutate", Vec::new(), 400, "failed to parse the body as an AdmissionReview: "),
        (
            "/mutate",
            b"{}".to_vec(),
            400,
            "expected `apiVersion: admission.k8s.io/v1` and `kind: AdmissionReview`, found `` and ``\n",
        ),
        (
            "/mutate",
            v1beta1.into_bytes(),
            400,
            "expected `apiVersion: admission.k8s.io/v1` and `kind: AdmissionReview`, found `admission.k8s.io/v1beta1` and `AdmissionReview`\n",
        ),
        (
            "/mutate",
            repeated.into_bytes(),
            400,
            "failed to parse the body as an AdmissionReview: duplicate key in an object at byte ",
        ),
        (
            "/mutate",
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#.to_vec(),
            400,
            "`request` is missing; the API server always sends it\n",
        ),
        (
            "/mutate?timeout=soon",
            good(),
            400,
            "expected `timeout` as in `?timeout=10s` (ms or s, above zero), found `soon`\n",
        ),
        (
            "/validate?timeout=0s",
            good(),
            400,
            "expected `timeout` as in `?timeout=10s` (ms or s, above zero), found `0s`\n",
        ),
        ("/mutate", vec![b' '; 9 << 20], 413, "expected a body of at most 8388608 bytes, found more\n"),
        ("/nowhere", good(), 404, "expected POST /mutate, POST /validate or POST /validate-policy\n"),
    ] {
        let (found, text) = refusal(server.post(path, body).await).await;
        assert_eq!(found, status, "{text}");
        assert!(
            text.starts_with(line) && text.ends_with('\n') && text.trim_end().lines().count() == 1,
            "{text}"
        );
    }
    let plain = server.client().post(server.url("/mutate")).header("Content-Type", "text/plain").body(good());
    let (status, text) = refusal(plain.send().await.unwrap()).await;
    assert_eq!(
        (status, text.as_str()),
        (415, "expected `Content-Type: application/json`, found `text/plain`\n")
    );
    let got = server.client().get(server.url("/mutate")).send().await.unwrap();
    assert_eq!(refusal(got).await, (405, "expected POST\n".to_owned()));
    // The limit also applies to a body without a stated length.
    assert_eq!(refusal(server.post("/mutate", reqwest::Body::wrap(Blanks(9 << 20))).await).await.0, 413);
    let (_, metrics) = server.admin("/metrics").await;
    assert!(metrics.contains("wardset_refused_total{status=\"413\"} 2"), "{metrics}");
    server.shut_down().await;
}

/// The server stops reading, so it must close the connection. A client that kept it would lose its next request.
#[tokio::test(flavor = "multi_thread")]
async fn announces_the_close_if_it_refuses_before_the_body_arrived() {
    let server = Server::start().await;
    let client = client(server.certificates.path(), reqwest::ClientBuilder::http1_only);
    let request = client.post(server.url("/mutate")).header("Content-Type", "application/json");
    let response = request.body(reqwest::Body::wrap(Never(9 << 20))).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["connection"]),
        (413, &"close".parse().unwrap())
    );
    // After a complete body, the connection stays open.
    let request = client.post(server.url("/mutate")).header("Content-Type", "text/plain").body("{}");
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get("connection")), (415, None));
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allows_skipped_reviews_unchanged() {
    let server = Server::start().await;
    let changed = |change: fn(&mut Value)| {
        let mut review: Value = serde_json::from_slice(&admission_review(&daemonset(), None)).unwrap();
        change(&mut review["request"]);
        review.to_string()
    };
    for other in [
        changed(|request| request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"})),
        changed(|request| {
            request["operation"] = json!("DELETE");
            request["oldObject"] = request["object"].take();
        }),
        changed(|request| request["subResource"] = json!("status")),
    ] {
        let (status, body) = refusal(server.post("/mutate", other).await).await;
        let response = json!({"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": true});
        let expected =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, expected));
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_deadline_of_the_client() {
    let server = Server::start().await;
    // Nine tenths of 1 ms may be over before five sandboxes have run in a debug build. An answer arrives in any case: a
    // decision, or a 500 with a reason.
    let (status, text) =
        refusal(server.post("/mutate?timeout=1ms", admission_review(&daemonset(), None)).await).await;
    assert!(
        status == 200 || (status == 500 && text.contains("deadline")) || status == 408,
        "{status} {text}"
    );
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_overload_at_once_and_stays_ready() {
    let server = Server::with(support::defaults().await, 0).await;
    let response = server.post("/mutate", admission_review(&daemonset(), None)).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(refusal(response).await, (429, "too many reviews at once; try again\n".to_owned()));
    assert_eq!(server.admin("/readyz").await.0, 200);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_probes_and_metrics_with_bounded_labels() {
    let server = Server::start().await;
    let first = server.post("/mutate", admission_review(&daemonset(), None)).await;
    assert_eq!(first.status().as_u16(), 200);
    assert_eq!(server.admin("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(server.admin("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.admin("/nowhere").await.0, 404);
    let (_, metrics) = server.admin("/metrics").await;
    for line in [
        r#"wardset_reviews_total{webhook="mutate",operation="create",outcome="allowed"} 1"#,
        r#"wardset_evaluations_total{policy="default-labels",mode="observe",verdict="patch"} 1"#,
        r#"wardset_evaluations_total{policy="selector-safety",mode="enforce",verdict="allow"} 1"#,
        r#"wardset_errors_total{class="trap",blame="guest"} 0"#,
        r#"wardset_review_duration_seconds_count 1"#,
        r#"wardset_evaluation_duration_seconds_count{policy="default-labels"} 1"#,
        "wardset_policies 5",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("fluentd-agent"), "a label must not name objects");
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requires_client_certificates_only_if_a_client_ca_is_set() {
    let certificates = tempfile::tempdir().unwrap();
    development::make(certificates.path()).unwrap();
    let ca = certificates.path().join("ca.pem");
    // cert-manager writes this file. Its presence alone does not require client certificates.
    std::fs::copy(&ca, certificates.path().join("tls/ca.crt")).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for (client_ca, answered) in [(None, true), (Some(ca.as_path()), false)] {
        let metrics = Arc::new(Metrics::new());
        let tls = wardset_port::config(served(certificates.path(), &metrics), client_ca).unwrap();
        let options = Options { drain: Duration::ZERO, ..options(any) };
        let bound = options.bind().unwrap();
        let url = format!("https://localhost:{}/nowhere", bound.addresses.webhook.port());
        let open = bound.open(metrics).unwrap();
        let running = tokio::spawn(open.run(tls, desk(support::defaults().await), std::future::pending()));
        let client = client(certificates.path(), |builder| builder);
        assert_eq!(client.post(url).send().await.is_ok(), answered);
        running.abort();
    }
}

#[test]
fn certificate_errors_name_the_wrong_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = |folder: &Path| {
        let served = Arc::new(ServedCertificate::new(Metrics::new().certificates));
        whole(CertificateFolder::open(folder, served).unwrap_err())
    };
    let found = error(folder.path());
    assert!(found.contains("/tls.crt`: No such file or directory"), "{found}");
    let tls_folder = folder.path().join("tls");
    for (file, expected) in [
        ("tls.crt", "tls`: `tls.crt`: expected at least one certificate in PEM, found none"),
        ("tls.key", "tls`: failed to parse `tls.key` as a private key in PEM"),
    ] {
        for content in ["nothing", ""] {
            development::make(folder.path()).unwrap();
            std::fs::write(tls_folder.join(file), content).unwrap();
            let found = error(&tls_folder);
            assert!(found.contains(expected), "{found}");
        }
    }
    development::make(folder.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    development::make(other.path()).unwrap();
    std::fs::copy(other.path().join("tls/tls.key"), tls_folder.join("tls.key")).unwrap();
    let found = error(&tls_folder);
    assert!(found.contains("failed to load `tls.crt` together with `tls.key`"), "{found}");
}

#[test]
fn client_ca_errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    let error = || {
        let served = Arc::new(ServedCertificate::new(Metrics::new().certificates));
        whole(wardset_port::config(served, Some(&path)).unwrap_err())
    };
    assert!(error().contains("failed to read the CA of client certificates from `"), "{}", error());
    std::fs::write(&path, "nothing").unwrap();
    assert!(error().contains("failed to load the CA of client certificates from `"), "{}", error());
}

/// Returns an error with its causes, as the command line prints it.
fn whole(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_errors_name_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Options { admin: "127.0.0.1:0".parse().unwrap(), ..options(listen) }.bind().err().unwrap();
    assert_eq!(error.to_string(), format!("failed to bind `{listen}`"));
}

fn policy_review(operation: &str, object: &Value) -> Vec<u8> {
    let request = json!({
        "uid": "u", "kind": {"group": "wardset.dev", "version": "v1alpha1", "kind": "Policy"},
        "operation": operation, "name": "p", "userInfo": {"username": "jo"}, "object": object,
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    serde_json::to_vec(&review).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_an_invalid_policy_with_the_reason() {
    let server = Server::start().await;
    let good = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy",
        // Fields that the API server adds are not errors.
        "metadata": {"name": "p", "uid": "x", "managedFields": []},
        "spec": {"module": "builtin:default-labels", "settings": {"labels": {"a": "b"}}},
    });
    let with = |pointer: &str, value: Value| {
        let mut policy = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        policy.pointer_mut(parent).unwrap()[key] = value;
        policy
    };
    for (operation, object) in [("CREATE", &good), ("UPDATE", &good), ("DELETE", &Value::Null)] {
        let response = server.post("/validate-policy", policy_review(operation, object)).await;
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}), "{operation}");
    }
    for (bad, says) in [
        (with("/spec/modul", json!(1)), "unknown field `modul`"),
        (
            with("/spec/module", json!("builtin:gone")),
            "policy `p`: unknown built-in module `gone`, expected one of ",
        ),
        (
            with("/spec/module", json!("file:/nowhere.wasm")),
            "policy `p`: failed to read the module `/nowhere.wasm`: ",
        ),
        // This file is endless, and every container has it.
        (
            with("/spec/module", json!("file:/dev/zero")),
            "policy `p`: failed to read the module `/dev/zero`: expected a regular file",
        ),
        (with("/spec/settings", json!({"labels": 1})), "policy `p`: `spec.settings`: "),
        (
            with("/spec/limits", json!({"timeout": "1h"})),
            "policy `p`: `spec.limits.timeout`: expected `1ms` to `10s`",
        ),
        (
            with("/spec/match", json!({"conditions": [{"name": "odd", "expression": "1 +"}]})),
            "policy `p`: `spec.match.conditions`: ",
        ),
        (with("/metadata/name", json!("a.b")), "`metadata.name`: expected 1 to 63 of a-z"),
    ] {
        let response = server.post("/validate-policy", policy_review("CREATE", &bad)).await;
        assert_eq!(response.status(), 200);
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let status = &answer["response"]["status"];
        assert_eq!((&answer["response"]["allowed"], &status["code"]), (&json!(false), &json!(422)));
        assert!(status["message"].as_str().unwrap().contains(says), "{says}: {status}");
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_requests_that_do_not_review_a_policy() {
    let server = Server::start().await;
    for (body, says) in [
        (b"{}".to_vec(), "failed to parse the body as an AdmissionReview: missing field `apiVersion`"),
        (admission_review(&daemonset(), None), "for `Policy` of `wardset.dev`, found `DaemonSet of apps`"),
    ] {
        let (status, text) = refusal(server.post("/validate-policy", body).await).await;
        assert_eq!(status, 400);
        assert!(text.contains(says), "{text}");
    }
    server.shut_down().await;
}

/// The answer repeats the uid, so without a bound an answer could be arbitrarily long.
#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_uid_of_more_than_256_bytes() {
    let server = Server::start().await;
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"module": "builtin:default-labels", "settings": {"labels": {"a": "b"}}},
    });
    for (len, expected) in [(256, 200), (257, 400)] {
        for (path, body) in [
            ("/mutate", admission_review(&daemonset(), None)),
            ("/validate-policy", policy_review("CREATE", &policy)),
        ] {
            let mut body: Value = serde_json::from_slice(&body).unwrap();
            body["request"]["uid"] = json!("u".repeat(len));
            let response = server.post(path, serde_json::to_vec(&body).unwrap()).await;
            assert_eq!(response.status(), expected, "{path}");
            if expected == 400 {
                let text = response.text().await.unwrap();
                assert!(text.ends_with("`request.uid`: expected at most 256 bytes\n"), "{path}: {text}");
            }
        }
    }
    server.shut_down().await;
}
