//! The body of a request. Wardset either rejects it with one line, or decides on it, with policies that change and
//! deny. The response must be JSON, repeat the uid, and change only permitted values.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use wardset_core::answer;
use wardset_core::chain::Turn;
use wardset_core::gate::Gate;
use wardset_core::plan::{Phase, Plan};
use wardset_core::review::{Question, Review};
use wardset_core::text;
use wardset_core::verdict::{Denial, DenialCode, Failure, FailureClass, Verdict, Warning};
use wardset_core::{Pointer, PointerBuf};
use wardset_fuzz::chain::{add, assert_decision, decide, plan};

/// Typical policies, with a stand-in for each module.
static PLANS: LazyLock<[Arc<Plan>; 5]> = LazyLock::new(|| {
    let conditions =
        json!([{"name": "c", "expression": "!has(object.metadata.labels) || object != oldObject"}]);
    [
        plan("labels", &["/metadata/labels"], &json!({})),
        plan("tolerations", &["/spec/template/spec"], &json!({"order": 1, "onError": "allow"})),
        plan(
            "conditional",
            &["/metadata/annotations"],
            &json!({"order": 2, "onError": "deny", "match": {"conditions": conditions}}),
        ),
        plan(
            "selective",
            &["/metadata/labels"],
            &json!({"mode": "warn", "match": {"objectSelector": {"matchLabels": {"team": "edge"}}}}),
        ),
        plan("safety", &[], &json!({})),
    ]
});

fuzz_target!(|bytes: &[u8]| {
    match Question::parse(bytes) {
        Err(error) => wardset_fuzz::assert_line(&text::with_causes(&error, 512), 512),
        Ok(Question::PassOver { uid, reason }) => {
            let answer: Value = serde_json::from_slice(&answer::passed_over(&uid)).expect("JSON");
            assert_eq!(answer["response"], json!({"uid": uid, "allowed": true}));
            assert!(!reason.to_string().is_empty());
        }
        Ok(Question::Decide(review)) => {
            for phase in [Phase::Mutate, Phase::Validate] {
                let decision = decide(&review, &*PLANS, phase, verdict);
                assert_decision(&review, &decision);
                assert!(phase == Phase::Mutate || decision.patch.is_empty(), "a patch of `/validate`");
            }
            // A review of the patched object must not add anything.
            again(&review);
        }
    }
});

fn again(review: &Review) {
    let decision = decide(review, &*PLANS, Phase::Mutate, verdict);
    if !decision.patch.is_empty() {
        let mut changed = review.clone();
        changed.object = Arc::clone(&decision.object);
        let again = decide(&changed, &PLANS[..2], Phase::Mutate, verdict);
        assert!(again.patch.is_empty(), "{:?} after {:?}", again.patch, decision.patch);
    }
}

/// Returns the verdict of a typical module, which adds missing values if the object has the right shape.
fn verdict(turn: &Turn<'_>) -> Result<Verdict, Failure> {
    let document = &turn.document;
    let has = |pointer: &str| document.get_set(Pointer::parse(pointer).expect("a pointer")).is_some();
    let member = |parent: &str, key: &str, value: Value| {
        let path = PointerBuf::parse(parent.to_owned()).expect("a pointer").with_trailing_token(key);
        match (has(path.as_str()), has(parent)) {
            (true, _) => Verdict::default(),
            (false, true) => add(path.as_str(), &value),
            (false, false) => add(parent, &json!({ key: value })),
        }
    };
    Ok(match &*turn.plan.policy.name {
        "labels" | "selective" => member("/metadata/labels", "wardset.dev/team", json!("x")),
        "tolerations" if turn.gate == Gate::Open => {
            member("/spec/template/spec", "tolerations", json!([{"operator": "Exists"}]))
        }
        "conditional" => member("/metadata/annotations", "note", json!("n")),
        "safety" if !has("/spec/selector") => {
            let denial = Denial {
                code: DenialCode::Invalid,
                pointer: "/spec/selector".to_owned(),
                message: "the selector is empty".to_owned(),
                fix: "write one".to_owned(),
            };
            Verdict { denials: vec![denial], ..Verdict::default() }
        }
        "safety" if has("/spec/unknown") => return Err(Failure::new(FailureClass::Trap, "unreachable")),
        _ => {
            let name = document.string(Pointer::from_static("/metadata/name")).unwrap_or_default();
            let warning = Warning { pointer: "/metadata/name".to_owned(), message: name.into_owned() };
            Verdict { warnings: vec![warning], ..Verdict::default() }
        }
    })
}
