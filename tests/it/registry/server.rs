//! A registry in memory: the part of the distribution API that Wardset uses, and faults on request.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine as _;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wardset::certificates::development;

/// User and password of a registry that asks for them.
pub(crate) const LOGIN: (&str, &str) = ("jo", "secret-of-jo");

/// A token of the registry's token server.
const TOKEN: &str = "token-of-jo";

/// A running registry.
pub(crate) struct FakeRegistry {
    /// `localhost:PORT`.
    pub(crate) host: String,
    state: Arc<State>,
    folder: TempDir,
    runtime: Option<Runtime>,
}

/// How a registry asks for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    None,
    Basic,
    /// By a token server.
    Token,
}

/// A wrong answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A status with `Retry-After`.
    Status(u16, Option<&'static str>),
    /// The connection closes after this number of bytes of the content.
    Cut(usize),
    /// No answer.
    Silent,
    /// The content, with its last byte changed.
    Tampered,
    /// A redirect.
    Redirect(String),
    /// A list of one tag with this link.
    Link(String),
    /// No digest in the headers.
    Bare,
}

struct State {
    login: Login,
    tls: bool,
    /// Media type and bytes by path below `/v2/`.
    content: Mutex<BTreeMap<String, (String, Bytes)>>,
    /// A part of a path, and the fault of the next request with it.
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    requests: Mutex<Vec<String>>,
}

impl FakeRegistry {
    /// Starts a registry over TLS that is open to everybody.
    pub(crate) fn start() -> Self {
        Self::with(Login::None, true)
    }

    pub(crate) fn with(login: Login, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        development::make(folder.path()).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (content, faults, requests) = (Mutex::default(), Mutex::default(), Mutex::default());
        let state = Arc::new(State { login, tls, content, faults, requests });
        let (answering, name) = (Arc::clone(&state), host.clone());
        let router =
            Router::new().fallback(async move |request: Request| answering.answer(&name, request).await);
        let router = router.into_make_service();
        if tls {
            let config = tls_config(folder.path().join("tls"));
            runtime.spawn(async move {
                axum_server::from_tcp_rustls(listener, config).unwrap().serve(router).await.unwrap();
            });
        } else {
            runtime
                .spawn(async move { axum_server::from_tcp(listener).unwrap().serve(router).await.unwrap() });
        }
        Self { host, state, folder, runtime: Some(runtime) }
    }

    /// Returns the file of the CA that signed the registry's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a credential file with this password, and returns its path.
    pub(crate) fn credentials(&self, password: &str) -> PathBuf {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", LOGIN.0));
        let file = self.folder.path().join("config.json");
        let json = serde_json::json!({"auths": {(&self.host): {"auth": auth}}});
        std::fs::write(&file, json.to_string()).unwrap();
        file
    }

