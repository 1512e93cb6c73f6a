//! The values that a set of requirements allows for one key.

use super::{Operator, Requirement};

/// The possibilities that requirements leave for ONE key: whether the label may be missing, and its allowed values.
///
/// It errs to one side only: [`Domain::is_empty`] and [`Domain::implies`] return true only if it is certain.
#[derive(Clone, Debug)]
pub struct Domain<'a> {
    may_be_missing: bool,
    values: Values<'a>,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    OneOf(Vec<&'a str>),
    /// All but the listed values and, if there is a bound, only integers inside the open interval.
    AllBut {
        listed: Vec<&'a str>,
        above: Option<i64>,
        below: Option<i64>,
    },
}

impl<'a> Domain<'a> {
    /// Returns the domain without any requirement.
    #[must_use]
    pub fn any() -> Self {
        Self { may_be_missing: true, values: Values::AllBut { listed: Vec::new(), above: None, below: None } }
    }

    /// Keeps the values that `value` allows, as `nodeSelector` and `matchLabels` mean it.
    pub fn and_value(&mut self, value: &'a str) {
        self.keep_listed(&[value]);
    }

    /// Keeps the values that `requirement` allows. The caller ensures that the key is the domain's.
    pub fn and(&mut self, requirement: &'a Requirement<'_>) {
        match requirement.known_operator() {
            Some(Operator::In) => {
                let listed: Vec<&str> = requirement.values.iter().map(|value| &**value).collect();
                self.keep_listed(&listed);
            }
            Some(Operator::NotIn) => match &mut self.values {
                Values::OneOf(values) => values.retain(|value| !requirement.lists(value)),
                Values::AllBut { listed, .. } => listed.extend(requirement.values.iter().map(|v| &**v)),
            },
            Some(Operator::Exists) => self.may_be_missing = false,
            Some(Operator::DoesNotExist) => self.values = Values::OneOf(Vec::new()),
            Some(Operator::Gt) => self.keep_between(requirement.bound(), None),
            Some(Operator::Lt) => self.keep_between(None, requirement.bound()),
            None => {}
        }
    }

