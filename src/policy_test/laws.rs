//! Laws: properties that every policy should have, checked for each case that is allowed.
//!
//! Two further ones need no check here, because the host fails a policy that breaks them: changes stay within the
//! manifest's `writes`, and `spec.selector` matches the labels of the template.

use serde_json::{Value, json};
use wardset_cases::Case;
use wardset_runtime::Finding;

use super::subject::{Subject, Trial};
use super::{CaseProblem, is_allowed, shrink};

/// A law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// A second review of the stored object changes and denies nothing, and neither does a second update of it.
    Idempotent,
    /// No entry of the author is removed, changed or moved.
    Additive,
    /// Fields that the policy does not know stay, and change nothing.
    UnknownFields,
    /// An update that does not touch the template never changes it.
    ClosedGate,
    /// Two evaluations of the same review give the same verdict.
    Deterministic,
    /// An evaluation takes at most half of the policy's timeout.
    Headroom,
}

impl Law {
    /// All laws, in the order in which they are checked.
    pub const ALL: [Self; 6] = [
        Self::Idempotent,
        Self::Additive,
        Self::UnknownFields,
        Self::ClosedGate,
        Self::Deterministic,
        Self::Headroom,
    ];

    /// Returns the name, by which `exempt` refers to the law.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::Additive => "additive",
            Self::UnknownFields => "unknown-fields",
            Self::ClosedGate => "closed-gate",
            Self::Deterministic => "deterministic",
            Self::Headroom => "headroom",
        }
    }

    /// Returns whether the law applies to a denied object. Such an object is not stored.
    const fn holds_for_denied(self) -> bool {
        matches!(self, Self::Deterministic | Self::Headroom)
    }
}

/// How often the time of an evaluation is measured. The fastest counts.
const MEASUREMENTS: usize = 5;

/// The result of checking the laws of one case.
pub(super) struct Checked {
    /// The laws that were checked.
    pub(super) number: usize,
    /// The broken laws, and exemptions that name no law.
    pub(super) problems: Vec<CaseProblem>,
}

/// Checks the laws for a case whose outcome is the expected one.
pub(super) async fn check(subject: &Subject, decided: &Trial, case: &Case) -> Checked {
    let mut checked = Checked { number: 0, problems: Vec::new() };
    let known = Law::ALL.map(Law::name);
    let unknown = case.exempt.keys().filter(|name| !known.contains(&name.as_str()));
    checked.problems.extend(unknown.map(|name| {
        CaseProblem::Broken(format!("`exempt`: expected a law ({}), found `{name}`", known.join(", ")))
    }));
    for law in Law::ALL {
        if !is_allowed(decided) && !law.holds_for_denied() {
            continue;
        }
        checked.number += 1;
        let breaks = async |object: &Value| broken(law, subject, object).await;
        match (breaks(&subject.object).await, case.exempt.contains_key(law.name())) {
            (Some(detail), false) => {
                let shrunk = shrink::shrink(&subject.object, detail, breaks).await;
                checked.problems.push(CaseProblem::Law { law, shrunk: Box::new(shrunk) });
            }
            // The time of an evaluation differs from run to run.
            (None, true) if law != Law::Headroom => {
                let problem =
                    format!("`exempt.{}` is not needed, because the law holds; hint: remove it", law.name());
                checked.problems.push(CaseProblem::Vacuous(problem));
            }
            (Some(_), true) | (None, _) => {}
        }
    }
    checked
}

/// Returns the way in which an object breaks a law.
async fn broken(law: Law, subject: &Subject, object: &Value) -> Option<String> {
    let decided = subject.decide(object, subject.old.as_ref()).await.ok()?;
    if !law.holds_for_denied() && (!is_allowed(&decided) || decided.ran_out_of_time()) {
        return None;
    }
    match law {
        Law::Deterministic => difference(&decided.findings),
        Law::Headroom => headroom(subject, object, decided).await,
        Law::Idempotent => changes_again(subject, &decided).await,
        Law::Additive => lost(object, decided.stored(), "")
            .map(|pointer| format!("the author's value at `{pointer}` is removed, changed or moved")),
        Law::UnknownFields => unknown_fields(subject, object, &decided).await,
        Law::ClosedGate => closed_gate(subject, object).await,
    }
}

