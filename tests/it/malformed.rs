//! Sends 10,000 generated AdmissionReviews, valid and malformed, to the real program over real sockets. Each gets a
//! well-formed answer, or a 4xx with a reason on one line. No connection breaks, and the program shuts down normally.
//!
//! `WARDSET_SEED` repeats the run that a failure names. `WARDSET_REVIEWS` sets the number of requests.

mod requests;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use reqwest::Client;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use wardset::certificates::development;

use crate::support;
use requests::Request;

/// Number of concurrent tasks. Each sends its next request after an answer.
const TASKS: u64 = 8;

/// Maximum length of the reason for a refusal in bytes, line break included.
const MAX_REASON: usize = 513;

#[tokio::test(flavor = "multi_thread")]
async fn answers_or_refuses_every_generated_request() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
    };
    let (seed, reviews) = (number("WARDSET_SEED", 0x5eed), number("WARDSET_REVIEWS", 10_000));
    let server = Program::start();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            // Some connections use HTTP/1.1, others HTTP/2. Two tasks share each HTTP/2 connection.
            let client = server.clients[usize::try_from(task % 6).unwrap()].clone();
            let url = format!("https://localhost:{}", server.port);
            tokio::spawn(async move {
                let mut counts = Counts::default();
                for n in (task..reviews).step_by(TASKS as usize) {
                    let request = Request::generated(seed, n);
                    let answer = send(&client, &url, &request).await;
                    let counted = answer.and_then(|answer| check(&request, answer));
                    match counted {
                        Ok(counted) => counts.add(counted),
                        Err(problem) => {
                            let body = String::from_utf8_lossy(&request.body);
                            let start: String = body.chars().take(3000).collect();
                            panic!(
                                "WARDSET_SEED={seed}, request {n} ({}, {} bytes): {problem}\n{start}",
                                request.what,
                                body.len()
                            );
                        }
                    }
                }
                counts
            })
        })
        .collect();
    let mut counts = Counts::default();
    for task in tasks {
        counts.add(task.await.unwrap());
    }
    let (code, words) = server.stop();
    assert!(!words.contains("panicked"), "{words}");
    assert_eq!(code, Some(0), "{}", &words[words.len().saturating_sub(2000)..]);
    println!("seed {seed}: {counts:?}");
    let Counts { patched, allowed, denied, refused } = counts;
    assert_eq!(patched + allowed + denied + refused, reviews);
    if reviews >= 1000 {
        // The test proves nothing if the generator covers only some outcomes.
        for (what, count) in
            [("patched", patched), ("allowed", allowed), ("denied", denied), ("refused", refused)]
        {
            assert!(count >= reviews / 200, "{what}: {count} of {reviews}");
        }
    }
}

/// Counts of answers by outcome.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    patched: u64,
    allowed: u64,
    denied: u64,
    refused: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.patched += other.patched;
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.refused += other.refused;
    }
}

/// The parts of an accepted body that the test reads.
#[derive(Deserialize)]
struct Sent {
    request: SentRequest,
}

#[derive(Deserialize)]
struct SentRequest {
    uid: String,
    object: Option<Box<RawValue>>,
}

struct Answer {
    status: u16,
    media_type: String,
    body: String,
}

async fn send(client: &Client, url: &str, request: &Request) -> Result<Answer, String> {
    let mut builder = client.post(format!("{url}{}?timeout=30s", request.path)).body(request.body.clone());
    if let Some(media_type) = &request.media_type {
        builder = builder.header("Content-Type", media_type);
    }
    let response = builder.send().await.map_err(|error| format!("no answer: {error:?}"))?;
    let media_type = response.headers().get("Content-Type").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| format!("the answer is incomplete: {error:?}"))?;
    let body = String::from_utf8(body.to_vec()).map_err(|_| "the answer is not UTF-8".to_owned())?;
    Ok(Answer { status, media_type: media_type.unwrap_or_default(), body })
}

fn check(request: &Request, answer: Answer) -> Result<Counts, String> {
    let Answer { status, media_type, body } = answer;
    match status {
        200 if media_type == "application/json" => reviewed(request, &body),
        400 | 413 | 415 => {
            let line = body.strip_suffix('\n').unwrap_or_default();
            let is_line =
                !line.trim().is_empty() && !line.contains(char::is_control) && body.len() <= MAX_REASON;
            if !is_line {
                return Err(format!("{status}, expected a reason on one line, found {body:?}"));
            }
            match request.expected {
                Some(expected) if expected != status => Err(format!("{status}, expected {expected}: {line}")),
                _ => Ok(Counts { refused: 1, ..Counts::default() }),
            }
        }
        _ => Err(format!("{status} {media_type}: {body}")),
    }
}

