//! Finds cases that cannot fail: if a case also passes with another expectation, it tests nothing.

use serde_json::{Value, json};
use wardset_cases::{CaseOutcome, Expect, ExpectedDecision};

/// Returns the changes of the expectation with which the case still passes.
pub(super) fn check<'e>(expect: &'e Expect, outcome: &'e CaseOutcome) -> impl Iterator<Item = String> + 'e {
    variants(expect).into_iter().filter_map(|(change, expect)| {
        expect.check(outcome.clone()).is_ok().then(|| format!("the case also passes {change}"))
    })
}

/// Returns expectations that differ from the given one in one point, each with a description.
fn variants(expect: &Expect) -> Vec<(String, Expect)> {
    let mut variants = Vec::new();
    let mut add = |change: String, alter: &dyn Fn(&mut Expect)| {
        let mut altered = expect.clone();
        alter(&mut altered);
        variants.push((change, altered));
    };
    match (&expect.settings_error, &expect.error) {
        (Some(text), _) => {
            add("if another `settingsError` is expected".to_owned(), &|e| {
                e.settings_error = Some(other(text))
            });
            add("without `settingsError`".to_owned(), &|e| e.settings_error = None);
        }
        (None, Some(text)) => {
            add("if another `error` is expected".to_owned(), &|e| e.error = Some(other(text)));
            add("without `error`".to_owned(), &|e| e.error = None);
        }
        (None, None) => {
            let denied = expect.decision == Some(ExpectedDecision::Denied) || !expect.denials.is_empty();
            let (word, decision) = if denied {
                ("allowed", ExpectedDecision::Allowed)
            } else {
                ("denied", ExpectedDecision::Denied)
            };
            add(format!("if the object is expected to be {word}"), &|e| e.decision = Some(decision));
        }
    }
    for at in 0..expect.denials.len() {
        // Without any denial, `decision: denied` fits every one.
        if expect.denials.len() > 1 || expect.decision.is_none() {
            add(format!("without denial {}", at + 1), &|e| drop(e.denials.remove(at)));
        }
        add(format!("with another pointer in denial {}", at + 1), &|e| e.denials[at].pointer.push_str("/x"));
    }
    for at in 0..expect.changes.len() {
        // Without any change, the golden object alone is compared.
        if expect.changes.len() > 1 || expect.object.is_none() {
            add(format!("without change {}", at + 1), &|e| drop(e.changes.remove(at)));
        }
        add(format!("with another value in change {}", at + 1), &|e| {
            e.changes[at] = json!({"op": "test", "path": "", "value": Value::Null});
        });
    }
    for at in 0..expect.warnings.len() {
        add(format!("without warning {}", at + 1), &|e| drop(e.warnings.remove(at)));
        add(format!("with another pointer in warning {}", at + 1), &|e| {
            e.warnings[at].pointer.push_str("/x")
        });
    }
    for at in 0..expect.notes.len() {
        add(format!("without note {}", at + 1), &|e| drop(e.notes.remove(at)));
        add(format!("with another pointer in note {}", at + 1), &|e| e.notes[at].pointer.push_str("/x"));
    }
    variants
}

/// Returns a text that an error with `text` does not contain. A very short text is contained in almost every error, so it
/// stays.
fn other(text: &str) -> String {
    let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
    if letters < MIN_LETTERS { text.to_owned() } else { format!("{text} and this") }
}

/// Letters and digits that an expected error must have at least.
const MIN_LETTERS: usize = 3;

#[cfg(test)]
mod tests {
    use wardset_cases::{CaseAnswer, CaseDenial};

    use super::*;

    fn vacuous(expect: Value, outcome: &CaseOutcome) -> Vec<String> {
        let expect: Expect = serde_json::from_value(expect).unwrap();
        assert!(expect.check(outcome.clone()).is_ok(), "the case must pass first");
        check(&expect, outcome).collect()
    }

    fn denied() -> CaseOutcome {
        let denial =
            CaseDenial { code: "invalid", pointer: "/spec".into(), message: "m".into(), fix: "f".into() };
        CaseOutcome::Answer(CaseAnswer { denials: vec![denial], ..CaseAnswer::default() })
    }

    #[test]
    fn complete_expectations_can_fail() {
        let nothing = CaseOutcome::Answer(CaseAnswer::default());
        assert_eq!(vacuous(json!({}), &nothing), [""; 0]);
        assert_eq!(
            vacuous(json!({"denials": [{"code": "invalid", "pointer": "/spec"}]}), &denied()),
            [""; 0]
        );
        assert_eq!(vacuous(json!({"error": "deadline"}), &CaseOutcome::Error("deadline: x".into())), [""; 0]);
    }

    #[test]
    fn an_empty_error_passes_with_every_error() {
        let found = vacuous(json!({"error": ""}), &CaseOutcome::Error("trap".into()));
        assert_eq!(found, ["the case also passes if another `error` is expected"]);
        let found = vacuous(json!({"settingsError": "a"}), &CaseOutcome::SettingsError("a b".into()));
        assert_eq!(found, ["the case also passes if another `settingsError` is expected"]);
    }
}
