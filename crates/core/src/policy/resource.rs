//! A `Policy` as people type it. An unknown field is an error.
//!
//! The CustomResourceDefinition is made from these types. Their first lines are the text of `kubectl explain`, and
//! the API server enforces the bounds of their attributes. [`super::Policy::try_from`] checks everything again,
//! because a policy file never passes an API server.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ClusterData, MatchSelector, Mode, OnError, TemplateRule};
use crate::review::Operation;

/// A `Policy`, not yet validated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// `wardset.dev/v1alpha1`.
    pub api_version: String,
    /// `Policy`.
    pub kind: String,
    /// The name, and further metadata of the API server.
    pub metadata: Metadata,
    /// The definition of the policy.
    pub spec: PolicySpec,
    /// The status that a cluster reports; ignored.
    #[serde(default, skip_serializing)]
    pub status: serde::de::IgnoredAny,
}

/// `metadata` of a policy. Only the name is read; an API server may add more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metadata {
    /// A DNS label.
    pub name: String,
}

/// The definition of the policy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// Source of the module: `builtin:NAME`, a module inside the server; `file:PATH`, one in its file system; or
    /// `oci://HOST/NAME@sha256:…`, one in a registry.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^(builtin:|file:|oci://).+')",
        "message": "expected `builtin:NAME`, `file:PATH` or `oci://HOST/NAME@sha256:…`",
    }]))]
    pub module: String,
    /// Mutation order, low first; ties by name. Default 0.
    #[serde(default)]
    pub order: i32,
    /// Effect of the verdict: `enforce` it, or only report it, to the author (`warn`) or to the operator (`observe`).
    /// Default `enforce`.
    #[serde(default)]
    pub mode: Mode,
    /// Effect if the policy fails to decide: `fail` lets the webhook's failurePolicy decide, `deny` refuses the
    /// object, `allow` continues without the policy. Default `fail`.
    #[serde(default)]
    pub on_error: OnError,
    /// Which reviews the policy decides on; a review must satisfy each part. Default: every DaemonSet that is
    /// created or updated.
    #[serde(default)]
    pub r#match: MatchSpec,
    /// When the policy may change `spec.template`: `onChange`, on a create and if the author of an update changes it
    /// too, or `always`. With `always`, an update of an annotation may restart every pod. Default `onChange`.
    #[serde(default)]
    pub template: TemplateRule,
    /// Limits of one evaluation.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Settings of the module. `wardset policies -o json` prints the schema. Default `{}`.
    #[serde(default = "no_settings")]
    #[schemars(schema_with = "any_object")]
    pub settings: serde_json::Value,
    /// The cluster data that the module may have. Default none.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub cluster_data: Vec<ClusterData>,
    /// Whether reviews by this policy warn the author about nodes. They warn if an update changes the nodes of the
    /// DaemonSet, or if some nodes refuse a new one. Requires `--cluster`. Has no effect in the mode `observe`. Default
    /// false.
    #[serde(default)]
    pub warn_placement: bool,
}

/// Which reviews the policy decides on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchSpec {
    /// Default `[CREATE, UPDATE]`.
    #[schemars(length(min = 1, max = 2))]
    pub operations: Vec<Operation>,
    /// Selector of the namespace's labels. Default all.
    pub namespace_selector: MatchSelector,
    /// Selector of the object's labels. Default all.
    pub object_selector: MatchSelector,
    /// Names of excluded namespaces. Default none.
    #[schemars(length(max = 1024), inner(length(max = 63)))]
    pub exclude_namespaces: Vec<String>,
    /// Names of excluded objects. Default none.
    #[schemars(length(max = 1024), inner(length(max = 253)))]
    pub exclude_names: Vec<String>,
    /// CEL expressions over `object`, `oldObject`, `request` and `namespaceObject`, all of which must be true.
    /// Default none.
    #[schemars(length(max = 64))]
    pub conditions: Vec<NamedExpression>,
}

/// One CEL condition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedExpression {
    /// Named in errors.
    #[schemars(length(max = 253))]
    pub name: String,
    /// A CEL expression that gives true or false.
    #[schemars(length(max = 4096))]
    pub expression: String,
}

/// Limits of one evaluation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Wall-clock time, `1ms` to `10s`. Default `1s`.
    #[schemars(length(max = 8), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[0-9]+(ms|s)$')", "message": "expected `1ms` to `10s`",
    }]))]
    pub timeout: String,
    /// Linear memory, `1Mi` to `32Mi`. Default `16Mi`.
    #[schemars(length(max = 8), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[0-9]+(Ki|Mi)$')", "message": "expected `1Mi` to `32Mi`",
    }]))]
    pub memory: String,
}

impl Default for MatchSpec {
    fn default() -> Self {
        Self {
            operations: vec![Operation::Create, Operation::Update],
            namespace_selector: MatchSelector::default(),
            object_selector: MatchSelector::default(),
            exclude_namespaces: Vec::new(),
            exclude_names: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { timeout: "1s".to_owned(), memory: "16Mi".to_owned() }
    }
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
