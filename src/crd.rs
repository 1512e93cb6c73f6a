//! The CustomResourceDefinition of `Policy`, made from the types that read it.

use kube_core::schema::StructuralSchemaRewriter;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use wardset_core::policy::PolicySpec;

use crate::cluster::PolicyStatus;
use crate::yaml;

/// `policies.wardset.dev` as YAML.
#[must_use]
pub fn yaml() -> String {
    yaml::to_string(&definition())
}

/// `policies.wardset.dev`.
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
                    column("Module", "string", ".spec.module", "Where the module comes from", 0),
                    column("Mode", "string", ".spec.mode", "What becomes of the verdict", 0),
                    column("Order", "integer", ".spec.order", "Mutation order, low first", 0),
                    column("Ready", "string", &ready("status"), "Whether what is in force is what is wanted", 0),
                    column("Reason", "string", &ready("reason"), "What is in force", 1),
                    column("Message", "string", &ready("message"), "What is wrong", 1),
                    column("Age", "date", ".metadata.creationTimestamp", "Since it was made", 0),
                ],
            }],
        },
    })
}

/// A type's schema as Kubernetes wants it: structural, without references and without what its API server refuses.
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

/// Takes out what says nothing in Kubernetes: titles, the formats of Rust's numbers other than `int32` and `int64`, `null`
/// as a value, closed objects (the API server prunes, and warns, by itself).
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
            // What is in it is defaulted by its own properties.
            if members.contains_key("properties") && members.contains_key("default") {
                members.insert("default".to_owned(), json!({}));
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
