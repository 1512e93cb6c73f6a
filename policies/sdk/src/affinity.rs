//! Placement: the nodes that `nodeSelector` and required node affinity allow, and how a policy narrows them.

use std::collections::BTreeSet;

use crate::placement::{Affinity, Term};
use serde::Serialize;

use crate::{Domain, Labels, Patch, Requirement, Review, Stop, pointer};

const AFFINITY: &str = "/spec/template/spec/affinity";
const NODE_SELECTOR: &str = "/spec/template/spec/nodeSelector";
const REQUIRED: &str =
    "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
const TERMS: &str = "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// The nodes that a DaemonSet's template reaches, as far as labels decide.
///
/// Terms are ORed, the requirements of a term are ANDed, `nodeSelector` is ANDed to each term, and an empty term
/// matches no node (component-helpers `nodeaffinity`).
#[derive(Clone, Debug)]
pub struct Placement<'r> {
    node_selector: Labels<'r>,
    /// None: no required node affinity, so `nodeSelector` alone decides.
    terms: Option<Vec<Term<'r>>>,
}

/// A wanted requirement on nodes, with its reason.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The requirement on the nodes' labels.
    pub requirement: Requirement<'a>,
    /// The reason that the change carries.
    pub reason: &'a str,
}

/// The result of narrowing a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Each term has the requirements. `dead` points to the terms that could match nodes before, and certainly
    /// match none with them.
    Narrowed {
        /// Pointers to the terms.
        dead: Vec<String>,
    },
    /// No node would remain, so the patch did not change.
    Conflict {
        /// The contradicting part: a term, or an entry of `nodeSelector`.
        pointer: String,
        /// The requirement.
        requirement: String,
    },
    /// No term can match a node, so the patch did not change: another term could only widen the placement.
    Nowhere,
}

impl<'r> Placement<'r> {
    /// Reads the placement. The manifest's `reads` need `/spec/template/spec/affinity` and
    /// `/spec/template/spec/nodeSelector`.
    ///
    /// # Errors
    /// As [`Review::object`].
    pub fn read(review: &'r Review) -> Result<Self, Stop> {
        let affinity: Affinity<'r> = review.object(AFFINITY)?.unwrap_or_default();
        let required = affinity.node_affinity.and_then(|node| node.required);
        Ok(Self {
            node_selector: review.object(NODE_SELECTOR)?.unwrap_or_default(),
            terms: required.map(|required| required.node_selector_terms),
        })
    }

    /// Whether a term that can match demands the label `key`, together with `nodeSelector`.
    #[must_use]
    pub fn demands(&self, key: &str) -> bool {
        self.alternatives().iter().any(|term| self.domain(term, key, &[]).demands_key())
    }

    /// Whether each term that can match implies `requirement`, together with `nodeSelector`.
    #[must_use]
    pub fn implies(&self, requirement: &Requirement<'_>) -> bool {
        let mut terms = self.alternatives().into_iter();
        terms.all(|term| self.domain(&term, &requirement.key, &[]).implies(requirement))
    }

