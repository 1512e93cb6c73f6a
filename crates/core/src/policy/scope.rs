//! The scope of a policy, `spec.match`: the reviews that it decides on.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jsonptr::Pointer;
use wardset_expression::{Meter, TextValue, Value, Variables, list_of, map_of};

use super::condition::BUDGET;
use super::{Condition, ConditionError, MatchSpec, Selector, SelectorError};
use crate::document::Document;
use crate::review::{Context, Operation, Review};

/// Limit of the conditions of a policy, the same as for a webhook in Kubernetes.
const MAX_CONDITIONS: usize = 64;
/// Limit of the expressions of a policy together, in bytes.
const MAX_EXPRESSIONS: usize = 16 << 10;

/// A validated `spec.match`.
#[derive(Debug, Clone)]
pub struct Match {
    operations: Vec<Operation>,
    namespace_selector: Selector,
    object_selector: Selector,
    exclude_namespaces: Vec<String>,
    exclude_names: Vec<String>,
    conditions: Vec<Condition>,
}

/// The reason why `spec.match` is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// A selector is invalid.
    #[error("`spec.match.{field}`")]
    Selector {
        /// `namespaceSelector` or `objectSelector`.
        field: &'static str,
        /// The cause.
        source: SelectorError,
    },
    /// A condition is invalid.
    #[error("`spec.match.conditions`")]
    Condition(#[from] ConditionError),
    /// The conditions are too many or too long to be parsed quickly.
    #[error(
        "`spec.match.conditions`: expected at most {MAX_CONDITIONS} conditions with {MAX_EXPRESSIONS} bytes in total, found {found} with {bytes} bytes; \
         join some, or split the policy"
    )]
    TooManyConditions {
        /// The number of conditions.
        found: usize,
        /// The length of all expressions together, in bytes.
        bytes: usize,
    },
    /// The list of operations is empty.
    #[error("`spec.match.operations`: expected `CREATE`, `UPDATE` or both, found none")]
    NoOperation,
}

/// The labels of the object's namespace, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamespaceLabels {
    /// All labels.
    Known(Arc<BTreeMap<String, String>>),
    /// Only the label that every namespace has: `kubernetes.io/metadata.name`.
    #[default]
    Unknown,
}

/// The reason why the scope of a policy could not be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// `namespaceSelector` needs labels that are not known.
    #[error("the labels of namespace `{namespace}` are not known, but `namespaceSelector` needs them")]
    NamespaceLabels {
        /// The namespace.
        namespace: String,
    },
    /// A condition gave neither true nor false.
    #[error(transparent)]
    Condition(#[from] ConditionError),
}

/// The label that the API server sets on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The part of `spec.match` that excludes a review.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// The operation is not listed.
    #[error("`operations` does not list this operation")]
    Operation,
    /// The namespace is excluded.
    #[error("`excludeNamespaces` lists the namespace")]
    Namespace,
    /// The name is excluded.
    #[error("`excludeNames` lists the name")]
    Name,
    /// The labels of the object do not match.
    #[error("`objectSelector` does not match the object's labels")]
    ObjectSelector,
    /// The labels of the namespace do not match.
    #[error("`namespaceSelector` does not match the namespace's labels")]
    NamespaceSelector,
    /// A condition is false.
    #[error("the condition `{0}` is false")]
    Condition(Arc<str>),
}

