//! Laws of mutation, checked with generated and real DaemonSets:
//!
//! - A second review changes nothing.
//! - The author's entries remain a prefix of each list.
//! - Affinity only removes nodes, and tolerations only add nodes.
//! - All other bytes stay the same.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use wardset_core::decision::Outcome;
use wardset_runtime::Snapshot;

use crate::placement::oracle::{selected, tolerated};
use crate::support::{self, corpus, patched};

/// Returns the order of a policy, and a timeout that suffices if many tests share few processors.
fn patient(order: i32) -> String {
    format!("  order: {order}\n  limits: {{timeout: 10s}}")
}

/// Returns every mutating module, with settings that make it change as much as it can.
fn everything() -> String {
    support::policy(
        "labels",
        "default-labels",
        &json!({"labels": {"example.com/a": "1", "team": "x"}, "templateLabels": {"example.com/t": "1"}}),
        &patient(1),
    ) + &support::policy(
        "tolerations",
        "default-tolerations",
        &json!({"tolerations": [
            {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, {"key": "spot", "operator": "Equal", "value": "yes"},
        ]}),
        &patient(2),
    ) + &support::policy(
        "affinity",
        "node-affinity",
        &json!({"workersOnly": true, "excludeVirtualNodes": true, "require": [{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}]}),
        &patient(3),
    )
}

const TEMPLATE: &str = "/spec/template/spec";
const TERMS: &str = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// Checks every law on one object.
async fn check(snapshot: &Snapshot, object: &Value, title: &str) -> Result<(), TestCaseError> {
    let decision = support::decide(snapshot, object, None).await;
    let Outcome::Allowed = &decision.outcome else {
        return Err(TestCaseError::fail(format!("{title}: {:?}", decision.outcome)));
    };
    let after = patched(object, &decision);
    let ours: Value = serde_json::from_str(decision.object.text()).unwrap();
    prop_assert_eq!(&after, &ours, "{}: json-patch and Wardset disagree on the patched object", title);

    let again = support::decide(snapshot, &after, None).await;
    prop_assert!(
        again.patch.is_empty(),
        "{}: a second review changes the object again: {:?}",
        title,
        again.patch
    );

    let tolerations = |object: &Value| {
        object
            .pointer("/spec/template/spec/tolerations")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let (before_t, after_t) = (tolerations(object), tolerations(&after));
    prop_assert_eq!(
        &after_t[..before_t.len()],
        &before_t[..],
        "{}: the author's tolerations are not a prefix",
        title
    );
    let terms = |object: &Value| object.pointer(TERMS).and_then(Value::as_array).cloned().unwrap_or_default();
    for (before, after) in terms(object).iter().zip(terms(&after)) {
        let expressions = |term: &Value| term["matchExpressions"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(
            &expressions(&after)[..expressions(before).len()],
            &expressions(before)[..],
            "{}: the author's expressions are not a prefix",
            title
        );
        prop_assert_eq!(&after["matchFields"], &before["matchFields"], "{}", title);
    }

    // Affinity only removes nodes, and tolerations only add nodes.
    for node in nodes() {
        let (was, is) = (selected(object, &node), selected(&after, &node));
        prop_assert!(!is || was, "{}: affinity added the node {}", title, node);
        let (was, is) = (tolerated(object, &node), tolerated(&after, &node));
        prop_assert!(!was || is, "{}: tolerations removed the node {}", title, node);
    }

    // Fields that no policy changes are equal byte for byte.
    for pointer in [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/metadata/annotations",
        "/spec/selector",
        "/spec/updateStrategy",
        "/spec/template/spec/containers",
        "/spec/template/spec/volumes",
        "/unknown",
        "/spec/template/spec/unknown",
    ] {
        let text = |document: &wardset_core::document::Document| {
            document.get(wardset_core::Pointer::parse(pointer).unwrap()).map(str::to_owned)
        };
        let original = wardset_core::document::Document::parse(object.to_string()).unwrap();
        prop_assert_eq!(text(&original), text(&decision.object), "{}: {}", title, pointer);
    }
    Ok(())
}

/// Returns nodes that vary in every field that the generated DaemonSets and the policies use.
fn nodes() -> Vec<Value> {
    let mut nodes = Vec::new();
    for disk in [None, Some("ssd"), Some("hdd")] {
        for role in [
            None,
            Some("node-role.kubernetes.io/control-plane"),
            Some("node-role.kubernetes.io/master"),
            Some("node-role.kubernetes.io/controlplane"),
        ] {
            for kind in [None, Some("virtual-kubelet")] {
                for taint in [
                    json!([]),
                    json!([{"key": "gpu", "value": "a", "effect": "NoSchedule"}]),
                    json!([{"key": "spot", "value": "yes", "effect": "NoExecute"}]),
                ] {
                    let mut labels = json!({"kubernetes.io/os": "linux"});
                    for (key, value) in [(Some("disk"), disk), (role, Some("")), (Some("type"), kind)] {
                        if let (Some(key), Some(value)) = (key, value) {
                            labels[key] = json!(value);
                        }
                    }
                    let name = format!("n{}", nodes.len());
                    nodes.push(
                        json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taint}}),
                    );
                }
            }
        }
    }
    nodes
}