    /// ANDs the wanted requirements into each non-empty term, unless the term implies them already. Without required
    /// node affinity, it adds one term. The manifest's `writes` need `/spec/template/spec/affinity`.
    ///
    /// # Errors
    /// As [`Patch::add`].
    pub fn narrow(&self, wanted: &[Wanted<'_>], patch: &mut Patch<'_>) -> Result<Outcome, Stop> {
        let terms = self.alternatives();
        if wanted.is_empty() {
            return Ok(Outcome::Narrowed { dead: Vec::new() });
        }
        let plans: Vec<Plan<'_>> = terms.iter().map(|term| self.plan(term, wanted)).collect();
        if plans.iter().all(|plan| plan.was_dead) {
            return Ok(Outcome::Nowhere);
        }
        if plans.iter().all(|plan| plan.was_dead || plan.killer.is_some())
            && let Some((term, killer)) =
                terms.iter().zip(&plans).find_map(|(term, plan)| Some((term, plan.killer?)))
        {
            let requirement = killer.requirement.to_string();
            return Ok(Outcome::Conflict { pointer: self.place(term, &killer.requirement.key), requirement });
        }
        for (term, plan) in terms.iter().zip(&plans) {
            let items = plan.added.iter().map(|w| (&w.requirement, w.reason.to_owned()));
            match term.at {
                Some(i) => {
                    let list = format!("{TERMS}/{i}/matchExpressions");
                    if term.expressions.is_empty() {
                        patch.append(&list, items)?;
                    } else {
                        patch.append_to(&list, items)?;
                    }
                }
                None if plan.added.is_empty() => {}
                None => {
                    let requirements = plan.added.iter().map(|w| &w.requirement).collect();
                    let mut reasons: Vec<&str> = plan.added.iter().map(|w| w.reason).collect();
                    reasons.dedup();
                    patch.add(REQUIRED, &one_term(requirements), reasons.join("; "))?;
                }
            }
        }
        let killed = terms.iter().zip(&plans).filter(|(_, plan)| plan.killer.is_some());
        let dead = killed.filter_map(|(term, _)| Some(format!("{TERMS}/{}", term.at?))).collect();
        Ok(Outcome::Narrowed { dead })
    }

    /// Returns the terms that can match a node: all except the empty ones. Without required node affinity, this is
    /// one term without requirements.
    fn alternatives(&self) -> Vec<Alternative<'_, 'r>> {
        match &self.terms {
            None => vec![Alternative { at: None, expressions: &[] }],
            Some(terms) => terms
                .iter()
                .enumerate()
                .filter(|(_, term)| !term.is_empty())
                .map(|(i, term)| Alternative { at: Some(i), expressions: &term.match_expressions })
                .collect(),
        }
    }

    fn plan<'w>(&self, term: &Alternative<'_, 'r>, wanted: &'w [Wanted<'w>]) -> Plan<'w> {
        let keys: BTreeSet<&str> = term.expressions.iter().map(|requirement| &*requirement.key).collect();
        let was_dead = keys.into_iter().any(|key| self.domain(term, key, &[]).is_empty());
        let mut plan = Plan { was_dead, killer: None, added: Vec::new() };
        for w in wanted {
            let key = &*w.requirement.key;
            let is_there = term.expressions.contains(&w.requirement);
            if is_there || self.domain(term, key, &plan.added).implies(&w.requirement) {
                continue;
            }
            plan.added.push(w);
            if !was_dead && plan.killer.is_none() && self.domain(term, key, &plan.added).is_empty() {
                plan.killer = Some(w);
            }
        }
        plan
    }

    /// Returns the values that the term, `nodeSelector` and the requirements in `added` allow for `key`.
    fn domain<'d>(&'d self, term: &Alternative<'d, 'r>, key: &str, added: &[&'d Wanted<'_>]) -> Domain<'d> {
        let mut domain = Domain::any();
        if let Some(value) = self.node_selector.get(key) {
            domain.and_value(value);
        }
        let of_key = |requirement: &&'d Requirement<'_>| &*requirement.key == key;
        term.expressions.iter().filter(of_key).for_each(|requirement| domain.and(requirement));
        added.iter().map(|w| &w.requirement).filter(of_key).for_each(|requirement| domain.and(requirement));
        domain
    }

    /// Returns the part that contradicts a requirement on `key`: `nodeSelector` if it has the key, else the term.
    fn place(&self, term: &Alternative<'_, '_>, key: &str) -> String {
        match term.at {
            Some(i) if !self.node_selector.contains_key(key) => format!("{TERMS}/{i}"),
            _ => pointer::join(NODE_SELECTOR, key),
        }
    }
}

/// A term that can match a node.
#[derive(Clone, Copy, Debug)]
struct Alternative<'t, 'r> {
    /// Its index in the list; `None` if there is no required node affinity.
    at: Option<usize>,
    expressions: &'t [Requirement<'r>],
}

/// The effect of narrowing on one term.
#[derive(Debug)]
struct Plan<'w> {
    /// The author's own requirements contradict each other.
    was_dead: bool,
    /// The requirement after which no node is left.
    killer: Option<&'w Wanted<'w>>,
    added: Vec<&'w Wanted<'w>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewSelector<'a> {
    node_selector_terms: [NewTerm<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewTerm<'a> {
    match_expressions: Vec<&'a Requirement<'a>>,
}

