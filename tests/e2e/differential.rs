//! The API server applies a patch in the same way as another implementation of RFC 6902 and as `wardset review`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::canned::{Asked, Canned};
use crate::gate::Gate;
use crate::registration::Kind::Mutating;
use crate::support::{Namespace, eventually, example};

/// Runs `wardset review` with the gate's policies, and returns its output.
fn review(gate: &Gate, input: &Value, output: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(["review", "--filename=-", "--output", output, "--policies"])
        .arg(gate.policies())
        .arg("--cache-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let run = child.wait_with_output().unwrap();
    assert!(run.status.success(), "{run:?}");
    String::from_utf8(run.stdout).unwrap()
}

/// Returns DaemonSets with shapes that are difficult to patch.
pub(crate) fn objects() -> Vec<Value> {
    let mut bare = example();
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    let mut escaped = example();
    escaped["metadata"]["labels"]["a.b/c"] = json!("slash");
    escaped["metadata"]["annotations"] = json!({ "a.b/c": "~1/~0 \u{e4}\u{1f980}\"\\\n\t", "empty": "" });
    let mut terms = example();
    terms["spec"]["template"]["spec"]["tolerations"] = json!([{ "key": "own", "operator": "Exists" }]);
    terms["spec"]["template"]["spec"]["affinity"] = json!({
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] },
                { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["worker-1"] }] },
            ] },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 1, "preference": { "matchExpressions": [{ "key": "disk", "operator": "Exists" }] } },
            ],
        },
        "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
            { "topologyKey": "zone", "labelSelector": { "matchLabels": { "k8s-app": "fluentd-agent" } } },
        ] },
    });
    let mut empty = example();
    empty["spec"]["template"]["spec"]["affinity"] = json!({});
    empty["spec"]["template"]["spec"]["tolerations"] = json!([]);
    empty["metadata"]["labels"] = json!({});
    let mut all = vec![example(), bare, escaped, terms, empty];
    for (number, object) in all.iter_mut().enumerate() {
        object["metadata"]["name"] = format!("object-{number}").into();
    }
    all
}

#[test]
fn api_server_json_patch_and_review_agree_on_each_object() {
    // The API server calls mutating webhooks in the order of their names: one before the gate, one after it.
    let before = Canned::start(&[(Mutating, json!({}))], Asked::allow);
    let gate = Gate::start(crate::gate::Setup::default());
    let after = Canned::start(&[(Mutating, json!({}))], Asked::allow);
    let namespace = Namespace::labelled("differential", &[before.label(), gate.label(), after.label()]);
    for mut object in objects() {
        object["metadata"]["namespace"] = namespace.name().into();
        namespace.run_with_input(&["create", "--filename=-"], &object.to_string()).succeeded();
        // An update that changes the template takes the same path.
        object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
        object["metadata"]["labels"]["updated"] = json!("yes");
        eventually(Duration::from_secs(30), "no controller writes in between", || {
            let run = namespace.run_with_input(&["replace", "--filename=-"], &object.to_string());
            if run.success { Ok(()) } else { Err(run.stderr) }
        });
    }
    let (before, after) = (before.asked(), after.asked());
    // There are more if a conflict rejected an update after its reviews.
    assert!(before.len() >= 10 && before.len() == after.len(), "{} and {}", before.len(), after.len());
    for (came, left) in before.iter().zip(&after) {
        let object = &came.request()["object"];
        let patch: json_patch::Patch = serde_json::from_str(&review(&gate, &came.review, "patch")).unwrap();
        assert!(patch.0.len() >= 2, "{patch:?}");
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patched, left.request()["object"], "{patch:?}");
        // The API server also converts the object through Go types. `-o yaml` must agree after that.
        let foretold =
            wardset::yaml::documents::<Value>(&review(&gate, &came.review, "yaml")).unwrap().remove(0);
        assert_eq!(foretold["spec"], left.request()["object"]["spec"]);
        assert_eq!(foretold["metadata"]["labels"], left.request()["object"]["metadata"]["labels"]);
    }
    // The stored object is the same.
    for number in 0..5 {
        let stored = namespace.daemonset(&format!("object-{number}"));
        let last = after.iter().rfind(|one| one.name() == format!("object-{number}")).unwrap();
        assert_eq!(stored["spec"], last.request()["object"]["spec"]);
        assert_eq!(stored["metadata"]["labels"], last.request()["object"]["metadata"]["labels"]);
        assert_eq!(stored["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 1);
    }
}

#[test]
fn api_server_calls_wardset_again_if_a_later_webhook_changes_the_object() {
    let gate = Gate::start(crate::gate::Setup::default());
    let later = Canned::start(&[(Mutating, json!({ "reinvocationPolicy": "Never" }))], |asked| {
        // Removes the additions of the policies.
        asked.patch(&json!([{ "op": "remove", "path": "/spec/template/spec/tolerations" }]))
    });
    let namespace = Namespace::labelled("reinvoked", &[gate.label(), later.label()]);
    let stored = namespace.apply(&example());
    assert_eq!(stored.stdout, "daemonset.apps/fluentd-agent created\n");
    let patches: Vec<String> = gate.decisions(namespace.name()).into_iter().map(|one| one.patch).collect();
    assert_eq!(patches, [crate::life::ADDED, "/spec/template/spec/tolerations", ""]);
    let stored = namespace.daemonset("fluentd-agent");
    assert_eq!(stored["spec"]["template"]["spec"]["tolerations"], crate::life::tolerations());
}
