//! The comparison of two evaluations of one review, which must agree by the policy contract.

use std::fmt;

use crate::text;
use crate::verdict::{Change, Denial, DenialCode, Edit, Failure, FailureClass, Note, Verdict, Warning};

/// Limit of one side of a difference, in bytes.
const MAX_SIDE: usize = 240;

/// The result of comparing two answers of a policy to the same review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement {
    /// The answers are equal.
    Same,
    /// The answers differ; the field has the first difference.
    Differ(Difference),
    /// The answers can't be compared: something other than the guest ended one of the evaluations.
    Unknown,
}

/// The first difference between two answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The differing part, such as `change 1`.
    pub what: String,
    /// The differing part of the first answer, as one line.
    pub first: String,
    /// The differing part of the second answer, as one line.
    pub second: String,
}

impl Agreement {
    /// Compares two answers of a policy to the same review.
    #[must_use]
    pub fn of(first: &Result<Verdict, Failure>, second: &Result<Verdict, Failure>) -> Self {
        let ended_from_outside =
            |answer: &Result<Verdict, Failure>| answer.as_ref().is_err_and(ended_from_outside);
        if ended_from_outside(first) || ended_from_outside(second) {
            return Self::Unknown;
        }
        let difference = match (first, second) {
            (Ok(first), Ok(second)) => of_verdicts(first, second),
            // The details of equal failures may contain numbers that vary, so only the classes count.
            (Err(first), Err(second)) if first.class == second.class => None,
            _ => Some(Difference::new("answer", &side(first), &side(second))),
        };
        difference.map_or(Self::Same, Self::Differ)
    }
}

/// Returns whether something other than the guest ended the evaluation, such as a deadline or the host.
#[must_use]
pub fn ended_from_outside(failure: &Failure) -> bool {
    matches!(
        failure.class,
        FailureClass::Deadline | FailureClass::Late | FailureClass::Host | FailureClass::Unready
    )
}

impl Difference {
    fn new(what: &str, first: &str, second: &str) -> Self {
        let line = |side: &str| text::one_line(side, MAX_SIDE);
        Self { what: what.to_owned(), first: line(first), second: line(second) }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, first, second } = self;
        write!(formatter, "{what}: first `{first}`, then `{second}`")
    }
}

fn of_verdicts(first: &Verdict, second: &Verdict) -> Option<Difference> {
    of_lists("denial", &first.denials, &second.denials, |Denial { code, pointer, message, fix }| {
        let code = match code {
            DenialCode::Forbidden => 403,
            DenialCode::Invalid => 422,
        };
        format!("{code} {pointer}: {message}; {fix}")
    })
    .or_else(|| {
        of_lists("change", &first.changes, &second.changes, |Change { edit, reason }| match edit {
            Edit::Add { path, value } => format!("add {path} {value} ({reason})"),
            Edit::Replace { path, value } => format!("replace {path} {value} ({reason})"),
            Edit::Remove { path } => format!("remove {path} ({reason})"),
        })
    })
    .or_else(|| {
        of_lists("warning", &first.warnings, &second.warnings, |Warning { pointer, message }| {
            format!("{pointer}: {message}")
        })
    })
    .or_else(|| {
        of_lists("note", &first.notes, &second.notes, |Note { pointer, message }| {
            format!("{pointer}: {message}")
        })
    })
}

fn of_lists<T: PartialEq>(
    what: &str,
    first: &[T],
    second: &[T],
    say: impl Fn(&T) -> String,
) -> Option<Difference> {
    let at = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at))?;
    let say = |list: &[T]| list.get(at).map_or_else(|| "nothing".to_owned(), &say);
    Some(Difference::new(&format!("{what} {}", at + 1), &say(first), &say(second)))
}

