//! A `Policy` as people type it. An unknown field is an error.

use serde::{Deserialize, Serialize};

use super::{ClusterData, LabelSelector, Mode, OnError, TemplateRule};
use crate::review::Operation;

/// A `Policy`, not yet validated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// `wardset.dev/v1alpha1`.
    pub api_version: String,
    /// `Policy`.
    pub kind: String,
    /// The name, and what the API server keeps with it.
    pub metadata: Metadata,
    /// What the policy is.
    pub spec: PolicySpec,
    /// What a cluster says of it; not read.
    #[serde(default, skip_serializing)]
    pub status: serde::de::IgnoredAny,
}

/// `metadata` of a policy. Only the name is read, and whatever else an API server adds may stand there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metadata {
    /// A DNS label.
    pub name: String,
}

/// `spec` of a policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// `builtin:NAME` or `file:PATH`.
    pub module: String,
    /// Mutation order, low first. Default 0.
    #[serde(default)]
    pub order: i32,
    /// Default `enforce`.
    #[serde(default)]
    pub mode: Mode,
    /// Default `fail`.
    #[serde(default)]
    pub on_error: OnError,
    /// Default: every DaemonSet that is created or updated.
    #[serde(default)]
    pub r#match: MatchSpec,
    /// Default `onChange`.
    #[serde(default)]
    pub template: TemplateRule,
    /// Default 100 ms and 16 MiB.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// What the module is told; its own schema says what may stand here. Default `{}`.
    #[serde(default = "no_settings")]
    pub settings: serde_json::Value,
    /// The cluster data that the module may have. Default none.
    #[serde(default)]
    pub cluster_data: Vec<ClusterData>,
}

/// `spec.match`: a review must satisfy each part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchSpec {
    /// Default `[CREATE, UPDATE]`.
    pub operations: Option<Vec<Operation>>,
    /// Labels of the object's namespace. Default all.
    pub namespace_selector: LabelSelector,
    /// Labels of the object. Default all.
    pub object_selector: LabelSelector,
    /// Namespaces that are passed over. Default none.
    pub exclude_namespaces: Vec<String>,
    /// Objects that are passed over, by name. Default none.
    pub exclude_names: Vec<String>,
    /// CEL expressions over `object`, `oldObject`, `request` and `namespaceObject`, all of which must be true.
    pub conditions: Vec<NamedExpression>,
}

/// One CEL condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedExpression {
    /// Named in errors.
    pub name: String,
    /// A CEL expression that gives true or false.
    pub expression: String,
}

/// `spec.limits`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// `1ms` to `10s`. Default `100ms`.
    pub timeout: Option<String>,
    /// `1Mi` to `32Mi`. Default `16Mi`.
    pub memory: Option<String>,
}

fn no_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}
