//! Label selectors.

use serde::Deserialize;

use crate::{
    Domain, Labels, Operator, Requirement, pointer,
    text::{Text, null_is_default},
};

/// A label selector, such as a DaemonSet's `spec.selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector<'a> {
    /// Labels that must be there with exactly these values.
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub match_labels: Labels<'a>,
    /// Further requirements, ANDed.
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    pub match_expressions: Vec<Requirement<'a>>,
}

impl<'a> LabelSelector<'a> {
    /// Whether it selects everything, which no DaemonSet may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether it speaks of the label `key`.
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

    /// Whether a pod with `labels` is selected. An operator that is not known here selects.
    #[must_use]
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.clauses("").all(|(_, clause)| Self::holds(&clause, labels))
    }

    /// Each clause with its pointer, where `base` is the selector's: `matchLabels` as `In` of one value.
    pub fn clauses<'s>(&'s self, base: &'s str) -> impl Iterator<Item = (String, Requirement<'s>)> {
        let labels = self.match_labels.iter().map(move |(key, value)| {
            let at = pointer::join(&format!("{base}/matchLabels"), key);
            (at, Requirement::new(key, Operator::In, &[value]))
        });
        let expressions = self.match_expressions.iter().enumerate().map(move |(i, requirement)| {
            let values = requirement.values.iter().map(|value| Text::from(&**value)).collect();
            let (key, operator) = ((&*requirement.key).into(), (&*requirement.operator).into());
            (format!("{base}/matchExpressions/{i}"), Requirement { key, operator, values })
        });
        labels.chain(expressions)
    }

    /// Whether `labels` satisfy one clause.
    #[must_use]
    pub fn holds(clause: &Requirement<'_>, labels: &Labels<'_>) -> bool {
        let label = labels.get(&*clause.key);
        let is_listed = label.is_some_and(|label| clause.values.contains(label));
        match clause.known_operator() {
            Some(Operator::In) => is_listed,
            Some(Operator::NotIn) => !is_listed,
            Some(Operator::Exists) => label.is_some(),
            Some(Operator::DoesNotExist) => label.is_none(),
            Some(Operator::Gt | Operator::Lt) | None => true,
        }
    }

    /// The clauses, with their pointers, at which it becomes certain that no labels can match.
    #[must_use]
    pub fn contradictions(&self, base: &str) -> Vec<(String, String)> {
        let clauses: Vec<_> = self.clauses(base).collect();
        let mut found = Vec::new();
        for (i, (at, clause)) in clauses.iter().enumerate() {
            let mut domain = Domain::any();
            clauses[..i].iter().filter(|(_, c)| c.key == clause.key).for_each(|(_, c)| domain.and(c));
            let was_empty = domain.is_empty();
            domain.and(clause);
            if domain.is_empty() && !was_empty {
                found.push((at.clone(), clause.to_string()));
            }
        }
        found
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
    fn reads_null_as_missing() {
        assert!(selector(r#"{"matchLabels":null,"matchExpressions":null}"#).is_empty());
    }

    #[test]
    fn names_the_clause_at_which_a_contradiction_appears_once() {
        let found = selector(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[
                {"key":"app","operator":"NotIn","values":["web"]},{"key":"app","operator":"Exists"},
                {"key":"x","operator":"Exists"},{"key":"x","operator":"DoesNotExist"}]}"#,
        )
        .contradictions("/spec/selector");
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/selector/matchExpressions/0", "/spec/selector/matchExpressions/3"]);
    }
}
