//! Generates nodes and DaemonSets that vary in every field that affects placement, and that an API server accepts.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

/// Label keys, with the values that nodes have and DaemonSets select. The empty string is a value.
const LABELS: [(&str, &[&str]); 7] = [
    ("example.com/disk", &["ssd", "hdd", ""]),
    ("example.com/rank", &["3", "5", "7", "x"]),
    ("type", &["virtual-kubelet", "real"]),
    ("eks.amazonaws.com/compute-type", &["fargate", "ec2"]),
    ("node-role.kubernetes.io/control-plane", &[""]),
    ("node-role.kubernetes.io/master", &[""]),
    ("node-role.kubernetes.io/controlplane", &[""]),
];

const TAINTS: [(&str, &str); 4] = [
    ("example.com/dedicated", "a"),
    ("example.com/dedicated", "b"),
    ("example.com/spot", ""),
    ("nvidia.com/gpu", ""),
];

/// Returns a node as a user would create it.
pub(crate) fn node(dice: &mut Dice, name: &str) -> Value {
    let mut labels = Map::new();
    labels.insert("kubernetes.io/hostname".to_owned(), name.into());
    for (key, values) in LABELS {
        let chances = if key.starts_with("node-role") { 6 } else { 2 };
        if dice.one_in(chances) {
            labels.insert(key.to_owned(), (*dice.pick(values)).into());
        }
    }
    let mut taints: Vec<Value> = Vec::new();
    while dice.one_in(3) {
        let ((key, value), effect) =
            (*dice.pick(&TAINTS), *dice.pick(&["NoSchedule", "NoExecute", "PreferNoSchedule"]));
        // The pair of key and effect must be unique.
        if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == effect) {
            taints.push(json!({ "key": key, "value": value, "effect": effect }));
        }
    }
    let resources = json!({ "cpu": "16", "memory": "64Gi", "pods": "250" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels, "annotations": { "kwok.x-k8s.io/node": "fake" } },
        "spec": { "taints": taints, "unschedulable": dice.one_in(8) },
        "status": { "capacity": resources, "allocatable": resources },
    })
}

/// Returns a DaemonSet whose pods may refer to the nodes `names`.
pub(crate) fn daemonset(dice: &mut Dice, name: &str, names: &[String]) -> Value {
    let mut pod = json!({ "containers": [{ "name": "agent", "image": "example.com/agent:1" }] });
    if dice.one_in(3) {
        let (key, values) = *dice.pick(&LABELS);
        pod["nodeSelector"] = json!({ key: dice.pick(values) });
    }
    if dice.one_in(2) {
        let terms: Vec<Value> = (0..=dice.below(3)).map(|_| term(dice, names)).collect();
        pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({ "nodeSelectorTerms": terms });
    }
    if dice.one_in(5) {
        pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] =
            json!([{ "weight": 1, "preference": { "matchExpressions": [requirement(dice)] } }]);
    }
    if dice.one_in(2) {
        let tolerations: Vec<Value> = (0..=dice.below(3)).map(|_| toleration(dice)).collect();
        pod["tolerations"] = tolerations.into();
    }
    if dice.one_in(8) {
        pod["hostNetwork"] = true.into();
    }
    if dice.one_in(15) {
        pod["nodeName"] = dice.pick(names).as_str().into();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod },
        },
    })
}

fn term(dice: &mut Dice, names: &[String]) -> Value {
    let mut term = json!({});
    if dice.one_in(12) {
        return term;
    }
    let expressions: Vec<Value> = (0..dice.below(3)).map(|_| requirement(dice)).collect();
    if expressions.is_empty() || dice.one_in(6) {
        let operator = if dice.one_in(2) { "In" } else { "NotIn" };
        term["matchFields"] =
            json!([{ "key": "metadata.name", "operator": operator, "values": [dice.pick(names)] }]);
    }
    if !expressions.is_empty() {
        term["matchExpressions"] = expressions.into();
    }
    term
}

fn requirement(dice: &mut Dice) -> Value {
    let (key, values) = *dice.pick(&LABELS);
    match dice.below(8) {
        0..3 => {
            let mut listed = vec![*dice.pick(values)];
            listed.extend(dice.one_in(2).then(|| *dice.pick(values)));
            json!({ "key": key, "operator": "In", "values": listed })
        }
        3..5 => json!({ "key": key, "operator": "NotIn", "values": [dice.pick(values)] }),
        5 => json!({ "key": key, "operator": "Exists" }),
        6 => json!({ "key": key, "operator": "DoesNotExist" }),
        _ => {
            let operator = if dice.one_in(2) { "Gt" } else { "Lt" };
            json!({ "key": "example.com/rank", "operator": operator, "values": [dice.pick(&["3", "4", "5", "6"])] })
        }
    }
}

fn toleration(dice: &mut Dice) -> Value {
    let ((key, value), effect) =
        (*dice.pick(&TAINTS), *dice.pick(&["", "NoSchedule", "NoExecute", "PreferNoSchedule"]));
    let mut toleration = match dice.below(6) {
        0 => json!({ "operator": "Exists" }),
        1..4 => json!({ "key": key, "operator": "Exists" }),
        4 => json!({ "key": key, "operator": "Equal", "value": value }),
        _ => json!({ "key": key, "value": value }),
    };
    if !effect.is_empty() {
        toleration["effect"] = effect.into();
    }
    toleration
}
