//! Label selectors.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use super::{Domain, Labels, Operator, Requirement};

/// A label selector, such as a DaemonSet's `spec.selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector<'a> {
    /// Labels that must exist with exactly these values.
    #[serde(borrow, default)]
    pub match_labels: Labels<'a>,
    /// Further requirements, ANDed.
    #[serde(borrow, default)]
    pub match_expressions: Vec<Requirement<'a>>,
}

impl<'a> LabelSelector<'a> {
    /// Whether it selects everything, which no DaemonSet may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether one of its requirements is about the label `key`.
    #[must_use]
    pub fn names(&self, key: &str) -> bool {
        self.match_labels.contains_key(key) || self.match_expressions.iter().any(|r| &*r.key == key)
    }

    /// Whether it has only `NotIn` and `DoesNotExist`, which match pods without any label.
    #[must_use]
    pub fn is_negative_only(&self) -> bool {
        let is_negative = |requirement: &Requirement<'_>| {
            matches!(requirement.known_operator(), Some(Operator::NotIn | Operator::DoesNotExist))
        };
        !self.is_empty() && self.match_labels.is_empty() && self.match_expressions.iter().all(is_negative)
    }

    /// Returns the keys of all requirements; a key can occur more than once.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let expressions = self.match_expressions.iter().map(|requirement| &*requirement.key);
        self.match_labels.keys().map(|key| &**key).chain(expressions)
    }

    /// Whether it selects an object. `label` returns the value of one of its labels. A requirement with an operator
    /// that label selectors do not have selects every object.
    #[must_use]
    pub fn matches<V: AsRef<str>>(&self, label: impl Fn(&str) -> Option<V>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| label(key).is_some_and(|found| found.as_ref() == &**value))
            && self.match_expressions.iter().all(|requirement| is_satisfied(requirement, &label))
    }

    /// Returns each entry of `matchLabels`, as `In` of one value, then each of `matchExpressions`.
    pub fn clauses(&self) -> impl Iterator<Item = Clause<'_>> {
        let labels = self.match_labels.iter().map(|(key, value)| Clause {
            index: None,
            requirement: Cow::Owned(Requirement::new(key, Operator::In, &[value])),
        });
        let expressions = self.match_expressions.iter().enumerate();
        labels.chain(
            expressions
                .map(|(i, requirement)| Clause { index: Some(i), requirement: Cow::Borrowed(requirement) }),
        )
    }

    /// Returns the clauses that make a contradiction with the clauses before them, so that no labels can match.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Clause<'_>> {
        let clauses: Vec<Clause<'_>> = self.clauses().collect();
        let mut domains: BTreeMap<&str, Domain<'_>> = BTreeMap::new();
        let mut found = Vec::new();
        for (i, clause) in clauses.iter().enumerate() {
            let domain = domains.entry(&clause.requirement.key).or_insert_with(Domain::any);
            let was_empty = domain.is_empty();
            domain.and(&clause.requirement);
            if domain.is_empty() && !was_empty {
                found.push(i);
            }
        }
        found.into_iter().map(|i| clauses[i].clone()).collect()
    }
}

/// One requirement of a selector, and its place.
#[derive(Clone, Debug)]
pub struct Clause<'s> {
    /// Its index in `matchExpressions`; `None` for `matchLabels`.
    index: Option<usize>,
    requirement: Cow<'s, Requirement<'s>>,
}

impl Clause<'_> {
    /// Returns the requirement.
    #[must_use]
    pub fn requirement(&self) -> &Requirement<'_> {
        &self.requirement
    }

    /// Returns its index in `matchExpressions`; `None` if it is an entry of `matchLabels`.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// Whether an object satisfies it, as in [`LabelSelector::matches`].
    #[must_use]
    pub fn holds<V: AsRef<str>>(&self, label: impl Fn(&str) -> Option<V>) -> bool {
        is_satisfied(&self.requirement, &label)
    }
}

