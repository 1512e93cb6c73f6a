//! The outcome that a case expects, and the difference from the outcome of the policy.

use std::fmt;

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// The outcome that a case expects: an answer, or one of the errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// The decision. Default: denied if `denials` has any, else allowed.
    pub decision: Option<ExpectedDecision>,
    /// All denials, in order. If `decision` is `denied` and there are none, any denials fit.
    #[serde(default)]
    pub denials: Vec<ExpectedDenial>,
    /// All JSON Patch operations, in order. If `object` is set and there are none, any changes fit.
    #[serde(default)]
    pub changes: Vec<Value>,
    /// The file with the DaemonSet as it is to be stored, relative to the case file.
    pub object: Option<PathBuf>,
    /// The names of the policies that do not apply. Needed only if none of the policies applies.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// All warnings, in order.
    #[serde(default)]
    pub warnings: Vec<ExpectedRemark>,
    /// All notes, in order.
    #[serde(default)]
    pub notes: Vec<ExpectedRemark>,
    /// A part of the error if the policy fails to decide.
    pub error: Option<String>,
    /// A part of the error if the policy refuses the settings.
    pub settings_error: Option<String>,
}

/// The decision that a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedDecision {
    /// The object may be stored.
    Allowed,
    /// The object is refused.
    Denied,
}

/// A denial that is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedDenial {
    /// `forbidden` or `invalid`.
    pub code: String,
    /// The denial's pointer.
    pub pointer: String,
    /// A part of the message or of the fix.
    #[serde(default)]
    pub contains: String,
}

/// An expected warning or note.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRemark {
    /// The pointer of the warning or note.
    pub pointer: String,
    /// A part of the message.
    #[serde(default)]
    pub contains: String,
}

/// The outcome of a policy.
#[derive(Clone, Debug)]
pub enum CaseOutcome {
    /// It refused the settings, with this message.
    SettingsError(String),
    /// It failed to decide, with this message.
    Error(String),
    /// It decided.
    Answer(CaseAnswer),
}

/// The answer of a policy.
#[derive(Clone, Debug, Default)]
pub struct CaseAnswer {
    /// The denials.
    pub denials: Vec<CaseDenial>,
    /// The JSON Patch operations.
    pub changes: Vec<Value>,
    /// The warnings.
    pub warnings: Vec<Remark>,
    /// The notes.
    pub notes: Vec<Remark>,
}

/// A denial.
#[derive(Clone, Debug)]
pub struct CaseDenial {
    /// `forbidden` or `invalid`.
    pub code: &'static str,
    /// The wrong value.
    pub pointer: String,
    /// The problem.
    pub message: String,
    /// The text to write or the step to take.
    pub fix: String,
}

/// A warning or note.
#[derive(Clone, Debug)]
pub struct Remark {
    /// The value that it is about.
    pub pointer: String,
    /// The text.
    pub message: String,
}

/// An outcome that the case does not expect.
#[derive(Clone, Debug)]
pub struct CaseDifference {
    expected: Box<Expect>,
    found: Box<CaseOutcome>,
}

impl Expect {
    /// Compares the outcome with the expected one.
    ///
    /// # Errors
    ///
    /// The difference.
    pub fn check(&self, found: CaseOutcome) -> Result<(), CaseDifference> {
        let fits = match (&found, &self.settings_error, &self.error) {
            (CaseOutcome::SettingsError(message), Some(part), _)
            | (CaseOutcome::Error(message), None, Some(part)) => message.contains(part),
            (CaseOutcome::Answer(answer), None, None) => self.fits(answer),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(CaseDifference { expected: Box::new(self.clone()), found: Box::new(found) })
    }

    /// Checks that no part excludes another.
    pub(crate) fn consistency(&self) -> Result<(), String> {
        let denied = self.decision == Some(ExpectedDecision::Denied) || !self.denials.is_empty();
        let parts = [
            ("expect.error", self.error.is_some()),
            ("expect.settingsError", self.settings_error.is_some()),
            ("expect.decision", self.decision.is_some()),
            ("expect.denials", !self.denials.is_empty()),
            ("expect.changes", !self.changes.is_empty()),
            ("expect.object", self.object.is_some()),
            ("expect.warnings", !self.warnings.is_empty()),
            ("expect.notes", !self.notes.is_empty()),
        ];
        let set = |excluded: &[&str]| {
            parts.iter().find(|(part, is_set)| *is_set && excluded.contains(part)).map(|(part, _)| *part)
        };
        let rest = [
            "expect.decision",
            "expect.denials",
            "expect.changes",
            "expect.object",
            "expect.warnings",
            "expect.notes",
        ];
        let pair = if self.settings_error.is_some() {
            set(&[&["expect.error"], &rest[..]].concat()).map(|part| ("expect.settingsError", part))
        } else if self.error.is_some() {
            set(&rest).map(|part| ("expect.error", part))
        } else if self.decision == Some(ExpectedDecision::Allowed) {
            set(&["expect.denials"]).map(|part| ("expect.decision: allowed", part))
        } else if denied {
            set(&["expect.changes", "expect.object"]).map(|part| (part, "expect.denials"))
        } else {
            None
        };
        match pair {
            Some((one, other)) => Err(format!("`{one}` and `{other}` exclude each other; hint: remove one")),
            None => Ok(()),
        }
    }

    fn fits(&self, found: &CaseAnswer) -> bool {
        let denied = self.decision == Some(ExpectedDecision::Denied);
        let any_denial = denied && self.denials.is_empty() && !found.denials.is_empty();
        let any_change = self.object.is_some() && self.changes.is_empty();
        self.decision.is_none_or(|_| denied != found.denials.is_empty())
            && (any_change || self.changes == found.changes)
            && (any_denial || all(&self.denials, &found.denials, ExpectedDenial::fits))
            && all(&self.warnings, &found.warnings, ExpectedRemark::fits)
            && all(&self.notes, &found.notes, ExpectedRemark::fits)
    }
}

impl ExpectedDenial {
    /// Returns whether a denial is the expected one. It must have a fix, even if the case expects no text of it.
    #[must_use]
    pub fn fits(&self, found: &CaseDenial) -> bool {
        self.code == found.code
            && self.pointer == found.pointer
            && (found.message.contains(&self.contains) || found.fix.contains(&self.contains))
            && !found.fix.is_empty()
    }
}

impl ExpectedRemark {
    /// Returns whether a warning or note is the expected one.
    #[must_use]
    pub fn fits(&self, found: &Remark) -> bool {
        self.pointer == found.pointer && found.message.contains(&self.contains)
    }
}

fn all<E, F>(expected: &[E], found: &[F], fits: impl Fn(&E, &F) -> bool) -> bool {
    expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| fits(expected, found))
}

