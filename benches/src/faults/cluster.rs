//! A stand-in for the API server on loopback: it becomes unreachable, ends its watches, and drops their history. It serves
//! policies and namespaces only.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::edits::{Revisions, judge, patch, revision};
use super::steady::{Plan, Steady, answer};
use super::{Effort, Row};
use crate::load::Target;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// Maximum time until a change is active after the API server is reachable again: the longest pause between two attempts,
/// and a reserve.
const LIVE: Duration = Duration::from_secs(60);

/// Faults of the connection to an API server, one after the other, under one load.
///
/// # Errors
///
/// A server doesn't start, or a change doesn't become active.
pub fn run(lab: &Lab, effort: &Effort) -> Result<Vec<Row>> {
    let api = ApiServer::start()?;
    api.set_revision(0);
    let server = serve(lab, &api)?;
    let target = Target::new(server.webhook, &lab.ca()?)?;
    let body = Bytes::from(review(Size::Usual));
    let first = patch(&answer(&target, &body)?).context("the first answer has no patch")?;
    let mut rows = Vec::new();
    let mut current = 0;
    let mut during = |what: &str, happens: &mut dyn FnMut(&ApiServer, u64) -> Result<()>| -> Result<()> {
        let revisions = Arc::new(Revisions::starting_at(current));
        current += 1;
        revisions.write(current);
        let load = Steady::start(Plan {
            target: target.clone(),
            clients: 4,
            bodies: vec![body.clone()],
            pause: Duration::from_millis(2),
            churn: 0,
            judge: judge(first.replace("edit-0\"", "edit-N\""), Arc::clone(&revisions)),
        });
        load.go_on(50)?;
        happens(&api, current)?;
        let back = Instant::now();
        let live = |answer: &Bytes| patch(answer).is_some_and(|patch| revision(&patch) == Some(current));
        while !live(&answer(&target, &body)?) {
            ensure!(back.elapsed() < LIVE, "{what}: the change is not active after {LIVE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = back.elapsed();
        load.go_on(50)?;
        revisions.see(current);
        load.go_on(200)?;
        let mut row = Row::of(what, load.end()?);
        row.seen = format!("a change was active {:.1} s after it was visible", took.as_secs_f64());
        rows.push(row);
        Ok(())
    };
    let away = effort.away;
    during("the API server ends all watches", &mut |api, revision| {
        api.end_watches();
        api.set_revision(revision);
        Ok(())
    })?;
    during("the API server answers watches with 410 Gone", &mut |api, revision| {
        api.forget();
        api.set_revision(revision);
        Ok(())
    })?;
    during(&format!("the API server is unreachable for {} s", away.as_secs()), &mut |api, revision| {
        api.go_away();
        api.set_revision(revision);
        std::thread::sleep(away);
        api.come_back()
    })?;
    Ok(rows)
}

fn serve(lab: &Lab, api: &ApiServer) -> Result<Server> {
    let kubeconfig = lab.path("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": format!("http://{}", api.address)}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": "wardset"}}],
        "users": [{"name": "lab", "user": {}}],
    });
    fs::write(&kubeconfig, config.to_string())?;
    let mut command = lab.cluster(&lab.path("cache-faults"))?;
    command.env("KUBECONFIG", kubeconfig);
    Server::start(command)
}

struct ApiServer {
    address: SocketAddr,
    objects: Arc<Objects>,
    /// None while it is away. Its connections end with it.
    runtime: Mutex<Option<Runtime>>,
}

struct Objects {
    state: Mutex<Stored>,
    /// The last resource version; watches wait for the next.
    version: watch::Sender<u64>,
    /// How often all watches were ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct Stored {
    /// The policy that is edited, and each version of it.
    versions: BTreeMap<u64, Value>,
    /// A watch from an older version than this gets the answer "gone".
    forgotten_before: u64,
}

impl ApiServer {
    fn start() -> Result<Self> {
        let objects = Arc::new(Objects {
            state: Mutex::default(),
            version: watch::Sender::new(1),
            ended: watch::Sender::new(0),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        drop(listener);
        let server = Self { address, objects, runtime: Mutex::new(None) };
        server.come_back()?;
        Ok(server)
    }

    fn come_back(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind(self.address))
            .context("failed to listen on the API server's port")?;
        let router = axum::Router::new().fallback(respond).with_state(Arc::clone(&self.objects));
        runtime.spawn(async move { axum::serve(listener, router).await });
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Some(runtime);
        Ok(())
    }

    fn go_away(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }

    fn end_watches(&self) {
        self.objects.ended.send_modify(|ended| *ended += 1);
    }

    fn forget(&self) {
        let next = *self.objects.version.borrow() + 1;
        self.objects.state().forgotten_before = next;
        self.objects.version.send_replace(next);
        self.end_watches();
    }

    fn set_revision(&self, revision: u64) {
        let version = *self.objects.version.borrow() + 1;
        let policy = json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy",
            "metadata": {"name": "labels", "uid": "1", "resourceVersion": version.to_string(), "generation": version},
            "spec": {
                "module": "builtin:default-labels",
                "settings": {"labels": {"app.kubernetes.io/component": format!("edit-{revision}")}},
            },
        });
        self.objects.state().versions.insert(version, policy);
        self.objects.version.send_replace(version);
    }
}

impl Objects {
    fn state(&self) -> MutexGuard<'_, Stored> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn respond(State(objects): State<Arc<Objects>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let policies = match (request.method(), request.uri().path()) {
        (&Method::GET, "/apis/wardset.dev/v1alpha1/policies") => true,
        (&Method::GET, "/api/v1/namespaces") => false,
        _ => {
            let forbidden = status(StatusCode::FORBIDDEN, "Forbidden").to_string();
            return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], forbidden)
                .into_response();
        }
    };
    if parameter("watch").is_none_or(|watch| watch != "true") {
        return list(&objects, policies);
    }
    let from: u64 = parameter("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    if from < objects.state().forgotten_before {
        let gone = json!({"type": "ERROR", "object": status(StatusCode::GONE, "Expired")});
        return ([(header::CONTENT_TYPE, "application/json")], format!("{gone}\n")).into_response();
    }
    let (version, ended) = (objects.version.subscribe(), objects.ended.subscribe());
    let events = stream::unfold((from, version, ended), move |(from, mut version, mut ended)| {
        let objects = Arc::clone(&objects);
        async move {
            loop {
                let next = policies
                    .then(|| {
                        objects.state().versions.range(from + 1..).next().map(|(at, it)| (*at, it.clone()))
                    })
                    .flatten();
                if let Some((at, policy)) = next {
                    let event = json!({"type": "MODIFIED", "object": policy});
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok::<_, Infallible>(line), (at, version, ended)));
                }
                tokio::select! {
                    changed = version.changed() => changed.ok()?,
                    _ = ended.changed() => return None,
                }
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(events)).into_response()
}

fn list(objects: &Objects, policies: bool) -> Response {
    let version = *objects.version.borrow();
    let metadata = json!({"resourceVersion": version.to_string()});
    let list = if policies {
        let items: Vec<Value> = objects.state().versions.values().next_back().cloned().into_iter().collect();
        json!({"apiVersion": "wardset.dev/v1alpha1", "kind": "PolicyList", "metadata": metadata, "items": items})
    } else {
        let namespace = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "platform", "uid": "2", "resourceVersion": "1"},
        });
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata,
            "items": [namespace]})
    };
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

fn status(code: StatusCode, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": format!("{reason}, says the stand-in of an API server"), "metadata": {},
    })
}