impl Match {
    /// Returns why the policy does not apply to the review of `variables`; `None` if it applies.
    ///
    /// # Errors
    ///
    /// If the answer is unknown. The policy's `onError` then decides.
    pub(crate) fn excludes(&self, variables: &LazyVariables<'_>) -> Result<Option<Exclusion>, Mismatch> {
        let (review, context) = (variables.review, variables.context);
        let named = |names: &[String], name: &str| names.iter().any(|excluded| excluded == name);
        if !self.operations.contains(&review.operation) {
            return Ok(Some(Exclusion::Operation));
        }
        if named(&self.exclude_namespaces, &review.namespace) {
            return Ok(Some(Exclusion::Namespace));
        }
        if named(&self.exclude_names, &review.name) {
            return Ok(Some(Exclusion::Name));
        }
        if !self.object_selector.is_empty() {
            let labels: BTreeMap<_, _> =
                review.object.strings(Pointer::from_static("/metadata/labels")).collect();
            if !self.object_selector.matches(|key| labels.get(key).cloned()) {
                return Ok(Some(Exclusion::ObjectSelector));
            }
        }
        if !self.namespace_selector.is_empty() && !self.selects_namespace(review, context)? {
            return Ok(Some(Exclusion::NamespaceSelector));
        }
        // Conditions are evaluated up to the first false one. As in `matchConditions`, a false one wins over a
        // failing one.
        let (mut failed, mut meter) = (None, Meter::new(BUDGET));
        for condition in &self.conditions {
            match condition.holds(variables.get(), &mut meter) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(Exclusion::Condition(condition.name()))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Returns whether `namespaceSelector` needs labels that only the cluster has.
    #[must_use]
    pub fn needs_namespace_labels(&self) -> bool {
        self.namespace_selector.keys().any(|key| key != NAME_LABEL)
    }

    /// Returns whether the labels of the namespace may affect the scope: through `namespaceSelector`, or through a
    /// condition that mentions `namespaceObject`.
    #[must_use]
    pub fn looks_at_namespace(&self) -> bool {
        self.needs_namespace_labels() || self.conditions.iter().any(Condition::looks_at_namespace)
    }

    fn selects_namespace(&self, review: &Review, context: &Context) -> Result<bool, Mismatch> {
        let name = |key: &str| (key == NAME_LABEL).then(|| Cow::from(review.namespace.as_str()));
        match &context.namespace_labels {
            NamespaceLabels::Known(labels) => Ok(self
                .namespace_selector
                .matches(|key| labels.get(key).map(|value| Cow::from(value.as_str())).or_else(|| name(key)))),
            NamespaceLabels::Unknown if self.needs_namespace_labels() => {
                Err(Mismatch::NamespaceLabels { namespace: review.namespace.clone() })
            }
            NamespaceLabels::Unknown => Ok(self.namespace_selector.matches(name)),
        }
    }
}

impl TryFrom<MatchSpec> for Match {
    type Error = ScopeError;

    fn try_from(typed: MatchSpec) -> Result<Self, ScopeError> {
        let operations = typed.operations;
        if operations.is_empty() {
            return Err(ScopeError::NoOperation);
        }
        let found = typed.conditions.len();
        let bytes = typed.conditions.iter().map(|condition| condition.expression.len()).sum();
        if found > MAX_CONDITIONS || bytes > MAX_EXPRESSIONS {
            return Err(ScopeError::TooManyConditions { found, bytes });
        }
        let selector =
            |field, typed| Selector::try_from(typed).map_err(|source| ScopeError::Selector { field, source });
        Ok(Self {
            operations,
            namespace_selector: selector("namespaceSelector", typed.namespace_selector)?,
            object_selector: selector("objectSelector", typed.object_selector)?,
            exclude_namespaces: typed.exclude_namespaces,
            exclude_names: typed.exclude_names,
            conditions: typed.conditions.into_iter().map(Condition::try_from).collect::<Result<_, _>>()?,
        })
    }
}

/// A review, and its variables for conditions. The variables are trees of values, so the first condition makes them, for
/// all conditions of all policies.
pub(crate) struct LazyVariables<'r> {
    review: &'r Review,
    context: &'r Context,
    made: OnceCell<Variables<'r>>,
}

impl<'r> LazyVariables<'r> {
    pub(crate) fn new(review: &'r Review, context: &'r Context) -> Self {
        Self { review, context, made: OnceCell::new() }
    }

    fn get(&self) -> &Variables<'r> {
        self.made.get_or_init(|| {
            let review = self.review;
            let mut variables = Variables::default();
            // A document that nests too deeply has no tree, and a condition that reads it fails.
            if let Some(object) = tree(&review.object) {
                variables.set("object", object);
            }
            if let Some(old) = review.old_object.as_deref().map_or(Some(Value::Null), tree) {
                variables.set("oldObject", old);
            }
            variables.set("request", request(review));
            variables.set("namespaceObject", namespace(review, self.context));
            variables
        })
    }
}

fn tree(document: &Document) -> Option<Value<'_>> {
    serde_json::from_str(document.text()).ok()
}

fn object<'r, const N: usize>(members: [(&'static str, Value<'r>); N]) -> Value<'r> {
    map_of(members.map(|(key, value)| (TextValue::Borrowed(key), value)))
}

fn request(review: &Review) -> Value<'_> {
    let operation = match review.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
    };
    let groups = review.groups.iter().map(|group| group.as_str().into()).collect();
    object([
        ("uid", review.uid.as_str().into()),
        ("operation", operation.into()),
        ("name", review.name.as_str().into()),
        ("namespace", review.namespace.as_str().into()),
        ("dryRun", Value::Bool(review.dry_run)),
        (
            "kind",
            object([
                ("group", "apps".into()),
                ("version", "v1".into()),
                ("kind", review.kind.as_str().into()),
            ]),
        ),
        (
            "resource",
            object([("group", "apps".into()), ("version", "v1".into()), ("resource", "daemonsets".into())]),
        ),
        ("userInfo", object([("username", review.user.as_str().into()), ("groups", list_of(groups))])),
    ])
}

fn namespace<'r>(review: &'r Review, context: &'r Context) -> Value<'r> {
    let name = || Value::from(review.namespace.as_str());
    let known = match &context.namespace_labels {
        NamespaceLabels::Known(labels) => Some(labels),
        NamespaceLabels::Unknown => None,
    };
    let known = known.into_iter().flat_map(|labels| labels.iter());
    let labels = known.map(|(key, value)| (TextValue::Borrowed(key.as_str()), Value::from(value.as_str())));
    // Of two equal keys the first one counts.
    let labels = map_of(labels.chain([(TextValue::Borrowed(NAME_LABEL), name())]));
    object([("metadata", object([("name", name()), ("labels", labels)]))])
}
