//! The settings, and their checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use wardset_policy_sdk::{
    SettingsError, check_key,
    pointer::is_within,
    settings::{RequirementSetting, TolerationSetting, check_labels},
};

use crate::{expression::ExpressionProblem, scope::parse};

/// The rules of the policy. At least one validation or mutation.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
// The host asks for the permission only if the settings mention the word.
#[cfg_attr(test, schemars(extend("x-clusterData" = {"namespaceLabels": "namespaceObject"})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Conditions, in CEL. If one is false, the policy does nothing.
    #[serde(default)]
    pub(crate) match_conditions: Vec<Named>,
    /// Values that the other expressions can use as `variables.NAME`. A variable can use those above it.
    #[serde(default)]
    pub(crate) variables: Vec<Named>,
    /// Rules that an object must satisfy.
    #[serde(default)]
    pub(crate) validations: Vec<Validation>,
    /// Changes of the object.
    #[serde(default)]
    pub(crate) mutations: Vec<Mutation>,
}

/// An expression with a name.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Named {
    /// Letters, digits and `_`; unique in its list.
    pub(crate) name: String,
    /// The expression, in CEL.
    pub(crate) expression: String,
}

/// A rule that an object must satisfy.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Validation {
    /// The rule, in CEL. If it is false, the object is denied.
    pub(crate) expression: String,
    /// The fault, in lower case and without a full stop. Default: the expression.
    pub(crate) message: Option<String>,
    /// The fault as a string in CEL. `message` replaces it if it fails.
    pub(crate) message_expression: Option<String>,
    /// A JSON pointer to the fault; empty for the whole object.
    #[serde(default)]
    pub(crate) pointer: String,
    /// The change by which the author can fix it. Default: a change after which the expression is true.
    pub(crate) fix: Option<String>,
    /// The kind of fault.
    #[serde(default)]
    pub(crate) code: Code,
    /// The answer to an update if the stored object breaks the rule, too.
    #[serde(default)]
    pub(crate) existing: Existing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Code {
    /// The object breaks a rule of this cluster: HTTP status 403.
    #[default]
    Forbidden,
    /// The object contradicts itself or its kind: HTTP status 422.
    Invalid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Existing {
    /// Allow it with a warning.
    #[default]
    Warn,
    /// Deny it, as a ValidatingAdmissionPolicy does.
    Deny,
}

/// Changes of the object. Those of the pod template need an open template gate.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mutation {
    /// A condition, in CEL. If it is false, the mutation does nothing.
    pub(crate) when: Option<String>,
    /// The reason of the changes in reports, in a few words. Default: a reason for each change.
    pub(crate) reason: Option<String>,
    /// Labels that the object gets if it does not have their keys.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations that the object gets if it does not have their keys.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether the pod template gets the labels and annotations, too.
    #[serde(default)]
    pub(crate) template: bool,
    /// Tolerations that the pods get unless another one covers them.
    #[serde(default)]
    pub(crate) tolerations: Vec<TolerationSetting>,
    /// Requirements on nodes, ANDed to each term of the required node affinity.
    #[serde(default)]
    pub(crate) node_affinity: Vec<RequirementSetting>,
    /// Further changes, after those above and in order.
    #[serde(default)]
    pub(crate) operations: Vec<Operation>,
}

/// One operation of RFC 6902.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Operation {
    /// The kind of operation.
    pub(crate) op: Op,
    /// A JSON pointer to the changed value; `-` appends to a list.
    pub(crate) path: String,
    /// The new value, in CEL. `add` and `replace` need it.
    pub(crate) value: Option<String>,
    /// A condition, in CEL. If it is false, the operation does nothing.
    pub(crate) when: Option<String>,
    /// The reason of the change in reports, in a few words.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Op {
    /// Adds a value, or replaces the member of a map. Missing parents are created.
    Add,
    /// Replaces a value, which must exist.
    Replace,
    /// Removes a value if it exists.
    Remove,
}

/// The pointers that mutations may change.
pub(crate) const WRITES: [&str; 3] = ["/metadata/labels", "/metadata/annotations", "/spec"];

/// The pointers that no policy may change, with their names. The host refuses such a change, too.
const FORBIDDEN: [(&str, &str); 6] = [
    ("/spec/selector", "the selector"),
    ("/status", "the status"),
    ("/metadata/ownerReferences", "owner references"),
    ("/metadata/finalizers", "finalizers"),
    ("/metadata/managedFields", "managed fields"),
    (
        "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
        "kubectl's copy of the object",
    ),
];

impl Settings {
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.validations.is_empty() && self.mutations.is_empty() {
            let message = "expected a rule, found none";
            return Err(SettingsError::new("validations", message, "add an entry here or to `mutations`"));
        }
        let mut known: Vec<&str> = Vec::new();
        for (i, Named { name, expression }) in self.variables.iter().enumerate() {
            let field = format!("variables[{i}]");
            check_name(&field, name)?;
            if known.contains(&name.as_str()) {
                let message = format!("the variable `{name}` is there twice");
                return Err(SettingsError::new(format!("{field}.name"), message, "give one another name"));
            }
            check_expression(format!("{field}.expression"), expression, &known)?;
            known.push(name);
        }
        for (i, Named { name, expression }) in self.match_conditions.iter().enumerate() {
            let field = format!("matchConditions[{i}]");
            if name.is_empty() {
                let message = "expected a name, found nothing";
                return Err(SettingsError::new(format!("{field}.name"), message, "write one"));
            }
            check_expression(format!("{field}.expression"), expression, &known)?;
        }
        for (i, validation) in self.validations.iter().enumerate() {
            validation.check(&format!("validations[{i}]"), &known)?;
        }
        for (i, mutation) in self.mutations.iter().enumerate() {
            mutation.check(&format!("mutations[{i}]"), &known)?;
        }
        Ok(())
    }
}