fn one_term<'a>(match_expressions: Vec<&'a Requirement<'a>>) -> NewSelector<'a> {
    NewSelector { node_selector_terms: [NewTerm { match_expressions }] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Operator, testing};

    fn object(pod_spec: Value) -> Value {
        json!({"spec": {"template": {"spec": pod_spec}}})
    }

    fn narrow(object: &Value, wanted: &[Wanted<'_>]) -> (Value, Outcome) {
        let review = testing::review(object);
        let mut patch = Patch::new(&review);
        let placement = Placement::read(&review).expect("an affinity");
        let outcome = placement.narrow(wanted, &mut patch).expect("JSON");
        (testing::apply(object, &patch.into_changes()).expect("the parents are there"), outcome)
    }

    fn wanted(requirement: Requirement<'static>) -> Wanted<'static> {
        Wanted { requirement, reason: "why" }
    }

    const NOT_VIRTUAL: [&str; 1] = ["virtual"];

    fn no_virtual() -> [Wanted<'static>; 1] {
        [wanted(Requirement::new("type", Operator::NotIn, &NOT_VIRTUAL))]
    }

    fn required(terms: Value) -> Value {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    }

    #[test]
    fn adds_one_term_if_nothing_is_required_and_keeps_the_siblings() {
        let added =
            json!([{"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual"]}]}]);
        let preferred = json!([{"weight": 1, "preference": {}}]);
        for (before, sibling) in [
            (json!({}), None),
            (json!({"affinity": null}), None),
            (json!({"affinity": {}}), None),
            (json!({"affinity": {"nodeAffinity": null}}), None),
            (json!({"affinity": {"podAntiAffinity": {"x": 1}}}), Some("/affinity/podAntiAffinity/x")),
            (
                json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}),
                Some("/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution"),
            ),
        ] {
            let (after, outcome) = narrow(&object(before.clone()), &no_virtual());
            assert_eq!(outcome, Outcome::Narrowed { dead: vec![] });
            assert_eq!(after.pointer(TERMS), Some(&added), "{before}");
            if let Some(sibling) = sibling {
                assert_eq!(after.pointer(&format!("/spec/template/spec{sibling}")), before.pointer(sibling));
            }
        }
    }

    #[test]
    fn a_term_with_fields_only_gets_expressions_and_an_empty_term_stays_empty() {
        let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["n1"]}]);
        let terms = json!([{"matchFields": fields}, {}, {"matchExpressions": null, "matchFields": fields}]);
        let (after, _) = narrow(&object(json!({"affinity": required(terms)})), &no_virtual());
        let added = json!([{"key": "type", "operator": "NotIn", "values": ["virtual"]}]);
        assert_eq!(
            after.pointer(TERMS),
            Some(&json!([
                {"matchFields": fields, "matchExpressions": added},
                {},
                {"matchFields": fields, "matchExpressions": added},
            ]))
        );
    }

    #[test]
    fn never_widens_a_selector_that_matches_nothing() {
        for terms in [json!([]), json!(null), json!([{}]), json!([{"matchExpressions": []}, {}])] {
            let before = object(json!({"affinity": required(terms)}));
            assert_eq!(narrow(&before, &no_virtual()), (before, Outcome::Nowhere));
        }
    }

    #[test]
    fn reports_a_conflict_and_changes_nothing_if_the_author_demands_the_opposite() {
        let demand =
            json!([{"matchExpressions": [{"key": "type", "operator": "In", "values": ["virtual"]}]}]);
        for (pod_spec, at) in [
            (json!({"affinity": required(demand)}), format!("{TERMS}/0")),
            (json!({"nodeSelector": {"type": "virtual"}}), format!("{NODE_SELECTOR}/type")),
        ] {
            let before = object(pod_spec);
            let (after, outcome) = narrow(&before, &no_virtual());
            assert_eq!(after, before);
            let requirement = "type NotIn [virtual]".to_owned();
            assert_eq!(outcome, Outcome::Conflict { pointer: at, requirement });
        }
    }

    #[test]
    fn keeps_an_unknown_operator_and_concludes_nothing_from_it() {
        let newer = json!({"key": "type", "operator": "Near", "values": ["virtual"], "margin": 3});
        let before = object(json!({"affinity": required(json!([{"matchExpressions": [newer]}]))}));
        let (after, _) = narrow(&before, &no_virtual());
        let expressions = after.pointer(&format!("{TERMS}/0/matchExpressions")).expect("is there");
        assert_eq!(expressions[0], newer);
        assert_eq!(expressions.as_array().map(Vec::len), Some(2));
    }

    // The oracle tries all nodes of a small universe.

    const KEYS: [&str; 2] = ["j", "k"];
    const LABELS: [Option<&str>; 4] = [None, Some("a"), Some("1"), Some("2")];

    fn nodes() -> impl Iterator<Item = [Option<&'static str>; 2]> {
        LABELS.into_iter().flat_map(|j| LABELS.into_iter().map(move |k| [j, k]))
    }

    fn holds(requirement: &Value, node: [Option<&str>; 2]) -> bool {
        let label = node[usize::from(requirement["key"] == "k")];
        let values: Vec<&str> =
            requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let number = |text: &str| text.parse::<i64>().ok();
        match requirement["operator"].as_str() {
            Some("In") => label.is_some_and(|label| values.contains(&label)),
            Some("NotIn") => label.is_none_or(|label| !values.contains(&label)),
            Some("Exists") => label.is_some(),
            Some("DoesNotExist") => label.is_none(),
            Some("Gt") => label.and_then(number).is_some_and(|n| Some(n) > number(values[0])),
            Some("Lt") => label.and_then(number).is_some_and(|n| Some(n) < number(values[0])),
            _ => false,
        }
    }

    fn reaches(object: &Value, node: [Option<&str>; 2]) -> bool {
        let selected = object.pointer(NODE_SELECTOR).and_then(Value::as_object).is_none_or(|selector| {
            selector.iter().all(|(key, value)| node[usize::from(key == "k")] == value.as_str())
        });
        let matches = |term: &Value| match term["matchExpressions"].as_array() {
            Some(expressions) if !expressions.is_empty() => expressions.iter().all(|r| holds(r, node)),
            _ => false,
        };
        selected
            && object.pointer(TERMS).and_then(Value::as_array).is_none_or(|terms| terms.iter().any(matches))
    }

    fn requirement() -> impl Strategy<Value = Requirement<'static>> {
        let values = prop::collection::vec(prop::sample::select(vec!["a", "1", "2"]), 1..3);
        (prop::sample::select(&KEYS[..]), 0..6usize, values).prop_map(
            |(key, operator, values)| match operator {
                0 => Requirement::new(key, Operator::In, &values),
                1 => Requirement::new(key, Operator::NotIn, &values),
                2 => Requirement::new(key, Operator::Exists, &[]),
                3 => Requirement::new(key, Operator::DoesNotExist, &[]),
                4 => Requirement::new(key, Operator::Gt, &["1"]),
                _ => Requirement::new(key, Operator::Lt, &["2"]),
            },
        )
    }

    fn pod_spec() -> impl Strategy<Value = Value> {
        let term = prop::collection::vec(requirement(), 0..3).prop_map(|r| json!({"matchExpressions": r}));
        let affinity =
            prop::option::of(prop::collection::vec(term, 0..3).prop_map(|terms| required(json!(terms))));
        let label = prop::option::of(prop::sample::select(vec!["a", "1"]));
        (affinity, label).prop_map(|(affinity, label)| {
            let selector = label.map(|value| json!({"k": value}));
            json!({"affinity": affinity, "nodeSelector": selector})
        })
    }

    proptest! {
        #[test]
        fn narrowing_leaves_exactly_the_nodes_that_author_and_policy_want(
            before in pod_spec().prop_map(object),
            requirements in prop::collection::vec(requirement(), 1..3),
        ) {
            let wanted: Vec<Wanted<'_>> = requirements.iter().cloned().map(wanted).collect();
            let (after, outcome) = narrow(&before, &wanted);
            let policy = |node| requirements.iter().all(|r| holds(&json!(r), node));
            for node in nodes() {
                let both = reaches(&before, node) && policy(node);
                match &outcome {
                    Outcome::Narrowed { .. } => prop_assert_eq!(reaches(&after, node), both, "{:?}", node),
                    Outcome::Conflict { .. } => prop_assert!(!both, "{node:?} is left"),
                    Outcome::Nowhere => prop_assert!(!reaches(&before, node), "{node:?} is reached"),
                }
            }
            if !matches!(outcome, Outcome::Narrowed { .. }) {
                prop_assert_eq!(&after, &before);
            }
            prop_assert_eq!(&narrow(&after, &wanted).0, &after, "idempotent");
            let terms = |object: &Value| object.pointer(TERMS).and_then(Value::as_array).cloned();
            for (i, term) in terms(&before).into_iter().flatten().enumerate() {
                let own = term["matchExpressions"].as_array().cloned().unwrap_or_default();
                let now = after.pointer(&format!("{TERMS}/{i}/matchExpressions")).and_then(Value::as_array);
                prop_assert_eq!(now.map(|now| &now[..own.len()]), Some(&own[..]), "the author's come first");
            }
        }
    }
}
