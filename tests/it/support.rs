//! Shared helpers: snapshots, AdmissionReviews, and patches applied as the API server applies them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wardset::supply::modules::Modules;
use wardset::supply::{PoliciesError, policy_files};
use wardset_core::decision::Decision;
use wardset_core::patch;
use wardset_core::plan::Phase;
use wardset_core::policy::NamespaceLabels;
use wardset_core::review::{Context, Question, Review};
use wardset_runtime::{Cache, CompileLimits, Compiler, Engine, EngineOptions, Snapshot};

/// Returns a DaemonSet without problems.
pub(crate) fn daemonset() -> Value {
    let manifest = include_str!("../../examples/fluentd-ds.yaml");
    wardset::yaml::documents::<Value>(manifest).unwrap().remove(0)
}

/// Returns the engine that all tests of the process share, as in a server.
pub(crate) fn engine() -> Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Engine::new(EngineOptions::default()).unwrap()))
}

/// Returns the folder of compiled modules beside the test binary. It outlives a run, so that only the first test
/// compiles.
pub(crate) fn cache_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules")
}

/// Returns a module loader for one test.
pub(crate) fn modules() -> Modules {
    Modules::new(engine(), Some(Cache::open(cache_folder()).unwrap()), compiler(CompileLimits::default()))
}

/// Returns a compiler that runs in child processes, as in the program.
pub(crate) fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::danger_in_children(env!("CARGO_BIN_EXE_wardset"), ["compile-module".into()], limits)
}

/// Returns a snapshot of the policies in `yaml`, or the reason why they cannot be active.
pub(crate) async fn try_snapshot(yaml: &str) -> Result<Snapshot, PoliciesError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policies.yaml"), yaml).unwrap();
    let found = policy_files::read(&[folder.path().to_owned()])?;
    policy_files::load(&modules(), found).await
}

/// Returns a snapshot of the policies in `yaml`.
pub(crate) async fn snapshot(yaml: &str) -> Snapshot {
    try_snapshot(yaml).await.unwrap()
}

/// Returns a snapshot of the default policies.
pub(crate) async fn defaults() -> Snapshot {
    policy_files::load(&modules(), policy_files::defaults().unwrap()).await.unwrap()
}

/// Returns the YAML of a policy `name` with a built-in module.
pub(crate) fn policy(name: &str, module: &str, settings: &Value, rest: &str) -> String {
    format!(
        "---\napiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  module: builtin:{module}\n  settings: {settings}\n{rest}\n"
    )
}

/// Returns the bytes of an AdmissionReview.
pub(crate) fn admission_review(object: &Value, old: Option<&Value>) -> Vec<u8> {
    let kind = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    let request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": kind, "resource": {"group": "apps", "version": "v1", "resource": "daemonsets"},
        "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
        "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
        "userInfo": {"username": "jo", "groups": ["system:authenticated"]},
        "object": object, "oldObject": old, "dryRun": false,
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    serde_json::to_vec(&review).unwrap()
}

/// Returns the parsed review of an object.
pub(crate) fn review(object: &Value, old: Option<&Value>) -> Review {
    match Question::parse(&admission_review(object, old)).unwrap() {
        Question::Decide(review) => *review,
        Question::PassOver { reason, .. } => panic!("skipped: {reason}"),
    }
}

/// Decides as `/mutate` does.
pub(crate) async fn decide(snapshot: &Snapshot, object: &Value, old: Option<&Value>) -> Decision {
    let context = Context { namespace_labels: NamespaceLabels::Known(Arc::default()), nodes: None };
    let deadline = Instant::now() + Duration::from_secs(30);
    snapshot.decide(&review(object, old), &context, Phase::Mutate, deadline).await
}

/// Returns the object after the decision's patch, applied by another implementation of RFC 6902.
pub(crate) fn patched(object: &Value, decision: &Decision) -> Value {
    let patch: json_patch::Patch = serde_json::from_str(&patch::to_json(&decision.patch)).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

/// Returns the manifests in the folder that `WARDSET_CORPUS` names. If it is not set, prints that and returns none.
pub(crate) fn corpus() -> Vec<(String, Value)> {
    let Some(folder) = std::env::var_os("WARDSET_CORPUS") else {
        // Bypasses the capture of the test runner, because a skipped test must be visible.
        let _ = std::io::stderr()
            .write_all(b"WARDSET_CORPUS is not set: skipped real manifests, generated ones are tested\n");
        return Vec::new();
    };
    let mut daemonsets = Vec::new();
    for file in wardset::offline::input::files(Path::new(&folder), false).unwrap() {
        let file = file.unwrap();
        let documents = wardset::offline::input::read(&file, true).unwrap().documents;
        for source in documents.into_iter().flat_map(|document| document.objects) {
            let object: Value = serde_json::from_str(&source.json).unwrap();
            if object["kind"] == "DaemonSet" && object["apiVersion"] == "apps/v1" {
                daemonsets.push((source.origin, object));
            }
        }
    }
    assert!(!daemonsets.is_empty(), "expected DaemonSets in the folder WARDSET_CORPUS, found none");
    daemonsets
}

/// Runs the program in the repository's root and returns its output.
pub(crate) fn wardset(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("WARDSET_CACHE_DIR", cache_folder())
        .env_remove("WARDSET_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap()
}
