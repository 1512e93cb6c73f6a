//! The CustomResourceDefinition of `Policy`, generated from the types that parse it.

use kube_core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use wardset_core::policy::PolicySpec;

use crate::supply::cluster::PolicyStatus;
use crate::yaml;

/// Returns the CustomResourceDefinition as YAML.
#[must_use]
pub fn yaml() -> String {
    yaml::to_string(&definition())
}

/// Returns the CustomResourceDefinition of `policies.wardset.dev`.
#[must_use]
pub fn definition() -> Value {
    let root = json!({
        "description": "A policy for DaemonSets: a WebAssembly module, its settings, and where it applies.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema::<PolicySpec>(),
            "status": schema::<PolicyStatus>(),
        },
        "x-kubernetes-validations": [{
            "rule": "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
            "message": "metadata.name: expected 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends",
        }],
    });
    let column = |name: &str, kind: &str, path: &str, description: &str, priority: i32| json!({"name": name, "type": kind, "jsonPath": path, "description": description, "priority": priority});
    let ready = |field: &str| format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "policies.wardset.dev"},
        "spec": {
            "group": "wardset.dev",
            "scope": "Cluster",
            "names": {
                "kind": "Policy", "listKind": "PolicyList", "plural": "policies", "singular": "policy",
                "shortNames": ["wpol"], "categories": ["wardset"],
            },
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": root},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Module", "string", ".spec.module", "Source of the module", 0),
                    column("Mode", "string", ".spec.mode", "Effect of the verdict", 0),
                    column("Order", "integer", ".spec.order", "Mutation order, low first", 0),
                    column("Ready", "string", &ready("status"), "Whether the current spec is active", 0),
                    column("Reason", "string", &ready("reason"), "Active revision", 1),
                    column("Message", "string", &ready("message"), "Problem, if there is one", 1),
                    column("Age", "date", ".metadata.creationTimestamp", "Time since creation", 0),
                ],
            }],
        },
    })
}

/// Returns a type's schema as Kubernetes requires it: structural, without references or unsupported keywords.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = settings.with_transform(StructuralSchemaRewriter);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Removes keywords that have no meaning in Kubernetes. These are titles, the formats of Rust's numbers other than
/// `int32` and `int64`, `null` as a value, and closed objects. The API server already prunes unknown fields and warns
/// about them.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for useless in ["title", "additionalProperties"] {
                if members.get(useless).is_some_and(|value| !value.is_object()) {
                    members.remove(useless);
                }
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            // The properties inside have defaults of their own.
            if members.contains_key("properties") && members.contains_key("default") {
                members.insert("default".to_owned(), json!({}));
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
