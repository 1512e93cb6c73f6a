//! Label selectors as Kubernetes defines them (`metav1.LabelSelector`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wardset_placement::Requirement;

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchSelector {
    /// Keys and the values that they must have.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<RequirementSpec>,
}

impl MatchSelector {
    /// Parses a selector of an object under review as Go does: null is the empty string in `matchLabels`, and absent
    /// elsewhere. Returns `None` if it has another shape.
    pub(crate) fn from_object(mut selector: Value) -> Option<Self> {
        let object = selector.as_object_mut()?;
        object.retain(|_, value| !value.is_null());
        for value in
            object.get_mut("matchLabels").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            if value.is_null() {
                *value = Value::String(String::new());
            }
        }
        for requirement in
            object.get_mut("matchExpressions").and_then(Value::as_array_mut).into_iter().flatten()
        {
            requirement.as_object_mut()?.retain(|_, value| !value.is_null());
        }
        serde_json::from_value(selector).ok()
    }
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)",
    "message": "`In` and `NotIn` need at least one value, `Exists` and `DoesNotExist` take none",
}]))]
#[serde(deny_unknown_fields)]
pub struct RequirementSpec {
    /// The label's key.
    pub key: String,
    /// How to test the label.
    pub operator: MatchOperator,
    /// For `In` and `NotIn`.
    #[serde(default)]
    #[schemars(length(max = 1024), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a requirement tests a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchOperator {
    /// The label is there and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A validated selector. An empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(wardset_placement::LabelSelector<'static>);

/// The reason why a selector is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// `In` or `NotIn` has no values.
    #[error("`{key}`: `In` and `NotIn` need at least one value")]
    NoValues {
        /// The label's key.
        key: String,
    },
    /// `Exists` or `DoesNotExist` has values.
    #[error("`{key}`: `Exists` and `DoesNotExist` take no values")]
    Values {
        /// The label's key.
        key: String,
    },
}

impl Selector {
    /// Returns whether the selector selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether labels satisfy every requirement. `label` returns a label's value, or `None` if the label is
    /// absent.
    pub fn matches<'l>(&self, label: impl Fn(&str) -> Option<Cow<'l, str>>) -> bool {
        self.0.matches(label)
    }

    /// Returns the key of each requirement.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys()
    }
}

impl TryFrom<MatchSelector> for Selector {
    type Error = SelectorError;

    fn try_from(typed: MatchSelector) -> Result<Self, SelectorError> {
        let labels = typed.match_labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        let expressions = typed.match_expressions.into_iter().map(RequirementSpec::validate);
        Ok(Self(wardset_placement::LabelSelector {
            match_labels: labels.collect(),
            match_expressions: expressions.collect::<Result<_, _>>()?,
        }))
    }
}

impl RequirementSpec {
    fn validate(self) -> Result<Requirement<'static>, SelectorError> {
        let Self { key, operator, values } = self;
        let (known, takes_values) = match operator {
            MatchOperator::In => (wardset_placement::Operator::In, true),
            MatchOperator::NotIn => (wardset_placement::Operator::NotIn, true),
            MatchOperator::Exists => (wardset_placement::Operator::Exists, false),
            MatchOperator::DoesNotExist => (wardset_placement::Operator::DoesNotExist, false),
        };
        match (takes_values, values.is_empty()) {
            (true, true) => Err(SelectorError::NoValues { key }),
            (false, false) => Err(SelectorError::Values { key }),
            _ => Ok(Requirement {
                key: key.into(),
                operator: known.name().into(),
                values: values.into_iter().map(Into::into).collect(),
            }),
        }
    }
}
