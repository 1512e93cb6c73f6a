//! Ten rules about placement and labels, as policies of Wardset and as MutatingAdmissionPolicies.
//!
//! Both do nothing if a DaemonSet already has the wanted entry, and both leave the pod template alone if an update does
//! not touch it.

use serde_json::{Value, json};

/// An entry that every DaemonSet is to have.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// A label of the DaemonSet itself.
    Label {
        /// Its key.
        key: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// A toleration of any value of a taint.
    Toleration {
        /// The taint's key.
        key: &'static str,
        /// The taint's effect.
        effect: &'static str,
    },
    /// A requirement in each term of the required node affinity.
    Requirement {
        /// The key of the node label.
        key: &'static str,
        /// The operator.
        operator: &'static str,
        /// The values.
        values: &'static [&'static str],
    },
}

/// The names of the rules, and the rules. Only one of the first five is a requirement, so one expression can have all
/// five: a second requirement depends on the term that the first one adds.
pub const RULES: [(&str, Rule); 10] = [
    ("component", Rule::Label { key: "app.kubernetes.io/component", value: "node-agent" }),
    ("gpu", Rule::Toleration { key: "nvidia.com/gpu", effect: "NoSchedule" }),
    ("virtual", Rule::Requirement { key: "type", operator: "NotIn", values: &["virtual-kubelet"] }),
    ("spot", Rule::Toleration { key: "example.com/spot", effect: "NoSchedule" }),
    ("cost", Rule::Label { key: "example.com/cost-centre", value: "4711" }),
    (
        "workers",
        Rule::Requirement {
            key: "node-role.kubernetes.io/control-plane",
            operator: "DoesNotExist",
            values: &[],
        },
    ),
    ("edge", Rule::Toleration { key: "example.com/edge", effect: "PreferNoSchedule" }),
    ("team", Rule::Label { key: "example.com/team", value: "platform" }),
    (
        "processors",
        Rule::Requirement { key: "kubernetes.io/arch", operator: "In", values: &["amd64", "arm64"] },
    ),
    ("batch", Rule::Toleration { key: "example.com/batch", effect: "NoSchedule" }),
];

/// The first `n` rules as policies of Wardset, in the text of a policy file.
#[must_use]
pub fn wardset(n: usize) -> String {
    let policy = |(order, (name, rule)): (usize, &(&str, Rule))| {
        let (module, settings) = match rule {
            Rule::Label { key, value } => ("default-labels", json!({ "labels": { *key: value } })),
            Rule::Toleration { key, effect } => (
                "default-tolerations",
                json!({ "tolerations": [{ "key": key, "operator": "Exists", "effect": effect }] }),
            ),
            Rule::Requirement { key, operator, values } => (
                "node-affinity",
                json!({ "require": [{ "key": key, "operator": operator, "values": values }] }),
            ),
        };
        let policy = json!({
            "apiVersion": "wardset.dev/v1alpha1",
            "kind": "Policy",
            "metadata": { "name": name },
            "spec": {
                "module": format!("builtin:{module}"),
                "order": order,
                "match": { "excludeNamespaces": ["kube-system"] },
                "settings": settings,
            },
        });
        format!("---\n{policy}\n")
    };
    RULES.iter().take(n).enumerate().map(policy).collect()
}

/// The first `n` rules as `n` MutatingAdmissionPolicies: their names and their `spec`.
#[must_use]
pub fn policies(n: usize) -> Vec<(String, Value)> {
    let policy = |(name, rule): &(&str, Rule)| {
        let cel = Cel::of(rule);
        // The form of the Kubernetes documentation: a condition that skips the policy if there is nothing to do.
        let mut conditions = vec![json!({ "name": "missing", "expression": cel.missing })];
        if !matches!(rule, Rule::Label { .. }) {
            conditions.push(json!({ "name": "template", "expression": TEMPLATE_MAY_CHANGE }));
        }
        let mutation = [cel.parents, vec![cel.change]].concat().join(" + ");
        ((*name).to_owned(), spec(&conditions, &mutation))
    };
    RULES.iter().take(n).map(policy).collect()
}

/// The first five rules in one expression of one MutatingAdmissionPolicy.
#[must_use]
pub fn one_policy() -> (String, Value) {
    let mut parents: Vec<String> = Vec::new();
    let mut changes = Vec::new();
    for (_, rule) in &RULES[..5] {
        let cel = Cel::of(rule);
        for parent in cel.parents {
            // A second `add` of the same parent would drop the entries that the first one received.
            if !parents.contains(&parent) {
                parents.push(parent);
            }
        }
        let gate = if matches!(rule, Rule::Label { .. }) { "true" } else { TEMPLATE_MAY_CHANGE };
        changes.push(format!("(({}) && ({gate}) ? {} : [])", cel.missing, cel.change));
    }
    ("five-rules".to_owned(), spec(&[], &[parents, changes].concat().join(" + ")))
}

/// The policy that never runs twice is the cheapest one, so this favours MutatingAdmissionPolicies.
fn spec(conditions: &[Value], expression: &str) -> Value {
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": { "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"] },
            ]},
            "resourceRules": [{
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["daemonsets"],
            }],
        },
        "matchConditions": conditions,
        "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
    })
}