fn requirements() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "disk",
        "type",
        "kubernetes.io/os",
        "node-role.kubernetes.io/control-plane",
        "zone",
    ]);
    let values = prop::collection::vec(
        prop::sample::select(vec!["ssd", "hdd", "linux", "virtual-kubelet", "7"]),
        1..3,
    );
    (key, prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]), values).prop_map(
        |(key, operator, values)| match operator {
            "Exists" | "DoesNotExist" => json!({"key": key, "operator": operator}),
            "Gt" | "Lt" => json!({"key": key, "operator": operator, "values": ["5"]}),
            _ => json!({"key": key, "operator": operator, "values": values}),
        },
    )
}

fn terms() -> impl Strategy<Value = Value> {
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["n1"]}]);
    (prop::collection::vec(requirements(), 0..3), any::<bool>(), any::<bool>()).prop_map(
        move |(expressions, has_fields, written)| {
            let mut term = json!({});
            if written || !expressions.is_empty() {
                term["matchExpressions"] = json!(expressions);
            }
            if has_fields {
                term["matchFields"] = fields.clone();
            }
            term
        },
    )
}

fn affinities() -> impl Strategy<Value = Option<Value>> {
    let pods = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "h"}]});
    let required = prop::collection::vec(terms(), 0..4).prop_map(move |terms| {
        json!({"podAntiAffinity": pods, "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    });
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        Just(Some(json!({}))),
        Just(Some(json!({"nodeAffinity": null}))),
        Just(Some(json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}))),
        required.prop_map(Some),
    ]
}

fn tolerations() -> impl Strategy<Value = Option<Value>> {
    let toleration = prop_oneof![
        Just(json!({"operator": "Exists"})),
        Just(json!({"key": "gpu", "operator": "Exists"})),
        Just(json!({"key": "gpu", "value": "a", "effect": "NoSchedule"})),
        Just(
            json!({"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60})
        ),
        Just(json!({"key": "gpu", "operator": "Lt", "value": "5"})),
        Just(json!({"key": "other", "operator": "Exists", "newField": 1.50})),
    ];
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        prop::collection::vec(toleration, 0..4).prop_map(|tolerations| Some(json!(tolerations))),
    ]
}

fn daemonsets() -> impl Strategy<Value = Value> {
    let selector = prop::sample::select(vec![
        None,
        Some(json!({"disk": "ssd"})),
        Some(json!({"kubernetes.io/os": "linux"})),
        Some(Value::Null),
    ]);
    let labels = prop::sample::select(vec![
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!({"team": "y", "example.com/a": "2"})),
    ]);
    let template_labels =
        prop::sample::select(vec![json!({"app": "x"}), json!({"app": "x", "example.com/t": "9"})]);
    (affinities(), tolerations(), selector, labels, template_labels, any::<bool>()).prop_map(|(affinity, tolerations, selector, labels, template_labels, host)| {
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "unknown": {"n": 1.0, "e": 1e3, "s": "\u{e9}\n"},
            "metadata": {"name": "x", "namespace": "ns", "annotations": {"a/b": "~1"}},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": template_labels}, "spec": {"containers": [{"name": "c", "image": "i"}], "unknown": [null, -0.0]}},
            },
        });
        let spec = object.pointer_mut(TEMPLATE).unwrap().as_object_mut().unwrap();
        for (field, value) in [("affinity", affinity), ("tolerations", tolerations), ("nodeSelector", selector), ("hostNetwork", host.then_some(json!(true)))] {
            if let Some(value) = value {
                spec.insert(field.to_owned(), value);
            }
        }
        if let Some(labels) = labels {
            object["metadata"]["labels"] = labels;
        }
        object
    })
}

#[test]
fn the_laws_hold_for_generated_daemonsets() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let snapshot = runtime.block_on(support::snapshot(&everything()));
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner.run(&daemonsets(), |object| runtime.block_on(check(&snapshot, &object, "generated"))).unwrap();
}

