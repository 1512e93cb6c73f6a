//! The checks of a verdict: its size, the declared writes, and the values that no policy may change.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jsonptr::Pointer;

use super::{Chain, Gate, Turn, kinds};
use crate::decision::{Applied, PolicyResult};
use crate::document::Document;
use crate::manifest::FORBIDDEN;
use crate::patch::{PatchOperation, is_within};
use crate::policy::{MatchSelector, Selector};
use crate::text;
use crate::verdict::{
    Change, Denial, DenialCode, Failure, FailureClass, MAX_DETAIL, MAX_TEXT, Note, Verdict, Warning,
};

/// Limit of changes in one verdict: two for each of 512 ORed node selector terms, more than any real object has.
pub const MAX_CHANGES: usize = 1024;
/// Limit of denials, of warnings and of notes in one verdict. The chain counts further ones and leaves them out.
pub const MAX_MESSAGES: usize = 64;

const TEMPLATE: &Pointer = Pointer::from_static("/spec/template");
const TEMPLATE_LABELS: &Pointer = Pointer::from_static("/spec/template/metadata/labels");

/// The objects within a DaemonSet that the API server always sends, outermost first.
const PARTS: [&str; 5] =
    ["/metadata", "/spec", "/spec/template", "/spec/template/metadata", "/spec/template/spec"];

impl Chain<'_> {
    /// Checks a verdict and applies its changes to a copy of the document.
    pub(super) fn check(
        &self,
        turn: &Turn<'_>,
        verdict: Verdict,
    ) -> Result<(PolicyResult, Option<Document>), Failure> {
        let Verdict { denials, changes, warnings, notes } = verdict;
        if changes.len() > MAX_CHANGES {
            let found = changes.len();
            let detail = format!("expected at most {MAX_CHANGES} changes, found {found}");
            return Err(Failure::new(FailureClass::Output, &detail));
        }
        let warnings = at_most(warnings, |left_out, _| Warning {
            pointer: String::new(),
            message: format!("{left_out} further warnings are left out"),
        });
        let denials = at_most(denials, |left_out, denials| {
            let forbidden = denials.iter().any(|denial| denial.code == DenialCode::Forbidden);
            Denial {
                code: if forbidden { DenialCode::Forbidden } else { DenialCode::Invalid },
                pointer: String::new(),
                message: format!("{left_out} further reasons are left out"),
                fix: String::new(),
            }
        });
        let warnings = warnings.into_iter().map(Warning::cleaned).collect();
        let notes = at_most(notes, |left_out, _| Note {
            pointer: String::new(),
            message: format!("{left_out} further notes are left out"),
        });
        let notes = notes.into_iter().map(Note::cleaned).collect();
        if !denials.is_empty() {
            let denials = denials.into_iter().map(Denial::cleaned).collect();
            return Ok((PolicyResult::Denied { denials, warnings }, None));
        }
        let mut held_back = 0;
        let mut applied = Vec::with_capacity(changes.len());
        let mut document: Option<Document> = None;
        for Change { edit, reason } in changes {
            let operation = PatchOperation::try_from(edit)?;
            if !turn.plan.manifest.may_write(operation.path()) {
                let detail =
                    format!("changes `{}`, which the manifest's `writes` do not cover", operation.path());
                return Err(Failure::new(FailureClass::Writes, &detail));
            }
            if turn.gate == Gate::Closed && is_within(operation.path(), TEMPLATE) {
                held_back += 1;
                continue;
            }
            if is_already_so(document.as_ref().unwrap_or(&turn.document), &operation) {
                continue;
            }
            let document = document.get_or_insert_with(|| Document::clone(&turn.document));
            if let Err(error) = document.apply(&operation) {
                if let Some(part) = self.lacks(operation.path()) {
                    return Ok((PolicyResult::Denied { denials: vec![without(part)], warnings }, None));
                }
                return Err(Failure::new(FailureClass::Patch, &text::with_causes(&error, MAX_DETAIL)));
            }
            applied.push(Applied { operation, reason: text::one_line(&reason, MAX_TEXT) });
        }
        if let Some(after) = &document {
            self.stays_within_bounds(turn, after, &applied)?;
            kinds::stay(&turn.document, after, &applied)?;
        }
        Ok((PolicyResult::Allowed { applied, held_back, warnings, notes }, document))
    }

    /// Returns the outermost of the [`PARTS`] above `path` that is not an object in the author's object.
    ///
    /// A policy may rely on these parts, so a missing one is the author's fault.
    fn lacks(&self, path: &Pointer) -> Option<&'static str> {
        let is_object = |part| {
            let found = self.review.object.get(Pointer::from_static(part));
            found.is_some_and(|text| text.starts_with('{'))
        };
        PARTS.into_iter().find(|part| is_within(path, Pointer::from_static(part)) && !is_object(part))
    }

    /// Compares the values that no policy may change, because a change of a parent could change them too.
    ///
    /// It skips values that are neither above nor below the path of an operation.
    fn stays_within_bounds(
        &self,
        turn: &Turn<'_>,
        after: &Document,
        applied: &[Applied],
    ) -> Result<(), Failure> {
        let before = &turn.document;
        let reached = |value: &Pointer| {
            let mut paths = applied.iter().map(|change| change.operation.path());
            paths.any(|path| is_within(path, value) || is_within(value, path))
        };
        let gated = (turn.gate == Gate::Closed).then_some(TEMPLATE);
        for forbidden in FORBIDDEN.into_iter().chain(gated) {
            if reached(forbidden) && before.get(forbidden) != after.get(forbidden) {
                return Err(Failure::new(
                    FailureClass::Writes,
                    &format!("a change of `{forbidden}`, which no policy may make"),
                ));
            }
        }
        if reached(TEMPLATE_LABELS)
            && before.get(TEMPLATE_LABELS) != after.get(TEMPLATE_LABELS)
            && *self.selector_matched.get_or_init(|| selector_matches(&self.review.object))
            && !selector_matches(after)
        {
            let detail = "a change of the template's labels after which the selector no longer matches them";
            return Err(Failure::new(FailureClass::Writes, detail));
        }
        Ok(())
    }
}

