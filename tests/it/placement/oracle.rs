//! A slow and simple oracle: the nodes on which the DaemonSet controller creates pods. It follows
//! `NodeShouldRunDaemonPod` and Kubernetes' documentation of node affinity, taints and DaemonSets. Nodes and DaemonSets
//! are as the API server stores them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

const POD: &str = "/spec/template/spec";

/// Returns the names of the nodes that get a pod.
pub(crate) fn reached(daemonset: &Value, nodes: &[Value]) -> BTreeSet<String> {
    let reached = nodes.iter().filter(|node| selected(daemonset, node) && tolerated(daemonset, node));
    reached.map(|node| name(node).to_owned()).collect()
}

/// Returns whether `nodeName`, `nodeSelector` and required node affinity allow the node.
pub(crate) fn selected(daemonset: &Value, node: &Value) -> bool {
    let pod = daemonset.pointer(POD).unwrap();
    let label = |key: &str| node["metadata"]["labels"].get(key).and_then(Value::as_str);
    let by_name = match pod["nodeName"].as_str() {
        None | Some("") => true,
        Some(pinned) => pinned == name(node),
    };
    let by_selector =
        entries(&pod["nodeSelector"]).all(|(key, value)| label(key).is_some_and(|label| label == value));
    let required = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let by_affinity =
        required.is_null() || items(&required["nodeSelectorTerms"]).any(|term| selects(term, node));
    by_name && by_selector && by_affinity
}

/// Returns whether a term matches. All of its requirements must hold; an empty term matches no node.
fn selects(term: &Value, node: &Value) -> bool {
    let label = |key: &str| node["metadata"]["labels"].get(key).and_then(Value::as_str);
    let field = |key: &str| (key == "metadata.name").then(|| name(node));
    let (expressions, fields) = (&term["matchExpressions"], &term["matchFields"]);
    (items(expressions).next().is_some() || items(fields).next().is_some())
        && items(expressions).all(|requirement| holds(requirement, label))
        && items(fields).all(|requirement| holds(requirement, field))
}

fn holds<'n>(requirement: &Value, of: impl Fn(&str) -> Option<&'n str>) -> bool {
    let value = of(requirement["key"].as_str().unwrap());
    let among = value.is_some_and(|value| items(&requirement["values"]).any(|listed| listed == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = requirement["values"][0].as_str().and_then(number);
    let beyond = |compare: fn(&i64, &i64) -> bool| {
        value.and_then(number).zip(bound).is_some_and(|(value, bound)| compare(&value, &bound))
    };
    match requirement["operator"].as_str().unwrap() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => beyond(i64::gt),
        "Lt" => beyond(i64::lt),
        other => panic!("unknown operator {other}"),
    }
}

/// Returns whether the pod tolerates each taint that keeps pods off. The controller adds tolerations to the author's.
pub(crate) fn tolerated(daemonset: &Value, node: &Value) -> bool {
    let pod = daemonset.pointer(POD).unwrap();
    let mut tolerations: Vec<Value> = items(&pod["tolerations"]).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        tolerations.push(
            json!({ "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect }),
        );
    };
    for key in ["not-ready", "unreachable"] {
        add(key, "NoExecute");
    }
    for key in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
        add(key, "NoSchedule");
    }
    if pod["hostNetwork"] == true {
        add("network-unavailable", "NoSchedule");
    }
    let keeps_off =
        |taint: &&Value| ["NoSchedule", "NoExecute"].iter().any(|effect| taint["effect"] == *effect);
    items(&node["spec"]["taints"])
        .filter(keeps_off)
        .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (key, effect, operator) =
        (text(toleration, "key"), text(toleration, "effect"), text(toleration, "operator"));
    let by_effect = effect.is_empty() || effect == text(taint, "effect");
    let by_key = key == text(taint, "key") || (key.is_empty() && operator == "Exists");
    let by_value = match operator.as_str() {
        "Exists" => true,
        "" | "Equal" => text(toleration, "value") == text(taint, "value"),
        // `Lt` and `Gt`. No test here uses them with a taint that they tolerate.
        _ => false,
    };
    by_effect && by_key && by_value
}

/// A node's name.
pub(crate) fn name(node: &Value) -> &str {
    node["metadata"]["name"].as_str().unwrap()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}