    /// Whether no label can satisfy the requirements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.may_be_missing
            && match &self.values {
                Values::OneOf(values) => values.is_empty(),
                Values::AllBut { above, below, .. } => {
                    // "7" and "07" are both seven, so the listed values never exhaust an interval. A bound is
                    // exclusive, and an integer of 64 bits. Without one, the last integer is inside.
                    let least = above.map_or(Some(i64::MIN), |above| above.checked_add(1));
                    let most = below.map_or(Some(i64::MAX), |below| below.checked_sub(1));
                    self.has_bound() && least.zip(most).is_none_or(|(least, most)| least > most)
                }
            }
    }

    /// Whether each label that the requirements allow satisfies `requirement`.
    #[must_use]
    pub fn implies(&self, requirement: &Requirement<'_>) -> bool {
        let all_values = |holds: &dyn Fn(&str) -> bool| match &self.values {
            Values::OneOf(values) => values.iter().all(|value| holds(value)),
            Values::AllBut { .. } => false,
        };
        match requirement.known_operator() {
            Some(Operator::In) => !self.may_be_missing && all_values(&|value| requirement.lists(value)),
            Some(Operator::NotIn) => requirement.values.iter().all(|value| !self.allows(value)),
            Some(Operator::Exists) => !self.may_be_missing,
            Some(Operator::DoesNotExist) => all_values(&|_| false),
            Some(Operator::Gt) => {
                let Some(bound) = requirement.bound() else { return false };
                !self.may_be_missing
                    && (all_values(&|value| value.parse().is_ok_and(|n: i64| n > bound))
                        || matches!(self.values, Values::AllBut { above: Some(n), .. } if n >= bound))
            }
            Some(Operator::Lt) => {
                let Some(bound) = requirement.bound() else { return false };
                !self.may_be_missing
                    && (all_values(&|value| value.parse().is_ok_and(|n: i64| n < bound))
                        || matches!(self.values, Values::AllBut { below: Some(n), .. } if n <= bound))
            }
            None => false,
        }
    }

    /// Whether the label must exist.
    #[must_use]
    pub fn demands_key(&self) -> bool {
        !self.may_be_missing
    }

    fn has_bound(&self) -> bool {
        matches!(&self.values, Values::AllBut { above, below, .. } if above.is_some() || below.is_some())
    }

    fn allows(&self, value: &str) -> bool {
        match &self.values {
            Values::OneOf(values) => values.contains(&value),
            Values::AllBut { listed, above, below } => {
                !listed.contains(&value) && is_between(value, *above, *below)
            }
        }
    }

    fn keep_listed(&mut self, listed: &[&'a str]) {
        let values = listed.iter().copied().filter(|value| self.allows(value)).collect();
        *self = Self { may_be_missing: false, values: Values::OneOf(values) };
    }

    /// Both none: the API server would refuse the requirement, so it says nothing about the values.
    fn keep_between(&mut self, least: Option<i64>, most: Option<i64>) {
        if least.is_none() && most.is_none() {
            return;
        }
        self.may_be_missing = false;
        match &mut self.values {
            Values::OneOf(values) => values.retain(|value| is_between(value, least, most)),
            Values::AllBut { above, below, .. } => {
                *above = (*above).max(least);
                *below = match (*below, most) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
    }
}

/// Whether `value` is inside the open interval; with a bound, it must be an integer.
fn is_between(value: &str, above: Option<i64>, below: Option<i64>) -> bool {
    if above.is_none() && below.is_none() {
        return true;
    }
    value
        .parse()
        .is_ok_and(|n: i64| above.is_none_or(|above| n > above) && below.is_none_or(|below| n < below))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow, obvious meaning of one requirement for one node (apimachinery `labels.Requirement`).
    fn holds(requirement: &Requirement<'_>, label: Option<&str>) -> bool {
        let listed = |label: &str| requirement.values.iter().any(|value| &**value == label);
        let number = |text: &str| text.parse::<i64>().ok();
        match (&*requirement.operator, label) {
            ("In", Some(label)) => listed(label),
            ("NotIn", Some(label)) => !listed(label),
            ("Exists", label) => label.is_some(),
            ("DoesNotExist", label) => label.is_none(),
            ("NotIn", None) => true,
            ("Gt", Some(label)) => number(label) > number(&requirement.values[0]).max(Some(i64::MIN)),
            ("Lt", Some(label)) => number(label).is_some_and(|n| Some(n) < number(&requirement.values[0])),
            _ => false,
        }
    }

    #[test]
    fn an_open_interval_contains_the_last_integers() {
        let empty = |operator, value: &'static str| {
            let mut domain = Domain::any();
            let requirement = Requirement::new("k", operator, &[value]);
            domain.and(&requirement);
            domain.is_empty()
        };
        assert!(!empty(Operator::Gt, "9223372036854775806"));
        assert!(empty(Operator::Gt, "9223372036854775807"));
        assert!(!empty(Operator::Lt, "-9223372036854775807"));
        assert!(empty(Operator::Lt, "-9223372036854775808"));
    }

    const LABELS: [Option<&str>; 9] =
        [None, Some(""), Some("a"), Some("b"), Some("c"), Some("1"), Some("2"), Some("02"), Some("3")];

    fn requirements() -> impl Strategy<Value = Vec<Requirement<'static>>> {
        let values = prop::collection::vec(prop::sample::select(vec!["a", "b", "1", "2", "3"]), 0..3);
        let one = (0..6usize, values, prop::sample::select(vec!["0", "1", "2", "3"])).prop_map(
            |(operator, values, bound)| match operator {
                0 => Requirement::new("k", Operator::In, &values),
                1 => Requirement::new("k", Operator::NotIn, &values),
                2 => Requirement::new("k", Operator::Exists, &[]),
                3 => Requirement::new("k", Operator::DoesNotExist, &[]),
                4 => Requirement::new("k", Operator::Gt, &[bound]),
                _ => Requirement::new("k", Operator::Lt, &[bound]),
            },
        );
        prop::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn says_empty_and_implied_only_where_no_label_shows_otherwise(
            present in requirements(), wanted in requirements(),
        ) {
            let mut domain = Domain::any();
            present.iter().for_each(|requirement| domain.and(requirement));
            let possible: Vec<_> =
                LABELS.into_iter().filter(|label| present.iter().all(|r| holds(r, *label))).collect();
            prop_assert!(!domain.is_empty() || possible.is_empty());
            for requirement in &wanted {
                prop_assert!(
                    !domain.implies(requirement) || possible.iter().all(|label| holds(requirement, *label)),
                    "{present:?} does not imply {requirement}"
                );
            }
        }

        #[test]
        fn a_requirement_that_is_there_is_implied(present in requirements()) {
            let mut domain = Domain::any();
            present.iter().for_each(|requirement| domain.and(requirement));
            for requirement in &present {
                prop_assert!(domain.is_empty() || domain.implies(requirement), "{requirement}");
            }
        }
    }

    fn is_contradiction(requirements: &[Requirement<'_>]) -> bool {
        let mut domain = Domain::any();
        requirements.iter().for_each(|requirement| domain.and(requirement));
        domain.is_empty()
    }

    #[test]
    fn finds_plain_contradictions() {
        use Operator::{DoesNotExist, Exists, Gt, In, Lt, NotIn};
        let r = |operator, values: &[&'static str]| Requirement::new("k", operator, values);
        assert!(is_contradiction(&[r(In, &["a"]), r(NotIn, &["a", "b"])]));
        assert!(is_contradiction(&[r(Exists, &[]), r(DoesNotExist, &[])]));
        assert!(is_contradiction(&[r(In, &["a"]), r(In, &["b"])]));
        assert!(is_contradiction(&[r(In, &[])]));
        assert!(is_contradiction(&[r(Gt, &["3"]), r(Lt, &["4"])]));
        assert!(is_contradiction(&[r(Gt, &["3"]), r(In, &["3", "x"])]));
        assert!(is_contradiction(&[r(Gt, &["9223372036854775807"])]));
        assert!(!is_contradiction(&[r(Gt, &["3"]), r(Lt, &["5"]), r(NotIn, &["4"])]));
        assert!(!is_contradiction(&[r(NotIn, &["a"]), r(DoesNotExist, &[])]));
    }

    #[test]
    fn concludes_nothing_from_an_unknown_operator() {
        let newer = Requirement { key: "k".into(), operator: "Near".into(), values: vec!["a".into()] };
        assert!(!is_contradiction(&[newer.clone(), Requirement::new("k", Operator::Exists, &[])]));
        assert!(!Domain::any().implies(&newer));
    }
}