/// Returns the first difference between the two verdicts of a policy. If the second evaluation alone failed, the machine may
/// have been too slow for it.
fn difference(findings: &[Finding]) -> Option<String> {
    findings.iter().find_map(|finding| finding.difference.as_ref().map(ToString::to_string))
}

/// Returns the effect of a second review of the stored object, or of a second update of it.
async fn changes_again(subject: &Subject, decided: &Trial) -> Option<String> {
    let again = subject.decide(decided.stored(), subject.old.as_ref()).await.ok()?;
    if let Some(effect) = effect(&again) {
        return Some(format!("the second review of the stored object {effect}"));
    }
    for change in [Change::Annotation, Change::Template] {
        // A policy may change more on an update than on a create, but a second update must change nothing.
        let first = subject.decide(decided.stored(), Some(&change.before(decided.stored()))).await;
        let Some(first) = first.ok().filter(is_allowed) else { continue };
        let second = subject.decide(first.stored(), Some(&change.before(first.stored()))).await;
        if let Some(effect) = second.ok().as_ref().and_then(effect) {
            return Some(format!(
                "the second update of the stored object, with {}, {effect}",
                change.words()
            ));
        }
    }
    None
}

/// Returns the denial or the changes of a review, in words; none if there are none.
fn effect(trial: &Trial) -> Option<String> {
    if trial.ran_out_of_time() {
        return None;
    }
    if !is_allowed(trial) {
        return Some(trial.refusal());
    }
    let patch = trial.patch();
    (patch != "[]").then(|| format!("changes it: {patch}"))
}

/// The author's part of an update.
#[derive(Clone, Copy)]
enum Change {
    /// Another annotation, and the same template: the gate is closed.
    Annotation,
    /// Another template: the gate is open.
    Template,
}

impl Change {
    const fn words(self) -> &'static str {
        match self {
            Self::Annotation => "the same template",
            Self::Template => "another template",
        }
    }

    /// Returns the object as it was before the author's change.
    fn before(self, object: &Value) -> Value {
        let mut old = object.clone();
        let metadata = match self {
            Self::Annotation => old.pointer_mut("/metadata"),
            Self::Template => old.pointer_mut("/spec/template/metadata"),
        };
        if let Some(Value::Object(metadata)) = metadata {
            metadata.insert("annotations".to_owned(), json!({"wardset-test": "old"}));
        }
        old
    }
}

async fn headroom(subject: &Subject, object: &Value, first: Trial) -> Option<String> {
    let mut best = first.slowest()?;
    for _ in 1..MEASUREMENTS {
        let (_, took, limit) = &best;
        if *took * 2 <= *limit {
            return None;
        }
        let again = subject.decide(object, subject.old.as_ref()).await.ok()?.slowest()?;
        if again.1 < best.1 {
            best = again;
        }
    }
    let (policy, took, limit) = best;
    (took * 2 > limit).then(|| format!("policy `{policy}` took {took:.1?} of {limit:?}"))
}

/// Returns the pointer of the first value of the author that is not kept. Objects may get members, and lists may get
/// entries at their end.
fn lost(author: &Value, stored: &Value, pointer: &str) -> Option<String> {
    match (author, stored) {
        (Value::Object(author), Value::Object(stored)) => author.iter().find_map(|(key, value)| {
            let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            match stored.get(key) {
                Some(found) => lost(value, found, &pointer),
                None => Some(pointer),
            }
        }),
        (Value::Array(author), Value::Array(stored)) => author.iter().enumerate().find_map(|(at, value)| {
            let pointer = format!("{pointer}/{at}");
            match stored.get(at) {
                Some(found) => lost(value, found, &pointer),
                None => Some(pointer),
            }
        }),
        // Kubernetes reads null as absent.
        (Value::Null, _) => None,
        _ => (author != stored).then(|| pointer.to_owned()),
    }
}

