//! An in-memory API server for tests. It stores objects with their versions, rejects outdated writes and notifies
//! watches. It checks nothing else, permissions included; the tests in `tests/e2e` use a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// A server and its stored objects. Clones share the same state.
#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    /// The number of the last change; watches wait for the next one.
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Each change: its revision, path, kind of event and object.
    events: Vec<(u64, String, &'static str, Value)>,
    /// The successful writes: method and path.
    writes: Vec<(Method, String)>,
    /// The number of writes rejected as outdated.
    conflicts: usize,
    down: bool,
    /// Delays writes until this number of them has arrived.
    gate: Option<(Arc<Barrier>, usize)>,
}

impl ApiServer {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: watch::Sender::new(1) }
    }

    /// Returns a client of this server.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request| {
            let server = server.clone();
            async move { server.answer(request).await }
        };
        Client::new(Router::new().fallback(answer), "default")
    }

    /// Returns the path of a Secret.
    pub(crate) fn secret(namespace: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{namespace}/secrets/{name}")
    }

    /// Returns the paths of the two configurations with this name.
    pub(crate) fn configurations(name: &str) -> [String; 2] {
        [MUTATING, VALIDATING].map(|collection| format!("{collection}/{name}"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Stores an object on behalf of another client, and replaces an existing one.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.state.lock().unwrap();
        self.store(&mut state, path, object);
    }

    /// Changes an object on behalf of another client.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects[path].clone();
        change(&mut object);
        self.store(&mut state, path, object);
    }

    pub(crate) fn delete(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        let object = state.objects.remove(path).unwrap();
        self.tell(&mut state, path, "DELETED", object);
    }

    /// Returns the successful writes of clients in order, as `METHOD path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.writes.iter().map(|(method, path)| format!("{method} {path}")).collect()
    }

    pub(crate) fn conflicts(&self) -> usize {
        self.state.lock().unwrap().conflicts
    }

    /// Delays the next `count` writes until all of them have arrived.
    pub(crate) fn race(&self, count: usize) {
        self.state.lock().unwrap().gate = Some((Arc::new(Barrier::new(count)), count));
    }

    /// If `down` is true, answers every request with 503 and ends all watches; otherwise serves requests again.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn store(&self, state: &mut State, path: &str, object: Value) -> Value {
        let event = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        let object = self.tell(state, path, event, object);
        state.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn tell(&self, state: &mut State, path: &str, event: &'static str, mut object: Value) -> Value {
        let revision = *self.revision.borrow() + 1;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        object["metadata"]["name"] = json!(path.rsplit('/').next());
        state.events.push((revision, path.to_owned(), event, object.clone()));
        self.revision.send_replace(revision);
        object
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        if self.state.lock().unwrap().down {
            return status(StatusCode::SERVICE_UNAVAILABLE, "the API server is down");
        }
        if parts.method == Method::GET {
            return if query.contains("fieldSelector=") { self.list(&path, &query) } else { self.one(&path) };
        }
        let barrier = {
            let mut state = self.state.lock().unwrap();
            let barrier = state.gate.as_ref().map(|(barrier, _)| Arc::clone(barrier));
            state.gate = state.gate.take().map(|(gate, left)| (gate, left - 1)).filter(|(_, left)| *left > 0);
            barrier
        };
        if let Some(barrier) = barrier {
            barrier.wait().await;
        }
        self.write(parts.method, path, &serde_json::from_slice(&body).unwrap())
    }

    fn write(&self, method: Method, path: String, body: &Value) -> Response {
        let mut state = self.state.lock().unwrap();
        let path = if method == Method::POST {
            format!("{path}/{}", body["metadata"]["name"].as_str().unwrap())
        } else {
            path
        };
        let stored = state.objects.get(&path).cloned();
        let outdated = |stored: &Value| {
            let version = &body["metadata"]["resourceVersion"];
            !version.is_null() && *version != stored["metadata"]["resourceVersion"]
        };
        let object = match (&method, stored) {
            (&Method::POST, None) | (&Method::PUT, Some(_)) | (&Method::PATCH, Some(_))
                if state.objects.get(&path).is_none_or(|stored| !outdated(stored)) =>
            {
                match state.objects.get(&path) {
                    Some(stored) if method == Method::PATCH => merged(stored, body),
                    _ => body.clone(),
                }
            }
            (_, None) => return status(StatusCode::NOT_FOUND, "NotFound"),
            _ => {
                state.conflicts += 1;
                return status(StatusCode::CONFLICT, "Conflict");
            }
        };
        let object = self.store(&mut state, &path, object);
        state.writes.push((method, path));
        (StatusCode::OK, object.to_string()).into_response()
    }

    fn one(&self, path: &str) -> Response {
        match self.get(path) {
            Some(object) => (StatusCode::OK, object.to_string()).into_response(),
            None => status(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    /// Returns the list or the watch of the one object that the field selector names.
    fn list(&self, collection: &str, query: &str) -> Response {
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        let name = parameter("fieldSelector").unwrap().replace("%3D", "=");
        let path = format!("{collection}/{}", name.strip_prefix("metadata.name=").unwrap());
        if parameter("watch").is_some() {
            let from: u64 = parameter("resourceVersion").unwrap().parse().unwrap();
            let lines = stream::unfold((self.clone(), self.revision.subscribe(), from, path), next_event);
            return Body::from_stream(lines).into_response();
        }
        let items: Vec<_> = self.get(&path).into_iter().collect();
        let version = self.revision.borrow().to_string();
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items});
        (StatusCode::OK, list.to_string()).into_response()
    }
}

type Watch = (ApiServer, watch::Receiver<u64>, u64, String);

async fn next_event(
    (server, mut revision, from, path): Watch,
) -> Option<(Result<String, std::io::Error>, Watch)> {
    loop {
        revision.mark_unchanged();
        let found = {
            let state = server.state.lock().unwrap();
            if state.down {
                return None;
            }
            let event = state.events.iter().find(|(number, changed, ..)| *number > from && *changed == path);
            event.map(|(number, _, event, object)| (*number, json!({"type": event, "object": object})))
        };
        if let Some((number, event)) = found {
            return Some((Ok(format!("{event}\n")), (server, revision, number, path)));
        }
        revision.changed().await.ok()?;
    }
}

/// Returns a strategic merge: objects merge by member, lists of named objects merge by name.
fn merged(stored: &Value, patch: &Value) -> Value {
    match (stored, patch) {
        (Value::Object(stored), Value::Object(patch)) => {
            let mut stored = stored.clone();
            for (key, value) in patch {
                let merged = merged(stored.get(key).unwrap_or(&Value::Null), value);
                stored.insert(key.clone(), merged);
            }
            stored.into()
        }
        (Value::Array(stored), Value::Array(patch))
            if patch.iter().all(|entry| entry["name"].is_string()) =>
        {
            let mut stored = stored.clone();
            for entry in patch {
                match stored.iter_mut().find(|found| found["name"] == entry["name"]) {
                    Some(found) => *found = merged(found, entry),
                    None => stored.push(entry.clone()),
                }
            }
            stored.into()
        }
        _ => patch.clone(),
    }
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, body.to_string()).into_response()
}

/// Waits until a condition holds. The limit of a minute allows for a busy machine.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(),
        "expected within a minute: {what}"
    );
}
