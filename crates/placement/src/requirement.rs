//! Requirements on labels and on the fields of nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::Text;

/// `key operator values`, as node selector terms and label selectors write it.
///
/// It keeps an unknown operator, such as one of a newer API version, and concludes nothing from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Requirement<'a> {
    /// The label's key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// One of [`Operator`]'s names, or one of a newer API version.
    pub operator: Text<'a>,
    /// The values that the operator compares with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Text<'a>>,
}

/// The operators of node selectors; label selectors have the first four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there, with one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label is an integer greater than the one value.
    Gt,
    /// The label is an integer less than the one value.
    Lt,
}

impl Operator {
    /// Returns the name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
            Self::Gt => "Gt",
            Self::Lt => "Lt",
        }
    }
}

impl<'a> Requirement<'a> {
    /// Makes a requirement with a known operator.
    #[must_use]
    pub fn new(key: &'a str, operator: Operator, values: &[&'a str]) -> Self {
        let values = values.iter().map(|&value| value.into()).collect();
        Self { key: key.into(), operator: operator.name().into(), values }
    }

    /// Returns the operator, if this version knows it.
    #[must_use]
    pub fn known_operator(&self) -> Option<Operator> {
        use Operator::{DoesNotExist, Exists, Gt, In, Lt, NotIn};
        [In, NotIn, Exists, DoesNotExist, Gt, Lt].into_iter().find(|known| known.name() == &*self.operator)
    }

    /// Returns whether a label satisfies it. `label` is the label's value, or `None` if the label is missing.
    ///
    /// The answer is `None` if the operator is unknown, or if the value of `Gt` or `Lt` is not one integer. The other
    /// operators accept any number of values, even if the API server refuses it.
    #[must_use]
    pub fn holds(&self, label: Option<&str>) -> Option<bool> {
        let is_listed = || label.is_some_and(|label| self.lists(label));
        let compares = |compare: fn(&i64, &i64) -> bool| {
            let bound = self.bound()?;
            let number = label.and_then(|label| label.parse().ok());
            Some(number.is_some_and(|number: i64| compare(&number, &bound)))
        };
        match self.known_operator()? {
            Operator::In => Some(is_listed()),
            Operator::NotIn => Some(!is_listed()),
            Operator::Exists => Some(label.is_some()),
            Operator::DoesNotExist => Some(label.is_none()),
            Operator::Gt => compares(i64::gt),
            Operator::Lt => compares(i64::lt),
        }
    }

    /// Whether the operator is known and has as many values as it needs (apimachinery `labels.NewRequirement`). The
    /// API server refuses other requirements.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match self.known_operator() {
            Some(Operator::In | Operator::NotIn) => !self.values.is_empty(),
            Some(Operator::Exists | Operator::DoesNotExist) => self.values.is_empty(),
            Some(Operator::Gt | Operator::Lt) => self.bound().is_some(),
            None => false,
        }
    }

    pub(crate) fn lists(&self, value: &str) -> bool {
        self.values.iter().any(|listed| &**listed == value)
    }

    /// Returns the number that `Gt` and `Lt` compare with; `None` if the API server would refuse the values.
    pub(crate) fn bound(&self) -> Option<i64> {
        match self.values.as_slice() {
            [bound] => bound.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Requirement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator)?;
        if !self.values.is_empty() {
            let shown = |value| if str::is_empty(value) { "\"\"" } else { value };
            let values: Vec<&str> = self.values.iter().map(|value| shown(value)).collect();
            write!(f, " [{}]", values.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requirement(operator: &'static str, values: &[&'static str]) -> Requirement<'static> {
        let values = values.iter().map(|&value| value.into()).collect();
        Requirement { key: "k".into(), operator: operator.into(), values }
    }

    #[test]
    fn shows_an_empty_value_in_quotes() {
        let show = |operator, values: &[&'static str]| requirement(operator, values).to_string();
        assert_eq!(show("In", &["", "a"]), "k In [\"\", a]");
        assert_eq!(show("Exists", &[]), "k Exists");
    }

    #[test]
    fn a_missing_label_satisfies_not_in_and_does_not_exist_only() {
        for (operator, values, expected) in [
            ("In", &["a"][..], false),
            ("NotIn", &["a"], true),
            ("Exists", &[], false),
            ("DoesNotExist", &[], true),
            ("Gt", &["1"], false),
            ("Lt", &["1"], false),
        ] {
            assert_eq!(requirement(operator, values).holds(None), Some(expected), "{operator}");
        }
    }

    #[test]
    fn an_empty_value_is_a_value() {
        for (operator, values, expected) in [
            ("In", &[""][..], true),
            ("NotIn", &[""], false),
            ("Exists", &[], true),
            ("DoesNotExist", &[], false),
            ("Gt", &["1"], false),
            ("Lt", &["1"], false),
        ] {
            assert_eq!(requirement(operator, values).holds(Some("")), Some(expected), "{operator}");
        }
    }

    #[test]
    fn says_nothing_about_an_unknown_operator_or_a_bound_that_is_not_one_integer() {
        for (operator, values) in
            [("Near", &["1"][..]), ("in", &["1"]), ("Gt", &[]), ("Gt", &["1", "2"]), ("Lt", &["x"])]
        {
            let requirement = requirement(operator, values);
            assert_eq!(
                (requirement.holds(Some("1")), requirement.is_valid()),
                (None, false),
                "{requirement}"
            );
        }
    }

    #[test]
    fn is_valid_if_the_operator_has_the_values_that_it_needs() {
        for (operator, none, one, two) in [
            ("In", false, true, true),
            ("NotIn", false, true, true),
            ("Exists", true, false, false),
            ("DoesNotExist", true, false, false),
            ("Gt", false, true, false),
            ("Lt", false, true, false),
        ] {
            let found = [&[][..], &["1"], &["1", "2"]].map(|values| requirement(operator, values).is_valid());
            assert_eq!(found, [none, one, two], "{operator}");
        }
    }

    proptest! {
        /// The oracle counts on the definition of each operator over a list of small numbers.
        #[test]
        fn holds_for_the_numbers_that_the_operator_selects(
            listed in prop::collection::vec(0..5_i64, 1..4), label in prop::option::of(0..5_i64),
        ) {
            let texts: Vec<String> = listed.iter().map(i64::to_string).collect();
            let (all, first): (Vec<&str>, _) = (texts.iter().map(String::as_str).collect(), listed[0]);
            let text = label.map(|label| label.to_string());
            let holds = |operator, values: &[&str]| {
                Requirement::new("k", operator, values).holds(text.as_deref()).expect("a valid requirement")
            };
            let among = listed.iter().any(|value| Some(*value) == label);
            prop_assert_eq!(holds(Operator::In, &all), among);
            prop_assert_eq!(holds(Operator::NotIn, &all), !among);
            prop_assert_eq!(holds(Operator::Gt, &all[..1]), matches!(label, Some(label) if label > first));
            prop_assert_eq!(holds(Operator::Lt, &all[..1]), matches!(label, Some(label) if label < first));
        }
    }
}
