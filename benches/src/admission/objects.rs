//! The DaemonSets of the comparison, and the form in which two stored objects are compared.

use serde_json::{Value, json};

use crate::reviews::{Size, daemon_set};

/// The DaemonSets that both kinds of policies must treat alike, with their names. The first two are measured.
#[must_use]
pub fn samples() -> Vec<(&'static str, Value)> {
    let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let terms = json!([
        expression("type", "NotIn", &["virtual-kubelet"]),
        expression("topology.kubernetes.io/zone", "In", &["a", "b"]),
        { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["worker-1"] }] },
    ]);
    vec![
        (Size::Usual.label(), daemon_set(Size::Usual)),
        (Size::Large.label(), daemon_set(Size::Large)),
        ("without labels and tolerations", bare(json!({}), json!({}))),
        (
            "with a preference and its own label",
            bare(
                json!({ "labels": { "app.kubernetes.io/component": "storage" } }),
                json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
                    { "weight": 1, "preference": expression("disk", "In", &["ssd"]) },
                ] } } }),
            ),
        ),
        (
            "with three terms and a toleration of everything",
            bare(
                json!({}),
                json!({
                    "tolerations": [{ "operator": "Exists" }],
                    "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": terms,
                    } } },
                }),
            ),
        ),
    ]
}

/// A small DaemonSet with additional members in its metadata and in the specification of its pods.
fn bare(metadata: Value, pod: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "small", "namespace": "platform" },
        "spec": {
            "selector": { "matchLabels": { "app": "small" } },
            "template": {
                "metadata": { "labels": { "app": "small" } },
                "spec": { "containers": [{ "name": "small", "image": "registry.example.com/small:1" }] },
            },
        },
    });
    merge(&mut object["metadata"], metadata);
    merge(&mut object["spec"]["template"]["spec"], pod);
    object
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Returns the object that the API server would store, without the members that differ in each request: the UID, the
/// time of creation and the times in `managedFields`.
#[must_use]
pub fn stored(mut answer: Value) -> Value {
    if let Some(metadata) = answer["metadata"].as_object_mut() {
        for member in ["uid", "creationTimestamp", "managedFields"] {
            metadata.shift_remove(member);
        }
    }
    answer
}

/// Returns a stored object with its tolerations and node requirements in a fixed order. The order of
/// MutatingAdmissionPolicies is undefined, so the order of these lists is, too.
#[must_use]
pub fn sorted(mut object: Value) -> Value {
    fn sort(list: Option<&mut Value>) {
        if let Some(Value::Array(list)) = list {
            list.sort_by_cached_key(Value::to_string);
        }
    }
    sort(object.pointer_mut(TOLERATIONS));
    if let Some(Value::Array(terms)) = object.pointer_mut(TERMS) {
        for term in terms {
            sort(term.get_mut("matchExpressions"));
        }
    }
    object
}

/// Returns the number of labels, tolerations and node requirements of a stored object.
#[must_use]
pub fn entries(object: &Value) -> usize {
    let length = |list: Option<&Value>| list.and_then(Value::as_array).map_or(0, Vec::len);
    let labels = object["metadata"]["labels"].as_object().map_or(0, serde_json::Map::len);
    let terms = object.pointer(TERMS).and_then(Value::as_array).into_iter().flatten();
    let requirements: usize = terms.map(|term| length(term.get("matchExpressions"))).sum();
    labels + length(object.pointer(TOLERATIONS)) + requirements
}

const TOLERATIONS: &str = "/spec/template/spec/tolerations";
const TERMS: &str = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_equal_in_any_order_of_members_and_tolerations() {
        let pod = |tolerations: Value| json!({ "spec": { "template": { "spec": { "tolerations": tolerations } } } });
        let one = pod(json!([{ "key": "a", "operator": "Exists" }, { "key": "b", "operator": "Exists" }]));
        let other = pod(json!([{ "key": "b", "operator": "Exists" }, { "key": "a", "operator": "Exists" }]));
        assert_ne!(one, other);
        assert_eq!(sorted(one.clone()), sorted(other));
        assert_ne!(sorted(one), sorted(pod(json!([{ "key": "a", "operator": "Exists" }]))));
    }

    #[test]
    fn entries_counts_each_kind_of_rule() {
        let [_, _, _, _, (_, object)] = <[_; 5]>::try_from(samples()).unwrap();
        assert_eq!(entries(&object), 3);
    }
}