fn is_satisfied<V: AsRef<str>>(requirement: &Requirement<'_>, label: &impl Fn(&str) -> Option<V>) -> bool {
    match requirement.known_operator() {
        Some(Operator::Gt | Operator::Lt) | None => true,
        Some(_) => {
            let label = label(&requirement.key);
            requirement.holds(label.as_ref().map(AsRef::as_ref)) == Some(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn selector(json: &'static str) -> LabelSelector<'static> {
        serde_json::from_str(json).expect("a selector")
    }

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels<'static> {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    }

    fn matches(selector: &LabelSelector<'_>, labels: &Labels<'_>) -> bool {
        selector.matches(|key| labels.get(key))
    }

    #[test]
    fn matches_as_the_controller_does() {
        let web = selector(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[
                {"key":"tier","operator":"In","values":["a","b"]},
                {"key":"canary","operator":"DoesNotExist"},
                {"key":"zone","operator":"NotIn","values":["x"]},
                {"key":"team","operator":"Exists"}]}"#,
        );
        let good = [("app", "web"), ("tier", "b"), ("team", "t")];
        assert!(matches(&web, &labels(&good)));
        for (key, value) in [("app", "api"), ("tier", "c"), ("canary", "1"), ("zone", "x")] {
            let mut bad = labels(&good);
            bad.insert(key.into(), value.into());
            assert!(!matches(&web, &bad), "{key}={value}");
        }
        assert!(!matches(&web, &labels(&good[..2])));
    }

    #[test]
    fn an_operator_of_node_selectors_or_of_a_newer_version_selects_everything() {
        for operator in ["Gt", "Lt", "Near"] {
            let requirement = Requirement { key: "k".into(), operator: operator.into(), values: vec![] };
            let selector = LabelSelector { match_expressions: vec![requirement], ..LabelSelector::default() };
            assert!(matches(&selector, &labels(&[])), "{operator}");
        }
    }

    #[test]
    fn names_the_clause_at_which_a_contradiction_appears_once() {
        let selector = selector(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[
                {"key":"app","operator":"NotIn","values":["web"]},{"key":"app","operator":"Exists"},
                {"key":"x","operator":"Exists"},{"key":"x","operator":"DoesNotExist"}]}"#,
        );
        let found: Vec<_> = selector.contradictions().iter().map(Clause::index).collect();
        assert_eq!(found, [Some(0), Some(3)]);
    }

    /// The values that a label of the universe can have, `None` for a missing one.
    const VALUES: [Option<&str>; 4] = [None, Some(""), Some("x"), Some("y")];

    /// Returns the values that a requirement on one key allows, as a list.
    fn allowed(operator: &str, values: &[&str]) -> Vec<Option<&'static str>> {
        let listed = |value: Option<&str>| values.iter().any(|listed| Some(*listed) == value);
        let keep = |value: &Option<&str>| match operator {
            "In" => listed(*value),
            "NotIn" => !listed(*value),
            "Exists" => *value != VALUES[0],
            _ => *value == VALUES[0],
        };
        VALUES.into_iter().filter(keep).collect()
    }

    fn expressions() -> impl Strategy<Value = Vec<(&'static str, &'static str, Vec<&'static str>)>> {
        let one = (
            prop::sample::select(vec!["a", "b"]),
            prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]),
            prop::collection::vec(prop::sample::select(vec!["", "x", "y"]), 1..3),
        );
        let one = one.prop_map(|(key, operator, values)| {
            (key, operator, if operator.ends_with("In") { values } else { vec![] })
        });
        prop::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn matches_exactly_the_labels_that_each_requirement_allows(
            label in prop::option::of(prop::sample::select(vec!["", "x", "y"])), expressions in expressions(),
        ) {
            let requirements: Vec<Value> = expressions
                .iter()
                .map(|(key, operator, values)| json!({"key": key, "operator": operator, "values": values}))
                .collect();
            let mut object = json!({"matchExpressions": requirements});
            if let Some(value) = label {
                object["matchLabels"] = json!({"a": value});
            }
            let selector = LabelSelector::deserialize(&object).expect("a selector");
            let mut matching = 0;
            for a in VALUES {
                for b in VALUES {
                    let by_label = label.is_none() || a == label;
                    let value = |key: &str| if key == "a" { a } else { b };
                    let expected = by_label
                        && expressions.iter().all(|(key, op, values)| allowed(op, values).contains(&value(key)));
                    prop_assert_eq!(selector.matches(value), expected, "{} with a={:?}, b={:?}", object, a, b);
                    matching += usize::from(expected);
                }
            }
            let contradicts = !selector.contradictions().is_empty();
            prop_assert!(matching == 0 || !contradicts, "{object} contradicts itself, but matches");
        }
    }
}
