//! Mutations: labels, annotations, tolerations, node affinity and operations.

use std::collections::BTreeSet;

use serde_json::Value;
use wardset_policy_sdk::{
    LabelSelector, Labels, Outcome, Patch, Placement, Requirement, Review, Stop, Text, Toleration, Verdict,
    Wanted, add_tolerations, pointer::is_within,
};

use crate::{
    scope::{Place, Scope},
    settings::{Mutation, Op, Operation},
};

const TEMPLATE: &str = "/spec/template";
const SELECTOR: &str = "/spec/selector";
const TOLERATIONS: &str = "/spec/template/spec/tolerations";
const AFFINITY: &str = "/spec/template/spec/affinity";
const NODE_NAME: &str = "/spec/template/spec/nodeName";

/// A map of the object, and the same map of the pod template.
#[derive(Clone, Copy)]
struct Target {
    /// Whether the map is of the pod template.
    template: bool,
    map: &'static str,
    noun: &'static str,
}

const TARGETS: [Target; 4] = [
    Target { template: false, map: "/metadata/labels", noun: "label" },
    Target { template: true, map: "/spec/template/metadata/labels", noun: "label" },
    Target { template: false, map: "/metadata/annotations", noun: "annotation" },
    Target { template: true, map: "/spec/template/metadata/annotations", noun: "annotation" },
];

/// Adds the changes of the mutations to the verdict.
pub(crate) fn apply(
    review: &Review,
    scope: &mut Scope<'_>,
    mutations: &[Mutation],
    mut verdict: Verdict,
) -> Result<Verdict, Stop> {
    let mut active = Vec::new();
    for (i, mutation) in mutations.iter().enumerate() {
        let field = format!("mutations[{i}]");
        let at = format!("{field}.when");
        let holds = match &mutation.when {
            Some(text) => scope.holds(Place { field: &at, text })?,
            None => true,
        };
        if holds {
            active.push((field, mutation));
        }
    }
    let mut patch = Patch::new(review);
    for target in TARGETS {
        if !target.template || review.template_is_open() {
            verdict = add_members(review, &mut patch, &active, target, verdict)?;
        }
    }
    if review.template_is_open() {
        add_all_tolerations(review, &mut patch, &active)?;
        verdict = narrow(review, &mut patch, &active, verdict)?;
    }
    for (field, mutation) in &active {
        for (i, operation) in mutation.operations.iter().enumerate() {
            let field = format!("{field}.operations[{i}]");
            let reason = operation.reason.as_ref().or(mutation.reason.as_ref());
            operate(review, scope, &mut patch, Rule { field: &field, operation, reason })?;
        }
    }
    Ok(verdict.with_changes(patch))
}

fn add_members(
    review: &Review,
    patch: &mut Patch<'_>,
    active: &[(String, &Mutation)],
    target: Target,
    mut verdict: Verdict,
) -> Result<Verdict, Stop> {
    let is_label = target.noun == "label";
    let entries = |mutation: &'_ &Mutation| -> bool {
        let map = if is_label { &mutation.labels } else { &mutation.annotations };
        !map.is_empty() && (mutation.template || !target.template)
    };
    let mutations: Vec<&Mutation> = active.iter().map(|(_, mutation)| *mutation).filter(entries).collect();
    if mutations.is_empty() {
        return Ok(verdict);
    }
    let present: Labels<'_> = review.object(target.map)?.unwrap_or_default();
    let selector: LabelSelector<'_> = match target.template && is_label {
        true => review.object(SELECTOR)?.unwrap_or_default(),
        false => LabelSelector::default(),
    };
    let (mut added, mut keys) = (Vec::new(), BTreeSet::new());
    for mutation in mutations {
        for (key, value) in if is_label { &mutation.labels } else { &mutation.annotations } {
            if present.contains_key(key.as_str()) || !keys.insert(key.as_str()) {
                continue;
            }
            if selector.names(key) {
                let message = format!("the pods do not get the label `{key}`, because the selector names it");
                verdict = verdict.with_warning(SELECTOR, message);
                continue;
            }
            let default = || format!("{} `{key}` was missing", target.noun);
            added.push((key.as_str(), value.as_str(), mutation.reason.clone().unwrap_or_else(default)));
        }
    }
    patch.add_members(target.map, added)?;
    Ok(verdict)
}