/// Checks the answer to an accepted body.
fn reviewed(request: &Request, body: &str) -> Result<Counts, String> {
    if let Some(expected @ 400..) = request.expected {
        return Err(format!("200, expected {expected}: {body}"));
    }
    let answer: Value =
        serde_json::from_str(body).map_err(|error| format!("the answer is not JSON ({error}): {body}"))?;
    let response = &answer["response"];
    // Unread fields may contain text that `Value` cannot represent.
    let sent: Sent = serde_json::from_slice(&request.body)
        .map_err(|error| format!("the server accepted a malformed body: {error}"))?;
    let uid = sent.request.uid;
    let head = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    if answer["apiVersion"] != head["apiVersion"]
        || answer["kind"] != head["kind"]
        || response["uid"] != uid.as_str()
    {
        return Err(format!("expected an answer to this review, found {body}"));
    }
    match (response["allowed"].as_bool(), response.get("patch"), response.get("patchType")) {
        (Some(true), None, None) => Ok(Counts { allowed: 1, ..Counts::default() }),
        (Some(false), None, None) => {
            let status = &response["status"];
            let message = status["message"].as_str().unwrap_or_default();
            let lines = message.lines().all(|line| !line.contains(char::is_control));
            if ![403, 422].map(Value::from).contains(&status["code"]) || message.trim().is_empty() || !lines {
                return Err(format!("expected a denial with code and message, found {body}"));
            }
            Ok(Counts { denied: 1, ..Counts::default() })
        }
        (Some(true), Some(patch), Some(kind)) if kind == "JSONPatch" && request.path == "/mutate" => {
            let object = sent.request.object.ok_or("a patch without an object")?;
            let object = serde_json::from_str(object.get())
                .map_err(|error| format!("the server accepted a malformed body: {error}"))?;
            applies(&object, patch.as_str().unwrap_or_default())?;
            Ok(Counts { patched: 1, ..Counts::default() })
        }
        _ => Err(format!("expected an allowed or denied review, found {body}")),
    }
}

/// Checks that the patch applies, and that it changes only the fields of the default policies.
fn applies(object: &Value, patch: &str) -> Result<(), String> {
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).map_err(|error| error.to_string())?;
    let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| error.to_string())?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| format!("{patch}: {error}"))?;
    if patched == *object {
        return Err(format!("the patch changes nothing: {patch}"));
    }
    if rest(&patched) != rest(object) {
        return Err(format!("the patch changes other fields: {patch}"));
    }
    Ok(())
}

/// Returns the object without the fields that the default policies change, and without parents that become empty.
fn rest(object: &Value) -> Value {
    let mut rest = object.clone();
    for path in [
        ["metadata", "labels"].as_slice(),
        &["spec", "template", "spec", "tolerations"],
        &["spec", "template", "spec", "affinity"],
    ] {
        take(&mut rest, path);
    }
    rest
}

fn take(value: &mut Value, path: &[&str]) {
    let (Some((first, below)), Some(members)) = (path.split_first(), value.as_object_mut()) else { return };
    if !below.is_empty()
        && let Some(member) = members.get_mut(*first)
    {
        take(member, below);
    }
    if below.is_empty() || members.get(*first).is_some_and(|member| member.is_null() || *member == json!({}))
    {
        members.shift_remove(*first);
    }
}

/// `wardset serve` with the default policies. Their timeout allows for a busy machine.
struct Program {
    child: Child,
    port: u16,
    clients: Vec<Client>,
    words: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        development::make(folder.path()).unwrap();
        let policies = folder.path().join("policies.yaml");
        let mut yaml = String::new();
        for default in wardset::supply::builtin::DEFAULTS {
            yaml += "---\n";
            yaml += &default.yaml.replace("\nspec:\n", "\nspec:\n  limits: {timeout: 10s}\n");
        }
        std::fs::write(&policies, yaml).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wardset"))
            .args(["serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json", "--policies"])
            .arg(&policies)
            .arg("--tls-dir")
            .arg(folder.path().join("tls"))
            .env("WARDSET_CACHE_DIR", support::cache_folder())
            .env_remove("WARDSET_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        let port = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "`wardset serve` ended: {first}");
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            if parsed["message"] == "ready" {
                let (_, port) = parsed["webhook"].as_str().unwrap().rsplit_once(':').unwrap();
                break port.parse().unwrap();
            }
            first += &line;
        };
        let words = Arc::new(Mutex::new(first));
        let into = Arc::clone(&words);
        // The thread ends with the pipe. It drops decisions, because they would make the log very long.
        let reader = thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.unwrap_or_else(|error| format!("panicked: the log is not UTF-8: {error}"));
                if !line.contains("\"target\":\"wardset::decision\"") {
                    *into.lock().unwrap() += &(line + "\n");
                }
            }
        });
        let clients = clients(folder.path());
        Self { child, port, clients, words, reader: Some(reader), _folder: folder }
    }

    /// Stops the program. Returns its exit code and its log without decisions.
    fn stop(mut self) -> (Option<i32>, String) {
        let alive = self.child.try_wait().unwrap();
        assert!(alive.is_none(), "the program ended early: {alive:?}\n{}", self.words.lock().unwrap());
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code();
        self.reader.take().unwrap().join().unwrap();
        (code, std::mem::take(&mut *self.words.lock().unwrap()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns six clients, each with connections of its own.
fn clients(certificates: &Path) -> Vec<Client> {
    (0..6).map(|_| crate::serve::client(certificates, |builder| builder)).collect()
}
