//! `builtin:cel` and the conditions of `match` in the program: budgets, and cluster data that only some settings need.

use std::fs;

use serde_json::{Value, json};

use crate::support;

/// Reviews a DaemonSet with one policy of `builtin:cel`. Returns the exit code, the report of the policy, and stderr.
fn review(spec: &Value, object: &Value) -> (i32, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "rule"},
        "spec": {"module": "builtin:cel", "settings": {"validations": [{"expression": "true"}]}},
    });
    for (field, value) in spec.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    let path = folder.path().join("rule.json");
    fs::write(&path, policy.to_string()).unwrap();
    let arguments = ["review", "-f", "-", "-o", "json", "--policies", path.to_str().unwrap()];
    let run = support::wardset(&arguments, object.to_string());
    let report = serde_json::from_slice(&run.stdout).unwrap_or(Value::Null);
    (run.status.code().unwrap(), report, String::from_utf8(run.stderr).unwrap())
}

/// Returns a DaemonSet with this number of variables in its container.
fn daemonset(variables: usize) -> Value {
    let env: Vec<_> = (0..variables).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    let container = json!({"name": "agent", "image": "a/b:c", "env": env});
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "ops"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [container]}},
        },
    })
}

const EXPLODES: &str = "object.spec.template.spec.containers[0].env.all(a, \
     object.spec.template.spec.containers[0].env.all(b, a.name != '' || b.name != ''))";

#[test]
fn a_condition_that_explodes_fails_its_policy_with_the_class_match() {
    let spec = json!({"match": {"conditions": [{"name": "costly", "expression": EXPLODES}]}});
    let (code, report, stderr) = review(&spec, &daemonset(2000));
    assert_eq!(code, 1, "{stderr}");
    let error = report["policies"][0]["error"].as_str().unwrap();
    assert!(error.contains("match"), "{error}");
    assert!(error.contains("condition `costly` needs more than 1000000 steps; "), "{error}");
    // The same condition is cheap for a usual object.
    assert_eq!(review(&spec, &daemonset(20)).0, 0);
}

#[test]
fn a_rule_that_explodes_fails_at_its_budget_and_is_named() {
    let validations = json!([{"expression": "true"}, {"expression": EXPLODES}]);
    let spec = json!({"settings": {"validations": validations}, "limits": {"timeout": "10s"}});
    let (code, report, stderr) = review(&spec, &daemonset(2000));
    assert_eq!(code, 1, "{stderr}");
    let error = report["policies"][0]["error"].as_str().unwrap();
    assert!(error.contains("`validations[1].expression` failed: needs more than 1000000 steps; "), "{error}");
}

#[test]
fn a_policy_needs_cluster_data_only_if_an_expression_reads_it() {
    let uses = json!({"validations": [{"expression": "has(namespaceObject.metadata.labels)"}]});
    let (code, _, stderr) = review(&json!({"settings": uses.clone()}), &daemonset(1));
    assert_eq!(code, 2);
    assert!(
        stderr.contains("needs the cluster data `namespaceLabels`; allow it by `spec.clusterData`"),
        "{stderr}"
    );
    let (code, report, stderr) =
        review(&json!({"settings": uses, "clusterData": ["namespaceLabels"]}), &daemonset(1));
    // It may ask, but `review` does not know the labels.
    assert_eq!(code, 1, "{stderr}");
    let error = report["policies"][0]["error"].as_str().unwrap();
    assert!(error.contains("does not know the namespace's labels"), "{error}");
    assert_eq!(review(&json!({}), &daemonset(1)).0, 0);
}
