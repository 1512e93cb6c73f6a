//! Warnings, denials and audit annotations within the API server's size limits.
//!
//! Their text contains no character that could break a header or a line.

use std::collections::BTreeMap;

use super::{Applied, AuthorWarning, PolicyReport, PolicyResult};
use crate::policy::{Mode, OnError};
use crate::text::{self, cut};
use crate::verdict::Denial;

/// Limit of one warning, in bytes (webhook contract, point 6).
pub(super) const WARNING: usize = 256;
/// Limit of all warnings together, in bytes: the API server's own limit.
pub(super) const WARNINGS: usize = 4096;
/// Limit of one line of a denial, in bytes. The API server has no such limit, but nobody reads longer lines.
const LINE: usize = 2048;
/// Limit of the whole message of a denial, in bytes.
const MESSAGE: usize = 8192;
/// Limit of one audit annotation, in bytes.
const ANNOTATION: usize = 256;

/// Returns the warnings of all policies in order, each with the policy's name, up to the limits.
pub(super) fn warnings(reports: &[PolicyReport]) -> Vec<String> {
    let mut all = Merged::default();
    for report in reports {
        for AuthorWarning { pointer, message } in report.author_warnings() {
            all.add(&report.plan.policy.name, message, pointer);
        }
    }
    fit(all.0.into_iter().map(|warning| warning.line()).collect())
}

/// Returns the warnings of one policy, as [`PolicyReport::author_warnings`] does.
pub(super) fn of_policy(report: &PolicyReport) -> Vec<AuthorWarning<'_>> {
    let mode = report.plan.policy.mode;
    if mode == Mode::Observe {
        return Vec::new();
    }
    let own = report.warnings().iter();
    let mut all: Vec<_> = own
        .map(|warning| AuthorWarning { pointer: &warning.pointer, message: warning.message.clone() })
        .collect();
    match &report.result {
        PolicyResult::Denied { denials, .. } if mode == Mode::Warn => {
            all.extend(denials.iter().map(|denial| {
                let fix = if denial.fix.is_empty() { "" } else { &format!("; to fix it: {}", denial.fix) };
                let message = format!("would deny: {}{fix}", denial.message);
                AuthorWarning { pointer: &denial.pointer, message }
            }));
        }
        PolicyResult::Allowed { applied, .. } if mode == Mode::Warn => {
            all.extend(applied.iter().map(|Applied { operation, reason }| {
                let message = format!("would {}: {reason}", operation.name());
                AuthorWarning { pointer: operation.path().as_str(), message }
            }));
        }
        PolicyResult::Failed(_) if mode == Mode::Enforce && report.plan.policy.on_error == OnError::Allow => {
            let message = "could not decide, and lets the object through".to_owned();
            all.push(AuthorWarning { pointer: "", message });
        }
        _ => {}
    }
    all
}

/// Returns a warning for each denial of an enforced policy that a rollback overrides.
pub(super) fn of_rollback(reports: &[PolicyReport], revision: i64) -> Vec<String> {
    let enforced = reports.iter().filter(|report| report.plan.policy.mode == Mode::Enforce);
    let lines = enforced.filter_map(|report| match &report.result {
        PolicyResult::Denied { denials, .. } => Some((&report.plan.policy.name, denials)),
        _ => None,
    });
    lines
        .flat_map(|(policy, denials)| {
            denials.iter().map(move |denial| {
                let message = format!("allowed as a rollback to revision {revision}: {}", denial.message);
                at(policy, &message, &denial.pointer)
            })
        })
        .collect()
}

/// Warnings without duplicates.
#[derive(Default)]
struct Merged<'r>(Vec<Mergeable<'r>>);

/// A warning, with the pointers to which it applies.
struct Mergeable<'r> {
    policy: &'r str,
    message: String,
    /// The first pointer.
    pointer: &'r str,
    /// The number of further pointers.
    more: usize,
}

impl<'r> Merged<'r> {
    fn add(&mut self, policy: &'r str, message: String, pointer: &'r str) {
        let same = |other: &&mut Mergeable<'r>| other.policy == policy && other.message == message;
        match self.0.iter_mut().find(same) {
            Some(other) if other.pointer == pointer => {}
            Some(other) => other.more += 1,
            None => self.0.push(Mergeable { policy, message, pointer, more: 0 }),
        }
    }
}