async fn unknown_fields(subject: &Subject, object: &Value, decided: &Trial) -> Option<String> {
    // The old object gets the fields too, so that the template gate stays as it is.
    let (marked, old) = (with_unknown_fields(object), subject.old.as_ref().map(with_unknown_fields));
    let again = subject.decide(&marked, old.as_ref()).await.ok()?;
    if let Some(pointer) = lost(&marked, again.stored(), "").filter(|pointer| pointer.contains(UNKNOWN)) {
        return Some(format!("the unknown field at `{pointer}` is removed or changed"));
    }
    if again.ran_out_of_time() {
        return None;
    }
    if !is_allowed(&again) {
        return Some(format!("with unknown fields, the policy {}", again.refusal()));
    }
    let same = again.patch() == decided.patch();
    (!same).then(|| format!("with unknown fields, the changes are different: {}", again.patch()))
}

/// The name of a field that no policy knows.
const UNKNOWN: &str = "wardset-test-unknown-field";

fn with_unknown_fields(object: &Value) -> Value {
    let mut marked = object.clone();
    for parent in ["", "/metadata", "/spec", "/spec/template", "/spec/template/spec"] {
        if let Some(Value::Object(members)) = marked.pointer_mut(parent) {
            members.insert(UNKNOWN.to_owned(), json!({"keep": ["this"]}));
        }
    }
    marked
}

async fn closed_gate(subject: &Subject, object: &Value) -> Option<String> {
    if subject.ignores_gate() {
        return None;
    }
    let decided = subject.decide_gated(object, Some(&Change::Annotation.before(object))).await.ok()?;
    let held_back = decided.held_back();
    (!held_back.is_empty()).then(|| {
        let policies = held_back.join("`, `");
        format!(
            "policy `{policies}` changes the template; hint: check the template gate of the request first"
        )
    })
}

#[cfg(test)]
mod tests {
    use wardset_core::agreement::Agreement;
    use wardset_core::verdict::{Verdict, Warning};

    use super::*;

    #[test]
    fn additions_lose_nothing() {
        let author = json!({"a": {"b": 1}, "l": [1, {"k": "v"}], "n": null});
        let stored = json!({"a": {"b": 1, "c": 2}, "l": [1, {"k": "v", "m": 1}, 3], "n": {}, "new": true});
        assert_eq!(lost(&author, &stored, ""), None);
    }

    #[test]
    fn each_loss_has_a_pointer() {
        let author = json!({"a/b": {"c": 1}, "l": [1, 2]});
        for (stored, pointer) in [
            (json!({"l": [1, 2]}), "/a~1b"),
            (json!({"a/b": {"c": 2}, "l": [1, 2]}), "/a~1b/c"),
            (json!({"a/b": {"c": 1}, "l": [0, 1, 2]}), "/l/0"),
            (json!({"a/b": {"c": 1}, "l": [1]}), "/l/1"),
            (json!({"a/b": {"c": 1}, "l": {}}), "/l"),
        ] {
            assert_eq!(lost(&author, &stored, "").as_deref(), Some(pointer), "{stored}");
        }
    }

    /// The findings are made here, because no guest can be made to differ on the same input.
    #[test]
    fn two_verdicts_that_differ_break_the_law() {
        let warning = |message: &str| Warning { pointer: "/spec".to_owned(), message: message.to_owned() };
        let verdict = |message: &str| Ok(Verdict { warnings: vec![warning(message)], ..Verdict::default() });
        let finding = |second: &str| match Agreement::of(&verdict("a"), &verdict(second)) {
            Agreement::Differ(difference) => Finding { policy: "p".into(), difference: Some(difference) },
            Agreement::Same | Agreement::Unknown => Finding { policy: "p".into(), difference: None },
        };
        assert_eq!(difference(&[]), None);
        assert_eq!(difference(&[finding("a")]), None, "the second evaluation failed");
        let expected = "warning 1: first `/spec: a`, then `/spec: b`";
        assert_eq!(difference(&[finding("a"), finding("b")]).as_deref(), Some(expected));
    }

    #[test]
    fn laws_have_different_names() {
        let names: std::collections::BTreeSet<_> = Law::ALL.into_iter().map(Law::name).collect();
        assert_eq!(names.len(), Law::ALL.len());
    }
}