impl Validation {
    fn check(&self, field: &str, known: &[&str]) -> Result<(), SettingsError> {
        check_expression(format!("{field}.expression"), &self.expression, known)?;
        if let Some(expression) = &self.message_expression {
            check_expression(format!("{field}.messageExpression"), expression, known)?;
        }
        if self.message.as_ref().is_some_and(|message| message.trim().is_empty()) {
            let message = "expected a message, found nothing";
            return Err(SettingsError::new(format!("{field}.message"), message, "write one, or remove it"));
        }
        check_pointer(format!("{field}.pointer"), &self.pointer)
    }
}

impl Mutation {
    fn check(&self, field: &str, known: &[&str]) -> Result<(), SettingsError> {
        let at = |name: &str| format!("{field}.{name}");
        if let Some(when) = &self.when {
            check_expression(at("when"), when, known)?;
        }
        let is_empty = self.labels.is_empty()
            && self.annotations.is_empty()
            && self.tolerations.is_empty()
            && self.node_affinity.is_empty()
            && self.operations.is_empty();
        if is_empty {
            let fix = "add `labels`, `annotations`, `tolerations`, `nodeAffinity` or `operations`";
            return Err(SettingsError::new(field, "expected a change, found none", fix));
        }
        check_labels(&at("labels"), &self.labels)?;
        for key in self.annotations.keys() {
            check_key(key).map_err(|expected| {
                let message = format!("{expected}, found `{key}`");
                SettingsError::new(format!("{field}.annotations.{key}"), message, "change it")
            })?;
        }
        if self.template && self.labels.is_empty() && self.annotations.is_empty() {
            let message = "`template` copies labels and annotations, found neither";
            return Err(SettingsError::new(at("template"), message, "add one, or remove `template`"));
        }
        for (i, toleration) in self.tolerations.iter().enumerate() {
            toleration.check(&format!("{field}.tolerations[{i}]"))?;
        }
        for (i, requirement) in self.node_affinity.iter().enumerate() {
            requirement.check(&format!("{field}.nodeAffinity[{i}]"))?;
        }
        for (i, operation) in self.operations.iter().enumerate() {
            operation.check(&format!("{field}.operations[{i}]"), known)?;
        }
        Ok(())
    }
}

impl Operation {
    fn check(&self, field: &str, known: &[&str]) -> Result<(), SettingsError> {
        let at = |name: &str| format!("{field}.{name}");
        check_pointer(at("path"), &self.path)?;
        check_path(at("path"), &self.path)?;
        if let Some(when) = &self.when {
            check_expression(at("when"), when, known)?;
        }
        match (&self.value, self.op) {
            (Some(value), Op::Add | Op::Replace) => check_expression(at("value"), value, known),
            (None, Op::Remove) => Ok(()),
            (Some(_), Op::Remove) => {
                Err(SettingsError::new(at("value"), "`remove` takes no value", "remove `value`"))
            }
            (None, Op::Add | Op::Replace) => {
                let fix = "write one; a string has quotes of its own: `value: \"'text'\"`";
                Err(SettingsError::new(at("value"), "expected a CEL expression, found nothing", fix))
            }
        }
    }
}

/// Checks that policies may change the value at a path.
fn check_path(field: String, path: &str) -> Result<(), SettingsError> {
    let is_forbidden = |(prefix, _): &&(&str, &str)| is_within(path, prefix);
    let message = match FORBIDDEN.iter().find(is_forbidden) {
        Some((_, name)) => format!("no policy changes {name}, found `{path}`"),
        // The whole `spec` has the selector.
        None if path != "/spec" && WRITES.iter().any(|prefix| is_within(path, prefix)) => return Ok(()),
        None => format!("no policy of this module changes `{path}`"),
    };
    let fix = "write a path at or below `/metadata/labels` or `/metadata/annotations`, or below `/spec`";
    Err(SettingsError::new(field, message, fix))
}

fn check_expression(field: String, text: &str, known: &[&str]) -> Result<(), SettingsError> {
    parse(text, known)
        .and_then(|expression| expression.check_patterns())
        .map_err(|ExpressionProblem { message, fix }| SettingsError::new(field, message, fix))
}

fn check_name(field: &str, name: &str) -> Result<(), SettingsError> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name {
        return Ok(());
    }
    let message = format!("expected a letter, then letters, digits and `_`, found `{name}`");
    Err(SettingsError::new(format!("{field}.name"), message, "change it"))
}

fn check_pointer(field: String, pointer: &str) -> Result<(), SettingsError> {
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (pointer.is_empty() || pointer.starts_with('/')) && escapes {
        return Ok(());
    }
    let message = format!("expected a JSON pointer, found `{pointer}`");
    let fix = "write it as in `/spec/template/spec`; `~1` is a `/` in a name, and `~0` is a `~`";
    Err(SettingsError::new(field, message, fix))
}
