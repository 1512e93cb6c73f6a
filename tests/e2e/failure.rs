//! Denials, warnings, unreachable servers and failing policies: the author's messages, and the stored objects.

use serde_json::{Value, json};

use crate::gate::{Gate, Isolation, Setup, workers_only};
use crate::guests;
use crate::life::words;
use crate::pods::{WORKERS, WORKERS_AND_GPU};
use crate::support::{Kubectl, Namespace, Run, example};

fn create(namespace: &str, object: &Value, args: &[&str]) -> Run {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.into();
    Kubectl::new().run_with_input(&[&["create", "--filename=-"], args].concat(), &object.to_string())
}

/// Returns kubectl's message for a denial.
fn denied(reason: &str, message: &str) -> String {
    format!(
        "{reason}error when creating \"STDIN\": admission webhook \"daemonsets.wardset.dev\" denied the request: \
         {message}\n"
    )
}

const VOLATILE: &str = "policy `selector-safety` at /spec/selector/matchLabels/version: `version` changes from release to \
                        release, and Kubernetes never lets a selector change; to fix it: remove `version` from the \
                        selector; it may stay a label of the pod template; if a vendor's chart has it, an administrator \
                        can exempt it: `allowKeys: [version]` in the settings, or `excludeNames` in `match`";

#[test]
fn denial_names_the_problem_and_the_fix() {
    let gate = Gate::shared();
    let namespace = gate.namespace("denied");
    let mut volatile = example();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        volatile.pointer_mut(labels).unwrap()["version"] = json!("v1");
    }
    let run = create(namespace.name(), &volatile, &[]).failed();
    assert_eq!((&*run.stdout, &*run.stderr), ("", &*denied("Error from server (Forbidden): ", VOLATILE)));
    // Other commands give the same message.
    let words = namespace.refuse(&volatile);
    assert!(
        words.starts_with("Error from server (Forbidden): ") && words.trim_end().ends_with(VOLATILE),
        "{words}"
    );
    let mut applied = volatile.clone();
    applied["metadata"]["namespace"] = namespace.name().into();
    let words =
        namespace.run_with_input(&["apply", "--server-side", "--filename=-"], &applied.to_string()).failed();
    assert_eq!(
        words.stderr,
        format!(
            "Error from server (Forbidden): admission webhook \"daemonsets.wardset.dev\" denied the request: {VOLATILE}\n"
        )
    );
    // If the author applies the fix, the object is accepted.
    volatile["spec"]["selector"]["matchLabels"].as_object_mut().unwrap().remove("version");
    create(namespace.name(), &volatile, &["--dry-run=server"]).succeeded();
    assert_eq!(namespace.json(&["get", "daemonsets"])["items"], json!([]));
    let decided = gate.decisions(namespace.name());
    assert!(decided[..3].iter().all(|decided| decided.short() == "mutate create denied"), "{decided:#?}");
}

#[test]
fn several_denials_are_shown_as_a_list() {
    let gate = Gate::shared();
    let namespace = gate.namespace("denied-twice");
    let mut volatile = example();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        let labels = volatile.pointer_mut(labels).unwrap();
        labels["version"] = json!("v1");
        labels["helm.sh/chart"] = json!("fluentd-1.0.0");
    }
    let words = create(namespace.name(), &volatile, &[]).failed().stderr;
    let lines: Vec<&str> = words.lines().collect();
    assert_eq!(lines[0], denied("Error from server (Forbidden): ", "").trim_end_matches('\n'));
    assert_eq!(lines.len(), 3, "{words}");
    assert!(
        lines[1].starts_with("- policy `selector-safety` at /spec/selector/matchLabels/helm.sh~1chart: "),
        "{words}"
    );
    assert_eq!(lines[2], format!("- {VOLATILE}"));
}

#[test]
fn refuses_a_contradictory_object_before_the_api_server_does() {
    let gate = Gate::shared();
    let namespace = gate.namespace("invalid");
    let mut mismatched = example();
    mismatched["spec"]["selector"]["matchLabels"]["k8s-app"] = json!("other");
    let words = create(namespace.name(), &mismatched, &[]).failed().stderr;
    assert!(
        words.starts_with(
            denied("The request is invalid: ", "policy `selector-safety` at /spec/selector").trim_end()
        ),
        "{words}"
    );
    assert!(words.contains("; to fix it: "), "{words}");
}