    /// Stores content below `/v2/`.
    pub(crate) fn put(&self, path: &str, media_type: &str, bytes: impl Into<Bytes>) {
        self.state.content.lock().unwrap().insert(path.to_owned(), (media_type.to_owned(), bytes.into()));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.content.lock().unwrap().remove(path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        self.state.content.lock().unwrap().get(path).map(|(_, bytes)| bytes.clone())
    }

    /// Answers the next `count` requests whose path has `part` wrongly.
    pub(crate) fn fail(&self, count: usize, part: &'static str, fault: &Fault) {
        self.state.faults.lock().unwrap().extend(std::iter::repeat_n((part, fault.clone()), count));
    }

    /// Returns the requests since the last call, such as `GET policy/manifests/1`, with the range of a partial one.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }

    /// Closes the port and all connections.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // The port is closed once the task is dropped.
        while std::net::TcpStream::connect(self.host.replace("localhost", "127.0.0.1")).is_ok() {
            std::thread::yield_now();
        }
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    async fn answer(&self, host: &str, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        if path == "/token" {
            self.log("GET token".to_owned());
            let is_ours = authorization(&head.headers) == basic();
            return match is_ours {
                true => serde_json::json!({"token": TOKEN}).to_string().into_response(),
                false => StatusCode::UNAUTHORIZED.into_response(),
            };
        }
        let Some(path) = path.strip_prefix("/v2/").map(str::to_owned) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let range = head.headers.get(header::RANGE).and_then(|range| range.to_str().ok().map(str::to_owned));
        let shown = range.as_ref().map(|range| format!(" {range}")).unwrap_or_default();
        self.log(format!("{} {path}{shown}", head.method));
        if let Some(challenge) = self.challenge(host, &head.headers) {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
        }
        let fault = self.fault(&path);
        match &fault {
            Some(Fault::Status(status, after)) => {
                let status = StatusCode::from_u16(*status).unwrap();
                let error = r#"{"errors": [{"code": "FAULT", "message": "of the test"}]}"#;
                return match after {
                    Some(after) => (status, [(header::RETRY_AFTER, *after)], error).into_response(),
                    None => (status, error).into_response(),
                };
            }
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Link(to)) => {
                return ([(header::LINK, to.clone())], r#"{"tags": ["1"]}"#).into_response();
            }
            Some(Fault::Redirect(to)) => {
                return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.clone())]).into_response();
            }
            _ => {}
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            return self.list(repository, head.uri.query().unwrap_or_default());
        }
        match head.method {
            Method::GET => self.read(&path, range.as_deref(), fault),
            Method::HEAD => match self.content.lock().unwrap().get(&path) {
                Some((_, bytes)) if path.contains("/manifests/") && !matches!(fault, Some(Fault::Bare)) => {
                    [("docker-content-digest", super::digest_of(bytes))].into_response()
                }
                Some(_) => StatusCode::OK.into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            // A relative address, as the API allows.
            Method::POST => {
                let location = format!("/v2/{path}session?state=1");
                (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
            }
            Method::PUT => self.write(&path, head.uri.query().unwrap_or_default(), &head.headers, body).await,
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    /// Answers with the tags after `last`, two at a time, as a registry whose limit is below that of the request.
    fn list(&self, repository: &str, query: &str) -> Response {
        let content = self.content.lock().unwrap();
        let start = format!("{repository}/manifests/");
        let tags = content.keys().filter_map(|path| path.strip_prefix(&start));
        let tags: Vec<&str> = tags.filter(|tag| !tag.starts_with("sha256:")).collect();
        if tags.is_empty() {
            return StatusCode::NOT_FOUND.into_response();
        }
        assert!(query.contains("n=1000"), "{query}");
        let last = query.split('&').find_map(|part| part.strip_prefix("last=")).unwrap_or_default();
        let mut rest = tags.into_iter().filter(|tag| *tag > last);
        let page: Vec<&str> = rest.by_ref().take(2).collect();
        let mut response = serde_json::json!({"name": repository, "tags": page}).to_string().into_response();
        if rest.next().is_some() {
            let link = format!("</v2/{repository}/tags/list?last={}&n=1000>; rel=\"next\"", page[1]);
            response.headers_mut().insert(header::LINK, link.parse().unwrap());
        }
        response
    }

    fn read(&self, path: &str, range: Option<&str>, fault: Option<Fault>) -> Response {
        let Some((media_type, mut bytes)) = self.content.lock().unwrap().get(path).cloned() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let whole = bytes.len();
        let start = range.map(|range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap());
        let start = start.map(|start| start.parse::<usize>().unwrap());
        bytes = bytes.slice(start.unwrap_or(0)..);
        let body = match fault {
            Some(Fault::Tampered) => {
                let mut changed = bytes.to_vec();
                *changed.last_mut().unwrap() ^= 1;
                Body::from(changed)
            }
            Some(Fault::Cut(after)) => {
                let parts = [Ok(bytes.slice(..after)), Err(std::io::Error::other("the connection is cut"))];
                // A body that is not ready makes the server send the first part.
                Body::from_stream(stream::iter(parts).then(async |part| {
                    tokio::task::yield_now().await;
                    part
                }))
            }
            _ => Body::from(bytes),
        };
        let mut response = ([(header::CONTENT_TYPE, media_type)], body).into_response();
        if let Some(start) = start {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{whole}", whole - 1);
            response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
        }
        response
    }

    async fn write(&self, path: &str, query: &str, headers: &HeaderMap, body: Body) -> Response {
        let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        let media_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let digest = super::digest_of(&bytes);
        let mut content = self.content.lock().unwrap();
        match path.strip_suffix("uploads/session") {
            Some(blobs) => {
                assert!(query.contains("state=1"), "{query}");
                assert!(query.contains(&digest.replace(':', "%3A")), "{query} for {digest}");
                content.insert(format!("{blobs}{digest}"), (media_type, bytes));
            }
            None => {
                let (manifests, _) = path.rsplit_once('/').unwrap();
                content.insert(format!("{manifests}/{digest}"), (media_type.clone(), bytes.clone()));
                content.insert(path.to_owned(), (media_type, bytes));
            }
        }
        StatusCode::CREATED.into_response()
    }

    fn challenge(&self, host: &str, headers: &HeaderMap) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        let (expected, challenge) = match self.login {
            Login::None => {
                assert_eq!(authorization(headers), "", "nobody asked for credentials");
                return None;
            }
            Login::Basic => (basic(), "Basic realm=\"test\"".to_owned()),
            Login::Token => (
                format!("Bearer {TOKEN}"),
                format!("Bearer realm=\"{scheme}://{host}/token\",service=\"test\""),
            ),
        };
        (authorization(headers) != expected).then_some(challenge)
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(part, _)| path.contains(part))?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    fn log(&self, request: String) {
        self.requests.lock().unwrap().push(request);
    }
}

fn authorization(headers: &HeaderMap) -> &str {
    headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn basic() -> String {
    let (user, password) = LOGIN;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn tls_config(folder: PathBuf) -> RustlsConfig {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config = config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap();
    RustlsConfig::from_config(Arc::new(config))
}
