//! The requests of the API server: the order of defaults, webhooks and validation, and the requests that are never
//! sent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::canned::{Asked, Canned};
use crate::pods::WORKERS;
use crate::registration::Kind::{Mutating, Validating};
use crate::support::{Kubectl, Namespace, Run, eventually, example};

fn create(namespace: &Namespace, object: &Value, args: &[&str]) -> Run {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.name().into();
    namespace.run_with_input(&[&["create", "--filename=-"], args].concat(), &object.to_string())
}

#[test]
fn mutating_webhooks_run_after_defaults_and_before_validation() {
    let canned = Canned::start(&[(Mutating, json!({})), (Validating, json!({}))], Asked::allow);
    let namespace = canned.namespace("requests");
    let mut wrong = example();
    wrong["spec"]["template"]["metadata"]["labels"] = json!({ "another": "label" });
    let words = create(&namespace, &wrong, &[]).failed().stderr;
    assert!(
        words.starts_with("The DaemonSet \"fluentd-agent\" is invalid: spec.template.metadata.labels: "),
        "{words}"
    );
    assert_eq!(canned.operations(), ["Mutating CREATE"]);

    create(&namespace, &example(), &["--dry-run=server"]).succeeded();
    let asked = canned.asked();
    assert_eq!(canned.operations()[1..], ["Mutating CREATE", "Validating CREATE"]);
    for one in &asked[1..] {
        let object = &one.request()["object"];
        // Defaults are indistinguishable from the author's fields.
        assert_eq!(
            object["spec"]["updateStrategy"],
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } })
        );
        assert_eq!(object["spec"]["template"]["spec"]["restartPolicy"], "Always");
        assert!(object["spec"]["template"]["spec"]["tolerations"].is_null());
        assert!(object["metadata"]["managedFields"].is_array() && object["status"].is_object());
        assert_eq!((&one.request()["dryRun"], &one.request()["oldObject"]), (&json!(true), &Value::Null));
        assert_eq!(one.request()["userInfo"]["username"], "kubernetes-admin");
    }
    // Only the validating webhook sees the fields that the API server generates.
    assert!(asked[1].request()["object"]["metadata"]["uid"].is_null());
    assert!(asked[2].request()["object"]["metadata"]["uid"].is_string());
}

#[test]
fn malformed_objects_reach_no_webhook() {
    let canned = Canned::start(&[(Mutating, json!({}))], Asked::allow);
    let namespace = canned.namespace("requests");
    let mut unknown = example();
    unknown["spec"]["unheardOf"] = json!(1);
    let words = create(&namespace, &unknown, &["--dry-run=server"]).failed().stderr;
    assert!(words.contains("strict decoding error: unknown field \"spec.unheardOf\""), "{words}");
    let mut wrong = example();
    wrong["spec"]["template"]["spec"]["containers"] = json!("none");
    create(&namespace, &wrong, &["--dry-run=server"]).failed();
    assert_eq!(canned.operations(), Vec::<String>::new());
    // If the author asks for less validation, the API server drops the field before it calls the webhook.
    create(&namespace, &unknown, &["--dry-run=server", "--validate=ignore"]).succeeded();
    assert!(canned.asked()[0].request()["object"]["spec"]["unheardOf"].is_null());
}

#[test]
fn generated_name_is_known_only_to_validating_webhooks() {
    let canned = Canned::start(&[(Mutating, json!({})), (Validating, json!({}))], Asked::allow);
    let namespace = canned.namespace("requests");
    let mut object = example();
    object["metadata"] = json!({ "generateName": "fluentd-" });
    create(&namespace, &object, &["--dry-run=server"]).succeeded();
    let asked = canned.asked();
    assert!(
        asked[0].request()["name"].is_null() && asked[0].request()["object"]["metadata"]["name"].is_null()
    );
    assert!(asked[1].name().starts_with("fluentd-"), "{:#}", asked[1].review);
}

#[test]
fn if_needed_webhook_is_called_again_if_a_later_one_changes_the_object() {
    // Their timeouts distinguish the entries.
    let entry = |name: &str, policy: &str, timeout: u8| {
        (Mutating, json!({ "name": name, "reinvocationPolicy": policy, "timeoutSeconds": timeout }))
    };
    let entries = [
        entry("if-needed.wardset.dev", "IfNeeded", 3),
        entry("never.wardset.dev", "Never", 4),
        entry("changes.wardset.dev", "IfNeeded", 5),
    ];
    let canned = Canned::start(&entries, |asked| match &*asked.query {
        "timeout=5s" => {
            asked.patch(&json!([{ "op": "add", "path": "/metadata/labels/late", "value": "yes" }]))
        }
        _ => asked.allow(),
    });
    let namespace = canned.namespace("requests");
    create(&namespace, &example(), &["--dry-run=server"]).succeeded();
    let asked: Vec<(String, bool)> = canned
        .asked()
        .into_iter()
        .map(|one| {
            let late = one.request()["object"]["metadata"]["labels"]["late"].is_string();
            (one.query, late)
        })
        .collect();
    let expected = [("3", false), ("4", false), ("5", false), ("3", true)];
    assert_eq!(asked, expected.map(|(seconds, late)| (format!("timeout={seconds}s"), late)));
}

#[test]
fn status_and_deletes_reach_only_webhooks_with_a_rule_for_them() {
    let all = json!([{
        "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["daemonsets", "daemonsets/*"], "operations": ["*"],
    }]);
    let canned = Canned::start(&[(Mutating, json!({})), (Validating, json!({ "rules": all }))], Asked::allow);
    let namespace = canned.namespace("requests");
    create(&namespace, &example(), &[]).succeeded();
    namespace.settled("fluentd-agent", &WORKERS);
    namespace.succeed(&["delete", "daemonset", "fluentd-agent"]);
    let everything = |asked: &Asked| {
        let request = asked.request();
        let resource = request["subResource"].as_str().unwrap_or("itself");
        format!("{} {resource}", request["operation"].as_str().unwrap())
    };
    eventually(Duration::from_secs(10), "the webhook receives the delete", || {
        let asked: Vec<String> =
            canned.asked().iter().filter(|one| one.kind == Validating).map(everything).collect();
        let seen = ["CREATE itself", "UPDATE status", "DELETE itself"];
        if seen.iter().all(|seen| asked.iter().any(|one| one == seen)) { Ok(()) } else { Err(asked) }
    });
    // With the shipped rules, none of these requests arrives.
    let asked = canned.asked();
    let shipped: Vec<String> = asked.iter().filter(|one| one.kind == Mutating).map(everything).collect();
    assert_eq!(shipped, ["CREATE itself"]);
}

#[test]
fn daemonsets_have_only_one_api_version() {
    // `matchPolicy: Equivalent` matters only with another version. If this test ever fails, add a test of such a
    // request.
    let kubectl = Kubectl::new();
    let group: Value = serde_json::from_str(&kubectl.succeed(&["get", "--raw=/apis/apps"])).unwrap();
    assert_eq!(group["versions"].as_array().unwrap().len(), 1, "{group:#}");
    let resources = kubectl.succeed(&["api-resources", "--no-headers"]);
    let kinds: Vec<Vec<&str>> = resources
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == "DaemonSet"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(kinds, [vec!["daemonsets", "ds", "apps/v1", "true", "DaemonSet"]]);
}
