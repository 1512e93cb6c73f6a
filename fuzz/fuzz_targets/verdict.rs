//! The verdict of a hostile guest, one part per line. Sizes must stay within limits, and only declared values may
//! change. Forbidden values must never change, and the next policy must still decide.
//!
//! The first line has words: `create`, `update`, `metadata` (an update that does not change the template), `deleted`;
//! `warn`, `observe`; `deny`, `allow` (on errors); `always` (the template); `narrow`. The others are edits, `=` and
//! so on, with a reason after ` #`. Further forms are `!403 POINTER|MESSAGE|FIX`, `!422 …`, `?POINTER|MESSAGE`, and
//! `*N` for N more of the previous line.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Value, json};
use wardset_core::chain::MAX_CHANGES;
use wardset_core::decision::{Outcome, PolicyResult};
use wardset_core::plan::Phase;
use wardset_core::review::Review;
use wardset_core::verdict::{Change, Denial, DenialCode, FailureClass, Verdict, Warning};
use wardset_fuzz::at;
use wardset_fuzz::chain::{add, assert_decision, daemonset, decide, plan, review};

static REVIEWS: LazyLock<[Review; 4]> = LazyLock::new(|| {
    let (new, mut template, mut metadata, mut deleted) = (daemonset(), daemonset(), daemonset(), daemonset());
    template["spec"]["template"]["spec"]["containers"][0]["image"] = json!("i:0");
    metadata["metadata"]["annotations"]["k"] = json!("another");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let update = |old: &Value| review(&new, Some(old));
    [review(&new, None), update(&template), update(&metadata), update(&deleted)]
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let (head, lines) = text.split_once('\n').unwrap_or((text, ""));
    let has = |word: &str| head.split(' ').any(|found| found == word);
    let first = |words: &[&'static str], other| words.iter().copied().find(|word| has(word)).unwrap_or(other);
    let review = match first(&["update", "metadata", "deleted"], "create") {
        "create" => &REVIEWS[0],
        "update" => &REVIEWS[1],
        "metadata" => &REVIEWS[2],
        _ => &REVIEWS[3],
    };
    let writes: &[&str] = if has("narrow") {
        &["/metadata/labels", "/spec/template/spec/tolerations"]
    } else {
        &["", "/metadata"]
    };
    let spec = json!({
        "mode": first(&["warn", "observe"], "enforce"), "onError": first(&["deny", "allow"], "fail"),
        "template": if has("always") { "always" } else { "onChange" },
    });
    let stranger = plan("stranger", writes, &spec);
    let decent = plan("decent", &["/metadata/labels"], &json!({"order": 1, "onError": "allow"}));
    let said = verdict(lines);
    let plans = [stranger, decent];
    // The object after the stranger's changes.
    let mut left = None;
    let decision = decide(review, &plans, Phase::Mutate, |turn| {
        Ok(if &*turn.plan.policy.name == "stranger" {
            said.clone()
        } else {
            left = Some(Arc::clone(&turn.document));
            add("/metadata/labels/decent", &json!("yes"))
        })
    });
    assert_decision(review, &decision);
    let Some(report) = decision.reports.first() else { return Corpus::Keep };
    let left = left.expect("the next policy runs after any verdict");
    if said.changes.len() > MAX_CHANGES {
        assert!(
            matches!(&report.result, PolicyResult::Failed(failure) if failure.class == FailureClass::Output)
        );
    } else {
        assert_eq!(matches!(report.result, PolicyResult::Denied { .. }), !said.denials.is_empty());
    }
    let enforced = spec["mode"] == "enforce";
    match &report.result {
        PolicyResult::Denied { .. } if enforced => {
            let code = if said.denials.iter().any(|denial| denial.code == DenialCode::Forbidden) {
                403
            } else {
                422
            };
            assert!(matches!(&decision.outcome, Outcome::Denied { code: found, .. } if *found == code));
        }
        PolicyResult::Failed(_) if enforced => match &decision.outcome {
            Outcome::Failed { .. } => assert_eq!(spec["onError"], "fail"),
            Outcome::Denied { code, .. } => assert_eq!((*code, &spec["onError"]), (403, &json!("deny"))),
            Outcome::Allowed => assert_eq!(spec["onError"], "allow"),
        },
        _ => assert_eq!(decision.outcome, Outcome::Allowed),
    }
    // The stranger may remove the labels, so that the next policy fails to add one. It can't do more to that policy.
    let labels = at(&left, "/metadata/labels");
    let there = labels.as_ref().is_some_and(Value::is_object);
    let decent = &decision.reports[1];
    assert_eq!(matches!(decent.result, PolicyResult::Allowed { .. }), there, "{:?}", decent.result);
    if there {
        assert_eq!(at(&decision.object, "/metadata/labels/decent"), Some(json!("yes")));
    }
    // If the verdict failed, denied or was not enforced, the object stays unchanged.
    if !matches!(report.result, PolicyResult::Allowed { .. }) || !enforced {
        assert_eq!(left.text(), review.object.text());
    }
    Corpus::Keep
});

fn verdict(lines: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let mut last = "";
    for line in lines.split('\n') {
        let times = line.strip_prefix('*').and_then(|times| times.parse::<usize>().ok());
        if times.is_none() {
            last = line;
        }
        for _ in 0..times.map_or(1, |times| times.min(MAX_CHANGES + 1)) {
            say(&mut verdict, last);
        }
        if verdict.changes.len() > 2 * MAX_CHANGES {
            break;
        }
    }
    verdict
}

fn say(verdict: &mut Verdict, line: &str) {
    let mut parts = line.splitn(3, '|').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let mut denial =
        |code| Denial { code, pointer: part()[4..].trim().to_owned(), message: part(), fix: part() };
    if line.starts_with("!403") {
        verdict.denials.push(denial(DenialCode::Forbidden));
    } else if line.starts_with("!422") {
        verdict.denials.push(denial(DenialCode::Invalid));
    } else if line.starts_with('?') {
        verdict.warnings.push(Warning { pointer: part()[1..].to_owned(), message: part() });
    } else {
        let (edit, reason) = line.rsplit_once(" #").unwrap_or((line, "because"));
        let reason = reason.to_owned();
        verdict.changes.extend(wardset_fuzz::edit(edit).map(|edit| Change { edit, reason }));
    }
}