impl fmt::Display for CaseDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {:#?}\nfound ", self.expected)?;
        match &*self.found {
            CaseOutcome::Answer(answer) => {
                let CaseAnswer { denials, changes, warnings, notes } = answer;
                write!(f, "changes {}\n{:#?}", Value::Array(changes.clone()), (denials, warnings, notes))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expect(value: Value) -> Expect {
        serde_json::from_value(value).expect("an expectation")
    }

    fn denied(fix: &str) -> CaseOutcome {
        let (pointer, message) = ("/metadata".to_owned(), "no team".to_owned());
        let denial = CaseDenial { code: "forbidden", pointer, message, fix: fix.to_owned() };
        CaseOutcome::Answer(CaseAnswer { denials: vec![denial], ..CaseAnswer::default() })
    }

    #[test]
    fn a_denial_fits_by_code_pointer_and_a_part_of_message_or_fix() {
        let fits = |code: &str, pointer: &str, contains: &str| {
            let denials = json!([{"code": code, "pointer": pointer, "contains": contains}]);
            expect(json!({"denials": denials})).check(denied("add a team")).is_ok()
        };
        assert!(fits("forbidden", "/metadata", ""));
        assert!(fits("forbidden", "/metadata", "no team"));
        assert!(fits("forbidden", "/metadata", "add"));
        assert!(!fits("forbidden", "/metadata", "team add"));
        assert!(!fits("invalid", "/metadata", ""));
        assert!(!fits("forbidden", "/spec", ""));
    }

    #[test]
    fn a_denial_without_a_fix_never_fits() {
        let expected = expect(json!({"denials": [{"code": "forbidden", "pointer": "/metadata"}]}));
        assert!(expected.check(denied("")).is_err());
    }

    #[test]
    fn each_list_must_be_complete() {
        let remark = || vec![Remark { pointer: "/a".to_owned(), message: "text".to_owned() }];
        let change = json!({"op": "add", "path": "/a", "value": 1});
        for (field, expected, answer) in [
            ("denials", json!({"code": "forbidden", "pointer": "/metadata"}), None),
            ("changes", change.clone(), Some(CaseAnswer { changes: vec![change], ..CaseAnswer::default() })),
            (
                "warnings",
                json!({"pointer": "/a"}),
                Some(CaseAnswer { warnings: remark(), ..CaseAnswer::default() }),
            ),
            (
                "notes",
                json!({"pointer": "/a"}),
                Some(CaseAnswer { notes: remark(), ..CaseAnswer::default() }),
            ),
        ] {
            let found = answer.map_or_else(|| denied("add one"), CaseOutcome::Answer);
            let nothing = CaseOutcome::Answer(CaseAnswer::default());
            assert!(expect(json!({field: [expected]})).check(found.clone()).is_ok(), "{field}");
            assert!(expect(json!({field: [expected, expected]})).check(found.clone()).is_err(), "{field}");
            assert!(expect(json!({field: [expected]})).check(nothing).is_err(), "{field}");
            assert!(expect(json!({})).check(found).is_err(), "{field}");
        }
    }

    #[test]
    fn an_error_fits_only_the_expectation_of_that_error() {
        let outcomes = [CaseOutcome::SettingsError("a b".to_owned()), CaseOutcome::Error("a b".to_owned())];
        let fits =
            |value: Value| outcomes.clone().map(|outcome| expect(value.clone()).check(outcome).is_ok());
        assert_eq!(fits(json!({"settingsError": "a"})), [true, false]);
        assert_eq!(fits(json!({"error": "b"})), [false, true]);
        assert_eq!(fits(json!({"error": "c"})), [false, false]);
        assert_eq!(fits(json!({})), [false, false]);
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let error = expect(json!({"error": "late"})).check(denied("add a team")).unwrap_err().to_string();
        assert!(error.contains("late") && error.contains("add a team"), "{error}");
    }
}