/// Wardset's template gate, without its exceptions.
const TEMPLATE_MAY_CHANGE: &str =
    "request.operation == 'CREATE' || object.spec.template != oldObject.spec.template";

/// The expressions of one rule.
struct Cel {
    /// Whether there is anything to do.
    missing: String,
    /// Lists of the operations that add missing parents.
    parents: Vec<String>,
    /// The list of the operations that add the entry.
    change: String,
}

impl Cel {
    fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Label { key, value } => Self::label(&quoted(key), &quoted(value)),
            Rule::Toleration { key, effect } => Self::toleration(&quoted(key), &quoted(effect)),
            Rule::Requirement { key, operator, values } => {
                Self::requirement(&quoted(key), &quoted(operator), &json!(values).to_string())
            }
        }
    }

    fn label(key: &str, value: &str) -> Self {
        Self {
            missing: format!("!({key} in object.metadata.?labels.orValue({{}}))"),
            parents: vec![unless("has(object.metadata.labels)", r#""/metadata/labels""#, "{}")],
            change: add(&format!(r#""/metadata/labels/" + jsonpatch.escapeKey({key})"#), value),
        }
    }

    fn toleration(key: &str, effect: &str) -> Self {
        let pod = "object.spec.template.spec";
        let covers = format!(
            r#"t.?operator.orValue("Equal") == "Exists" && t.?key.orValue("") in ["", {key}] && t.?effect.orValue("") in ["", {effect}]"#
        );
        let toleration = format!(
            r#"Object.spec.template.spec.tolerations{{key: {key}, operator: "Exists", effect: {effect}}}"#
        );
        let path = "/spec/template/spec/tolerations";
        Self {
            missing: format!("!{pod}.?tolerations.orValue([]).exists(t, {covers})"),
            parents: vec![unless(&format!("has({pod}.tolerations)"), &quoted(path), "[]")],
            change: add(&format!(r#""{path}/-""#), &toleration),
        }
    }

    fn requirement(key: &str, operator: &str, values: &str) -> Self {
        let affinity = "object.spec.template.spec.?affinity";
        let path = "/spec/template/spec/affinity";
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let found = format!("{affinity}.?nodeAffinity.?{required}");
        let type_of_affinity = "Object.spec.template.spec.affinity";
        let type_of_selector = format!("{type_of_affinity}.nodeAffinity.{required}");
        let type_of_term = format!("{type_of_selector}.nodeSelectorTerms");
        let list = if values == "[]" { String::new() } else { format!(", values: {values}") };
        let requirement =
            format!("{type_of_term}.matchExpressions{{key: {key}, operator: {operator}{list}}}");
        // An empty term matches no node. A requirement in it would widen the placement.
        let lacks = format!(
            "(has(t.matchExpressions) || has(t.matchFields)) && \
             !t.?matchExpressions.orValue([]).exists(e, e.key == {key} && e.operator == {operator} && \
             e.?values.orValue([]) == {values})"
        );
        let into_terms = format!(
            r#"{found}.value().nodeSelectorTerms.transformList(i, t, {lacks}, JSONPatch{{op: "add", path: "{path}/nodeAffinity/{required}/nodeSelectorTerms/" + string(i) + "/matchExpressions" + (has(t.matchExpressions) ? "/-" : ""), value: has(t.matchExpressions) ? dyn({requirement}) : dyn([{requirement}])}})"#
        );
        let new_term = add(
            &format!(r#""{path}/nodeAffinity/{required}""#),
            &format!(
                "{type_of_selector}{{nodeSelectorTerms: [{type_of_term}{{matchExpressions: [{requirement}]}}]}}"
            ),
        );
        Self {
            missing: format!("!{found}.hasValue() || {found}.value().nodeSelectorTerms.exists(t, {lacks})"),
            parents: vec![
                unless(&format!("{affinity}.hasValue()"), &quoted(path), &format!("{type_of_affinity}{{}}")),
                unless(
                    &format!("{affinity}.?nodeAffinity.hasValue()"),
                    &format!(r#""{path}/nodeAffinity""#),
                    &format!("{type_of_affinity}.nodeAffinity{{}}"),
                ),
            ],
            change: format!("({found}.hasValue() ? {into_terms} : {new_term})"),
        }
    }
}

/// A list with one operation; `path` and `value` are expressions.
fn add(path: &str, value: &str) -> String {
    format!(r#"[JSONPatch{{op: "add", path: {path}, value: {value}}}]"#)
}

fn unless(present: &str, path: &str, value: &str) -> String {
    format!("({present} ? [] : {})", add(path, value))
}

/// A JSON string is a CEL string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_own_name_and_both_forms() {
        let names: std::collections::BTreeSet<&str> = RULES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), RULES.len());
        assert_eq!(policies(10).len(), 10);
        assert_eq!(wardset(10).matches("kind\":\"Policy").count(), 10);
    }

    #[test]
    fn one_expression_adds_each_parent_once() {
        let (_, spec) = one_policy();
        let expression = spec["mutations"][0]["jsonPatch"]["expression"].as_str().unwrap();
        assert_eq!(expression.matches(r#"path: "/spec/template/spec/tolerations", value: []"#).count(), 1);
        assert_eq!(expression.matches(r#"path: "/metadata/labels", value: {}"#).count(), 1);
    }
}
