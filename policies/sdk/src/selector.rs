//! Label selectors.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use crate::{Domain, Labels, Operator, Requirement, pointer};

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

    /// Whether it selects a pod with `labels`. A requirement with an unknown operator selects every pod.
    #[must_use]
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.clauses().all(|clause| clause.holds(labels))
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

    /// Returns the pointer to it. `selector` is the pointer to its selector.
    #[must_use]
    pub fn pointer(&self, selector: &str) -> String {
        match self.index {
            Some(i) => format!("{selector}/matchExpressions/{i}"),
            None => pointer::join(&format!("{selector}/matchLabels"), &self.requirement.key),
        }
    }

    /// Whether `labels` satisfy it. An unknown operator is always satisfied.
    #[must_use]
    pub fn holds(&self, labels: &Labels<'_>) -> bool {
        let label = labels.get(&*self.requirement.key);
        let is_listed = label.is_some_and(|label| self.requirement.values.contains(label));
        match self.requirement.known_operator() {
            Some(Operator::In) => is_listed,
            Some(Operator::NotIn) => !is_listed,
            Some(Operator::Exists) => label.is_some(),
            Some(Operator::DoesNotExist) => label.is_none(),
            Some(Operator::Gt | Operator::Lt) | None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &'static str) -> LabelSelector<'static> {
        serde_json::from_str(json).expect("a selector")
    }

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels<'static> {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
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
        assert!(web.matches(&labels(&good)));
        for (key, value) in [("app", "api"), ("tier", "c"), ("canary", "1"), ("zone", "x")] {
            let mut bad = labels(&good);
            bad.insert(key.into(), value.into());
            assert!(!web.matches(&bad), "{key}={value}");
        }
        assert!(!web.matches(&labels(&good[..2])));
    }

    #[test]
    fn names_the_clause_at_which_a_contradiction_appears_once() {
        let selector = selector(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[
                {"key":"app","operator":"NotIn","values":["web"]},{"key":"app","operator":"Exists"},
                {"key":"x","operator":"Exists"},{"key":"x","operator":"DoesNotExist"}]}"#,
        );
        let found = selector.contradictions();
        let pointers: Vec<String> = found.iter().map(|clause| clause.pointer("/spec/selector")).collect();
        assert_eq!(pointers, ["/spec/selector/matchExpressions/0", "/spec/selector/matchExpressions/3"]);
    }
}