fn add_all_tolerations(
    review: &Review,
    patch: &mut Patch<'_>,
    active: &[(String, &Mutation)],
) -> Result<(), Stop> {
    let mut wanted = active.iter().flat_map(|(_, mutation)| &mutation.tolerations).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let present: Vec<Toleration<'_>> = review.object(TOLERATIONS)?.unwrap_or_default();
    add_tolerations(patch, TOLERATIONS, &present, wanted.map(|setting| setting.toleration()))
}

fn narrow(
    review: &Review,
    patch: &mut Patch<'_>,
    active: &[(String, &Mutation)],
    verdict: Verdict,
) -> Result<Verdict, Stop> {
    let of = |mutation: &&Mutation, requirement: &Requirement<'_>| {
        mutation
            .reason
            .clone()
            .unwrap_or_else(|| format!("the settings require it of nodes: `{requirement}`"))
    };
    let requirements: Vec<(Requirement<'_>, String)> = active
        .iter()
        .flat_map(|(_, mutation)| {
            mutation.node_affinity.iter().map(move |setting| (mutation, setting.requirement()))
        })
        .map(|(mutation, requirement)| {
            let reason = of(mutation, &requirement);
            (requirement, reason)
        })
        .collect();
    if requirements.is_empty() {
        return Ok(verdict);
    }
    if review.object::<Text<'_>>(NODE_NAME)?.is_some_and(|name| !name.is_empty()) {
        let message = "`nodeName` pins the pods to one node, so the policy left node affinity alone";
        return Ok(verdict.with_warning(NODE_NAME, message));
    }
    let wanted: Vec<Wanted<'_>> = requirements
        .iter()
        .map(|(requirement, reason)| Wanted { requirement: requirement.clone(), reason })
        .collect();
    Ok(match Placement::read(review)?.narrow(&wanted, patch)? {
        Outcome::Narrowed { dead } => {
            let message = "this term matches no node now: it contradicts the requirements of the policy";
            dead.into_iter().fold(verdict, |verdict, term| verdict.with_warning(term, message))
        }
        Outcome::Nowhere => verdict.with_warning(
            AFFINITY,
            "the required node affinity matches no node, so the policy left it alone",
        ),
        Outcome::Conflict { pointer, requirement } => verdict.with_warning(
            pointer,
            format!("no node would satisfy `{requirement}`, so the policy left node affinity alone"),
        ),
    })
}

/// An operation, with its place in the settings and its reason.
struct Rule<'a> {
    field: &'a str,
    operation: &'a Operation,
    reason: Option<&'a String>,
}

fn operate(
    review: &Review,
    scope: &mut Scope<'_>,
    patch: &mut Patch<'_>,
    rule: Rule<'_>,
) -> Result<(), Stop> {
    let Rule { field, operation, reason } = rule;
    let path = &operation.path;
    if is_within(path, TEMPLATE) && !review.template_is_open() {
        return Ok(());
    }
    let at = format!("{field}.when");
    if let Some(text) = &operation.when
        && !scope.holds(Place { field: &at, text })?
    {
        return Ok(());
    }
    let at = format!("{field}.value");
    let mut value = || match &operation.value {
        Some(text) => scope.json(Place { field: &at, text }),
        None => Ok(Value::Null),
    };
    let reason = reason.cloned().unwrap_or_else(|| format!("`{field}` of the settings"));
    match operation.op {
        Op::Add => {
            let value = value()?;
            let is_there = match path.strip_suffix("/-") {
                Some(list) => {
                    review.object::<Vec<Value>>(list)?.is_some_and(|elements| elements.contains(&value))
                }
                None => review.object::<Value>(path)?.as_ref() == Some(&value),
            };
            if is_there {
                return Ok(());
            }
            match path.strip_suffix("/-") {
                Some(list) => patch.append(list, [(value, reason)]),
                None => patch.add(path, &value, reason),
            }
        }
        Op::Replace => {
            let value = value()?;
            match review.object::<Value>(path)? {
                None => Err(Stop::Fail(format!(
                    "`{field}` failed: there is no value at `{path}` to replace; add `when`, or use `op: add`"
                ))),
                Some(found) if found == value => Ok(()),
                Some(_) => patch.replace(path, &value, reason),
            }
        }
        Op::Remove => {
            if review.has(path) {
                patch.remove(path, reason);
            }
            Ok(())
        }
    }
}