fn side(answer: &Result<Verdict, Failure>) -> String {
    match answer {
        Ok(Verdict { denials, changes, warnings, notes }) => format!(
            "a verdict with {} denials, {} changes, {} warnings, {} notes",
            denials.len(),
            changes.len(),
            warnings.len(),
            notes.len()
        ),
        Err(failure) => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        Verdict {
            denials: Vec::new(),
            changes: vec![
                change("/metadata/labels/a", "\"1\"", "a was missing"),
                change("/metadata/labels/b", "\"1\"", "b was missing"),
            ],
            warnings: vec![Warning { pointer: "/spec".to_owned(), message: "old".to_owned() }],
            notes: vec![Note { pointer: "/spec".to_owned(), message: "old".to_owned() }],
        }
    }

    fn change(path: &str, value: &str, reason: &str) -> Change {
        let edit = Edit::Add { path: path.to_owned(), value: value.to_owned() };
        Change { edit, reason: reason.to_owned() }
    }

    fn failed(class: FailureClass, detail: &str) -> Result<Verdict, Failure> {
        Err(Failure::new(class, detail))
    }

    #[test]
    fn equal_answers_agree() {
        assert_eq!(Agreement::of(&Ok(verdict()), &Ok(verdict())), Agreement::Same);
        let trap = |detail| failed(FailureClass::Trap, detail);
        assert_eq!(Agreement::of(&trap("at 1"), &trap("at 2")), Agreement::Same);
    }

    #[test]
    fn compares_each_part_of_a_verdict() {
        let mut other = [verdict(), verdict(), verdict(), verdict(), verdict(), verdict(), verdict()];
        other[0].changes[1] = change("/metadata/labels/b", "\"2\"", "b was missing");
        other[1].changes[1] = change("/metadata/labels/b", "\"1\"", "because");
        other[2].changes.swap(0, 1);
        other[3].changes.truncate(1);
        other[4].warnings[0].message = "new".to_owned();
        let (code, text) = (DenialCode::Invalid, || "x".to_owned());
        other[5].denials.push(Denial { code, pointer: text(), message: text(), fix: text() });
        other[6].notes.clear();
        let whats = other.map(|other| match Agreement::of(&Ok(verdict()), &Ok(other)) {
            Agreement::Differ(Difference { what, .. }) => what,
            agreement => panic!("{agreement:?}"),
        });
        assert_eq!(
            whats,
            ["change 2", "change 2", "change 1", "change 2", "warning 1", "denial 1", "note 1"]
        );
    }

    #[test]
    fn a_difference_shows_both_sides_on_one_line() {
        let mut other = verdict();
        other.changes[0] = change("/metadata/labels/a", &format!("\"{}\"", "x".repeat(9999)), "\x1b[31m");
        let Agreement::Differ(difference) = Agreement::of(&Ok(verdict()), &Ok(other)) else {
            panic!("they agree")
        };
        let said = difference.to_string();
        assert!(
            said.starts_with("change 1: first `add /metadata/labels/a \"1\" (a was missing)`, then `add ")
        );
        assert!(said.len() < 600 && !said.contains(char::is_control), "{said}");
    }

    #[test]
    fn a_failure_differs_from_a_verdict_and_from_another_class() {
        for (first, second) in [
            (Ok(verdict()), failed(FailureClass::Trap, "unreachable")),
            (failed(FailureClass::Declined, "no"), Ok(verdict())),
            (failed(FailureClass::Trap, ""), failed(FailureClass::Memory, "")),
        ] {
            let agreement = Agreement::of(&first, &second);
            assert!(
                matches!(&agreement, Agreement::Differ(found) if found.what == "answer"),
                "{agreement:?}"
            );
        }
    }

    /// A guest can't read a clock, so a timeout does not show that its answers differ.
    #[test]
    fn does_not_compare_evaluations_that_the_host_ended() {
        for class in [FailureClass::Deadline, FailureClass::Late, FailureClass::Host] {
            assert_eq!(Agreement::of(&Ok(verdict()), &failed(class, "")), Agreement::Unknown);
            assert_eq!(Agreement::of(&failed(class, ""), &Ok(verdict())), Agreement::Unknown);
        }
    }
}