#[tokio::test]
async fn the_laws_hold_for_real_daemonsets() {
    let snapshot = support::snapshot(&everything()).await;
    for (origin, object) in corpus() {
        check(&snapshot, &object, &origin).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_review_of_a_real_daemonset_changes_nothing() {
    let snapshot = support::defaults().await;
    for (origin, mut object) in corpus() {
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!("default");
        }
        let decision = support::decide(&snapshot, &object, None).await;
        assert!(!matches!(decision.outcome, Outcome::Failed { .. }), "{origin}: {:?}", decision.outcome);
        if object["metadata"]["namespace"] == "kube-system" {
            assert!(
                decision.patch.is_empty() && decision.reports.is_empty(),
                "{origin}: kube-system is excluded"
            );
        }
        let after = patched(&object, &decision);
        let again = support::decide(&snapshot, &after, None).await;
        assert_eq!(again.patch, [], "{origin}");
    }
}

async fn workers_only() -> Snapshot {
    let settings = json!({"workersOnly": true});
    support::snapshot(&support::policy("workers-only", "node-affinity", &settings, "")).await
}

#[tokio::test]
async fn node_infrastructure_keeps_the_control_plane_in_any_namespace() {
    let workers_only = workers_only().await;
    let (mut left_alone, mut narrowed) = (Vec::new(), Vec::new());
    for (_, object) in corpus() {
        let decision = support::decide(&workers_only, &object, None).await;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if decision.patch.is_empty() { left_alone.push(name) } else { narrowed.push(name) }
    }
    if left_alone.is_empty() && narrowed.is_empty() {
        return;
    }
    for name in ["kube-proxy", "calico-node", "cilium", "kube-flannel-ds", "ebs-csi-node"] {
        assert!(
            left_alone.iter().any(|left| left == name),
            "`{name}` must keep its placement; unchanged: {left_alone:?}"
        );
        assert!(!narrowed.iter().any(|narrowed| narrowed == name), "`{name}` was narrowed");
    }
    for name in ["fluentd", "falco"] {
        assert!(
            narrowed.iter().any(|narrowed| narrowed.contains(name)),
            "`{name}` must run on workers only; narrowed: {narrowed:?}"
        );
    }
}

/// The same check without a corpus, so that it runs on every machine.
#[tokio::test]
async fn a_cni_agent_keeps_the_control_plane_and_a_log_agent_does_not() {
    let workers_only = workers_only().await;
    let mut object = support::daemonset();
    object["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    assert_eq!(support::decide(&workers_only, &object, None).await.patch.len(), 1);
    object["spec"]["template"]["spec"]["priorityClassName"] = json!("system-node-critical");
    let decision = support::decide(&workers_only, &object, None).await;
    assert_eq!(decision.patch, []);
    assert_eq!(decision.warnings, [""; 0]);
    assert_eq!(decision.reports[0].notes().len(), 1, "{:?}", decision.reports[0].notes());
}

#[tokio::test]
async fn adds_the_requirement_to_each_term_except_an_empty_one() {
    let snapshot = support::snapshot(&support::policy(
        "p",
        "node-affinity",
        &json!({"require": [{"key": "disk", "operator": "Exists"}]}),
        "",
    ))
    .await;
    let mut object = support::daemonset();
    let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    object["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("a"), {}, term("b"), term("c")]}}});
    let after = patched(&object, &support::decide(&snapshot, &object, None).await);
    let terms = after.pointer(TERMS).unwrap().as_array().unwrap();
    assert_eq!(terms.len(), 4);
    assert_eq!(terms[1], json!({}));
    for n in [0, 2, 3] {
        assert_eq!(terms[n]["matchExpressions"][1], json!({"key": "disk", "operator": "Exists"}));
    }
}

#[tokio::test]
async fn accepts_null_tolerations_empty_affinity_and_newer_operators() {
    let snapshot = support::snapshot(&everything()).await;
    let mut object = support::daemonset();
    object["spec"]["template"]["spec"]["tolerations"] = Value::Null;
    object["spec"]["template"]["spec"]["affinity"] = json!({});
    let after = patched(&object, &support::decide(&snapshot, &object, None).await);
    assert_eq!(after["spec"]["template"]["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(after.pointer(TERMS).unwrap().as_array().unwrap().len(), 1);
    let newer = json!({"key": "gpu", "operator": "Lt", "value": "5", "effect": "NoSchedule"});
    object["spec"]["template"]["spec"]["tolerations"] = json!([newer]);
    let after = patched(&object, &support::decide(&snapshot, &object, None).await);
    let tolerations = after["spec"]["template"]["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations[0], newer);
    assert_eq!(tolerations.len(), 3);
}

#[tokio::test]
async fn annotation_changes_no_template_and_undo_gets_the_same_additions() {
    let snapshot = support::snapshot(&everything()).await;
    let sent = support::daemonset();
    let stored = patched(&sent, &support::decide(&snapshot, &sent, None).await);
    // kured writes its lock as an annotation.
    let mut annotated = sent.clone();
    annotated["spec"]["template"] = sent["spec"]["template"].clone();
    let mut old = sent.clone();
    old["metadata"]["annotations"] = json!({"other": "1"});
    annotated["metadata"]["annotations"] = json!({"weave.works/kured-node-lock": "{}"});
    let decision = support::decide(&snapshot, &annotated, Some(&old)).await;
    assert!(
        decision.patch.iter().all(|operation| !operation.path().as_str().starts_with("/spec")),
        "{:?}",
        decision.patch
    );
    assert!(decision.audit.contains_key("changed-by"), "policies must still add labels");
    // `rollout undo` to a revision from before Wardset is an update with an old template.
    let mut newer = stored.clone();
    newer["spec"]["template"]["spec"]["containers"][0]["image"] = json!("fluentd:v9");
    let mut undone = newer.clone();
    undone["spec"]["template"] = sent["spec"]["template"].clone();
    let after = patched(&undone, &support::decide(&snapshot, &undone, Some(&newer)).await);
    assert_eq!(after["spec"]["template"], stored["spec"]["template"]);
}