/// Keeps the first [`MAX_MESSAGES`] and replaces the rest with a `summary` of their number.
///
/// An author can write an object with any number of faults. If too many messages made the policy fail, `onError:
/// allow` would admit the object.
fn at_most<T>(mut messages: Vec<T>, summary: impl FnOnce(usize, &[T]) -> T) -> Vec<T> {
    if messages.len() > MAX_MESSAGES {
        let rest = messages.split_off(MAX_MESSAGES);
        messages.push(summary(rest.len(), &rest));
    }
    messages
}

fn without(part: &str) -> Denial {
    Denial {
        code: DenialCode::Invalid,
        pointer: part.to_owned(),
        message: "expected an object".to_owned(),
        fix: format!("set `{part}` to an object"),
    }
}

/// Returns whether the operation would set the value that is already there. An `add` to an array never does: it
/// inserts.
fn is_already_so(document: &Document, operation: &PatchOperation) -> bool {
    let Some(value) = operation.value() else { return false };
    let path = operation.path();
    let inserts = matches!(operation, PatchOperation::Add { .. })
        && path
            .parent()
            .and_then(|parent| document.get(parent))
            .is_some_and(|parent| parent.starts_with('['));
    if inserts {
        return false;
    }
    document.get(path).is_some_and(|present| {
        let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        present == value || tree(value).is_some_and(|value| Some(value) == tree(present))
    })
}

fn selector_matches(document: &Document) -> bool {
    let selector = document.get_set(Pointer::from_static("/spec/selector"));
    let typed =
        selector.and_then(|text| serde_json::from_str(text).ok()).and_then(MatchSelector::from_object);
    let Some(selector) = typed.and_then(|typed| Selector::try_from(typed).ok()) else { return false };
    let labels: BTreeMap<Cow<'_, str>, Cow<'_, str>> = document.strings(TEMPLATE_LABELS).collect();
    !selector.is_empty() && selector.matches(|key| labels.get(key).cloned())
}