impl Mergeable<'_> {
    fn line(&self) -> String {
        let place = match self.more {
            0 => self.pointer.to_owned(),
            1 => format!("{} and 1 more place", self.pointer),
            more => format!("{} and {more} more places", self.pointer),
        };
        at(self.policy, &self.message, &place)
    }
}

/// Returns the audit annotations: one for each kind of result, with the names of the policies.
///
/// If the review is not allowed, nothing is stored, so no policy is named as having changed it.
pub(super) fn audit(reports: &[PolicyReport], allowed: bool) -> BTreeMap<&'static str, String> {
    let mut audit: BTreeMap<&'static str, String> = BTreeMap::new();
    for report in reports {
        let enforced = report.plan.policy.mode == Mode::Enforce;
        let key = match (&report.result, enforced) {
            (PolicyResult::Allowed { applied, .. }, true) if !applied.is_empty() && allowed => "changed-by",
            (PolicyResult::Allowed { applied, .. }, false) if !applied.is_empty() => "would-change",
            (PolicyResult::Denied { .. }, true) => "denied-by",
            (PolicyResult::Denied { .. }, false) => "would-deny",
            (PolicyResult::Failed(_), _) => "failed",
            (PolicyResult::Allowed { .. }, _) => "",
        };
        let held_back = matches!(report.result, PolicyResult::Allowed { held_back: 1.., .. });
        let noted = !report.notes().is_empty();
        let more = [(held_back, "template-left-alone"), (noted, "noted-by")];
        for key in [key].into_iter().chain(more.into_iter().filter_map(|(is, key)| is.then_some(key))) {
            if !key.is_empty() {
                let names = audit.entry(key).or_default();
                if !names.is_empty() {
                    names.push(',');
                }
                names.push_str(&report.plan.policy.name);
            }
        }
    }
    for names in audit.values_mut() {
        *names = cut(std::mem::take(names), ANNOTATION);
    }
    audit
}

/// Formats one denial as one line.
pub(super) fn denial(policy: &str, denial: &Denial) -> String {
    let pointer = if denial.pointer.is_empty() { "" } else { &format!(" at {}", denial.pointer) };
    let fix = if denial.fix.is_empty() { "" } else { &format!("; to fix it: {}", denial.fix) };
    line(&format!("policy `{policy}`{pointer}: {}{fix}", denial.message))
}

/// Joins lines into one message: a list, unless there is only one.
pub(super) fn message(lines: &[String]) -> String {
    match lines {
        [only] => only.clone(),
        lines => cut(lines.iter().map(|line| format!("\n- {line}")).collect(), MESSAGE),
    }
}

/// Shortens `text` to one line of a denial.
pub(super) fn line(text: &str) -> String {
    text::one_line(text, LINE)
}

fn at(policy: &str, message: &str, pointer: &str) -> String {
    // Clients such as kubectl add the prefix `Warning:` themselves.
    let message = message.trim_start();
    let message = message.strip_prefix("Warning:").map_or(message, str::trim_start);
    if pointer.is_empty() {
        format!("{policy}: {message}")
    } else {
        format!("{policy}: {message} ({pointer})")
    }
}

/// Shortens each warning to one line, and leaves out those that do not fit into the limit of all together.
pub(super) fn fit(all: Vec<String>) -> Vec<String> {
    const ROOM_FOR_COUNT: usize = 80;
    let all: Vec<String> = all.into_iter().map(|text| text::one_line(&text, WARNING)).collect();
    let mut room = WARNINGS;
    let mut fitting: Vec<String> = Vec::with_capacity(all.len());
    let total = all.len();
    for (n, text) in all.into_iter().enumerate() {
        let last = n + 1 == total;
        if text.len() + if last { 0 } else { ROOM_FOR_COUNT } > room {
            fitting.push(format!("wardset: {} further warnings are left out", total - n));
            break;
        }
        room -= text.len();
        fitting.push(text);
    }
    fitting
}

#[cfg(test)]
mod tests;