#[test]
fn refuses_a_changed_selector_and_explains_the_migration() {
    let gate = Gate::shared();
    let namespace = gate.namespace("selector");
    create(namespace.name(), &example(), &[]).succeeded();
    // kubectl sends the version that it replaces, which must be the current one.
    namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let mut changed = example();
    changed["metadata"]["namespace"] = namespace.name().into();
    changed["spec"]["selector"]["matchLabels"]["k8s-app"] = json!("other");
    changed["spec"]["template"]["metadata"]["labels"]["k8s-app"] = json!("other");
    let words = namespace.run_with_input(&["replace", "--filename=-"], &changed.to_string()).failed().stderr;
    assert!(words.starts_with("The request is invalid: "), "{words}");
    assert!(words.contains("policy `selector-safety`") && words.contains("--cascade=orphan"), "{words}");
}

#[test]
fn kubectl_shows_warnings_of_policies() {
    let gate = Gate::shared();
    let namespace = gate.namespace("warned");
    let mut tolerating = example();
    tolerating["spec"]["template"]["spec"]["tolerations"] = json!([{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" }]);
    let run = create(namespace.name(), &tolerating, &[]).succeeded();
    assert_eq!(run.stdout, "daemonset.apps/fluentd-agent created\n");
    let shown = words(&run.stderr);
    let expected = "Warning: workers-only: it tolerates `node-role.kubernetes.io/control-plane`, but `workersOnly` keeps";
    assert!(shown.starts_with(expected) && shown.lines().count() == 1, "{shown}");

    // A DaemonSet that targets the control plane is left alone, without a warning.
    let mut targeting = example();
    targeting["metadata"]["name"] = json!("targeting");
    targeting["spec"]["template"]["spec"]["nodeSelector"] =
        json!({ "node-role.kubernetes.io/control-plane": "" });
    let run = create(namespace.name(), &targeting, &["--dry-run=server", "--output=json"]).succeeded();
    assert_eq!(words(&run.stderr), "");
    let tried: Value = serde_json::from_str(&run.stdout).unwrap();
    let terms = &tried["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    assert_eq!(
        terms[0]["matchExpressions"].as_array().unwrap().len(),
        2,
        "only virtual nodes are excluded: {terms:#}"
    );
}

#[test]
fn warn_mode_changes_nothing_and_observe_mode_is_silent() {
    let mut files = workers_only();
    for (name, text) in &mut files {
        let yaml = String::from_utf8(text.clone()).unwrap();
        *text = match &**name {
            "workers-only.yaml" => yaml.replace("mode: enforce", "mode: warn"),
            _ => yaml.replace("mode: enforce", "mode: observe"),
        }
        .into();
    }
    let gate = Gate::start(Setup { files, ..Setup::default() });
    let namespace = gate.namespace("modes");
    let run = create(namespace.name(), &example(), &[]).succeeded();
    let expected = "Warning: workers-only: would add: keeps pods off the control plane: ";
    assert!(run.stderr.starts_with(expected) && run.stderr.lines().count() == 1, "{}", run.stderr);
    let stored = namespace.settled("fluentd-agent", &WORKERS);
    assert_eq!(stored["metadata"]["labels"], example()["metadata"]["labels"]);
    assert!(stored["spec"]["template"]["spec"]["affinity"].is_null());
}

/// Starts a gate whose webhooks apply in every namespace, but only to this test's DaemonSets. In kube-system they have
/// `failurePolicy: Ignore`, elsewhere `Fail`.
fn everywhere(files: Vec<(String, Vec<u8>)>) -> (Gate, Namespace) {
    let gate = Gate::start(Setup { files, isolation: Isolation::Objects });
    (gate, Namespace::new("everywhere"))
}

/// Returns the example with the label that makes the API server call the gate.
fn labelled(gate: &Gate, labels: &Value) -> Value {
    let mut object = example();
    object["metadata"]["labels"] = labels.clone();
    object["metadata"]["labels"][gate.label()] = json!("");
    object
}

#[test]
fn kube_system_works_if_the_server_is_down_and_others_are_refused() {
    let (gate, namespace) = everywhere(workers_only());
    let ignored = Namespace::labelled("ignored", &["wardset.dev/ignore=true"]);
    let object = labelled(&gate, &json!({}));
    let dry = ["--dry-run=server", "--output=json"];
    let component = |run: Run| {
        let stored: Value = serde_json::from_str(&run.succeeded().stdout).unwrap();
        stored["metadata"]["labels"]["app.kubernetes.io/component"].clone()
    };
    assert_eq!(component(create(namespace.name(), &object, &dry)), "node-agent");
    // The gate also gets reviews from kube-system, but the default policies do not apply there.
    assert_eq!(component(create("kube-system", &object, &dry)), Value::Null);
    assert_eq!(gate.decisions("kube-system").len(), 2);
    // A namespace can opt out with a label.
    assert_eq!(component(create(ignored.name(), &object, &dry)), Value::Null);
    assert_eq!(gate.decisions(ignored.name()), []);

    gate.kill();
    let words = create(namespace.name(), &object, &[]).failed().stderr;
    let start = "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: failed calling \
                 webhook \"daemonsets.wardset.dev\": failed to call webhook: Post \"https://127.0.0.1:";
    assert!(words.starts_with(start), "{words}");
    assert!(
        words.contains("/mutate?timeout=5s\": ") && words.trim_end().ends_with("connection refused"),
        "{words}"
    );
    assert_eq!(create("kube-system", &object, &dry).succeeded().stderr, "");
    assert_eq!(create(ignored.name(), &object, &dry).succeeded().stderr, "");
    // Neither deletes nor other kinds of objects call the webhook.
    namespace.succeed(&["delete", "daemonset", "fluentd-agent", "--ignore-not-found"]);
    namespace.succeed(&["create", "configmap", "any"]);

    // After a restart, the API server reaches the server at once.
    gate.restart();
    assert_eq!(component(create(namespace.name(), &object, &dry)), "node-agent");
}

#[test]
fn trap_is_handled_by_on_error_and_then_by_the_failure_policy() {
    // The guest traps in dry runs only.
    let mut files = vec![("trap.wasm".to_owned(), guests::component("unreachable"))];
    for on_error in ["fail", "deny", "allow"] {
        let policy = json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": format!("traps-{on_error}") },
            "spec": {
                "module": "file:trap.wasm", "onError": on_error,
                "match": { "objectSelector": { "matchLabels": { "on-error": on_error } } },
            },
        });
        files.push((format!("{on_error}.json"), policy.to_string().into()));
    }
    let (gate, namespace) = everywhere(files);
    let try_in = |namespace: &str, on_error: &str, args: &[&str]| {
        create(namespace, &labelled(&gate, &json!({ "on-error": on_error })), args)
    };
    let dry = ["--dry-run=server"];
    assert_eq!(try_in(namespace.name(), "fail", &[]).succeeded().stderr, "");
    namespace.succeed(&["delete", "daemonset", "fluentd-agent"]);

    let words = try_in(namespace.name(), "fail", &dry).failed().stderr;
    let start = "Error from server (InternalError): error when creating \"STDIN\": Internal error occurred: failed calling \
                 webhook \"daemonsets.wardset.dev\": failed to call webhook: an error on the server (\"policy \
                 `traps-fail` could not decide (";
    assert!(words.starts_with(start), "{words}");
    assert!(words.ends_with("\") has prevented the request from succeeding\n"), "{words}");
    // The entry for kube-system has `failurePolicy: Ignore`.
    assert_eq!(try_in("kube-system", "fail", &dry).succeeded().stderr, "");

    for place in [namespace.name(), "kube-system"] {
        let words = try_in(place, "deny", &dry).failed().stderr;
        assert!(words.contains(" denied the request: policy `traps-deny` could not decide ("), "{words}");
        assert!(words.ends_with("; its `onError` is `deny`\n"), "{words}");
        assert_eq!(
            try_in(place, "allow", &dry).succeeded().stderr,
            "Warning: traps-allow: could not decide, and lets the object through\n"
        );
    }
    assert!(gate.metric("wardset_errors_total") >= 6);
}
