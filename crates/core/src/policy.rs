//! The `Policy` resource: as typed ([`Resource`]), and validated ([`Policy`]).
//!
//! ```text
//! YAML, JSON or the API server ──► Resource ──► Policy        (deny_unknown_fields, then every rule, once)
//! ```
//!
//! [`Policy::try_from`] checks all fields of a policy, and nothing checks them again. The runtime checks that the
//! module exists and accepts the settings.

mod condition;
mod module_ref;
mod oci_reference;
mod oci_repository;
mod resource;
mod scope;
mod selector;

pub use condition::{Condition, ConditionError};
pub use module_ref::ModuleRef;
pub use oci_reference::OciReference;
pub use oci_repository::OciRepository;
pub use resource::{LimitsSpec, MatchSpec, Metadata, NamedExpression, PolicySpec, Resource};
pub(crate) use scope::LazyVariables;
pub use scope::{Exclusion, Match, Mismatch, NamespaceLabels, ScopeError};
pub use selector::{MatchSelector, Selector, SelectorError};

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The only `apiVersion` of a `Policy`.
pub const API_VERSION: &str = "wardset.dev/v1alpha1";

/// A validated policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `metadata.name`: unique, a DNS label.
    pub name: Arc<str>,
    /// The module.
    pub module: ModuleRef,
    /// Mutation order, low first; ties by name.
    pub order: i32,
    /// The effect of the verdict.
    pub mode: Mode,
    /// The effect of a failure on the review.
    pub on_error: OnError,
    /// The reviews that the policy decides on.
    pub scope: Match,
    /// The rule for changes to the template.
    pub template: TemplateRule,
    /// The limits of one evaluation.
    pub limits: PolicyLimits,
    /// The settings, a JSON object.
    pub settings: Arc<str>,
    /// The cluster data that the operator grants to the module.
    pub cluster_data: Vec<ClusterData>,
    /// Whether reviews warn about the nodes of the DaemonSet.
    pub warn_placement: bool,
}

/// The effect of a policy's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Denials reject the object, and changes apply.
    #[default]
    Enforce,
    /// Denials and changes become warnings.
    Warn,
    /// Denials and changes are logged and counted; the author sees nothing.
    Observe,
}

impl Mode {
    /// Returns the label of the mode in metrics, logs and lists.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Observe => "observe",
        }
    }
}

/// The effect on the review if a policy fails to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// The server answers HTTP 500, so that the webhook's `failurePolicy` decides.
    #[default]
    Fail,
    /// The object is denied.
    Deny,
    /// The review continues without this policy.
    Allow,
}

/// The reviews in which a policy may change `/spec/template`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TemplateRule {
    /// On a create, and on an update whose author changes the template too.
    #[default]
    OnChange,
    /// On every review. An update of an annotation may then restart every pod.
    Always,
}

/// Kinds of cluster data that a module may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClusterData {
    /// The labels of the object's namespace.
    NamespaceLabels,
    /// The nodes of the cluster, as counts.
    Nodes,
}

impl ClusterData {
    /// Returns the name in policy files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NamespaceLabels => "namespaceLabels",
            Self::Nodes => "nodes",
        }
    }
}

/// The limits of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Wall-clock time for start, settings and call together. Default 1 s; 1 ms to 10 s. It does not bound
    /// the time that a review waits before the start.
    pub timeout: Duration,
    /// Linear memory in bytes. Default 16 MiB; 1 to 32 MiB. It does not bound the host's own data for the policy,
    /// which has limits of its own.
    pub memory: u64,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(100), memory: 16 * MIB }
    }
}

/// Maximum of `limits.memory`, in bytes. The runtime reserves as much address space.
pub const MAX_MEMORY: u64 = 32 * MIB;
const MIB: u64 = 1024 * 1024;

/// The reason why a `Policy` is invalid.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The resource has another version or kind.
    #[error("expected `apiVersion: {API_VERSION}` and `kind: Policy`, found `{api_version}` and `{kind}`")]
    Kind {
        /// The value in the resource.
        api_version: String,
        /// The value in the resource.
        kind: String,
    },
    /// A field has an invalid value.
    #[error("`{field}`: {problem}")]
    Field {
        /// The field's path, such as `spec.limits.timeout`.
        field: &'static str,
        /// The expected and the found value.
        problem: String,
    },
    /// A field of `spec.match` is invalid.
    #[error(transparent)]
    Match(#[from] ScopeError),
}

impl TryFrom<Resource> for Policy {
    type Error = PolicyError;

    fn try_from(resource: Resource) -> Result<Self, PolicyError> {
        let Resource { api_version, kind, metadata, spec, .. } = resource;
        if api_version != API_VERSION || kind != "Policy" {
            return Err(PolicyError::Kind { api_version, kind });
        }
        if !is_dns_label(&metadata.name) {
            return Err(PolicyError::Field {
                field: "metadata.name",
                problem: format!(
                    "expected 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, found `{}`",
                    metadata.name
                ),
            });
        }
        if !spec.settings.is_object() {
            return Err(PolicyError::Field {
                field: "spec.settings",
                problem: format!("expected a mapping, found `{}`", spec.settings),
            });
        }
        let limits = spec.limits;
        Ok(Self {
            name: metadata.name.into(),
            module: spec.module.parse()?,
            order: spec.order,
            mode: spec.mode,
            on_error: spec.on_error,
            scope: spec.r#match.try_into()?,
            template: spec.template,
            limits: PolicyLimits { timeout: timeout(&limits.timeout)?, memory: memory(&limits.memory)? },
            settings: spec.settings.to_string().into(),
            cluster_data: spec.cluster_data,
            warn_placement: spec.warn_placement,
        })
    }
}

fn timeout(text: &str) -> Result<Duration, PolicyError> {
    let range = Duration::from_millis(1)..=Duration::from_secs(10);
    parse_duration(text).filter(|timeout| range.contains(timeout)).ok_or_else(|| PolicyError::Field {
        field: "spec.limits.timeout",
        problem: format!("expected `1ms` to `10s`, found `{text}`"),
    })
}

/// Parses a whole number of milliseconds or seconds, such as `100ms` or `2s`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        _ => None,
    }
}

fn memory(text: &str) -> Result<u64, PolicyError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "Ki" => Some(1024),
        "Mi" => Some(MIB),
        _ => None,
    };
    let bytes = unit.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
    bytes.filter(|bytes| (MIB..=MAX_MEMORY).contains(bytes)).ok_or_else(|| PolicyError::Field {
        field: "spec.limits.memory",
        problem: format!("expected `1Mi` to `32Mi`, found `{text}`"),
    })
}

/// Returns whether `name` has 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends (RFC 1123).
pub(crate) fn is_dns_label(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests;
