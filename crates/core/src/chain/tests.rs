//! Tests of every rule of the chain without a sandbox: each test supplies the verdicts.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::decision::Outcome;
use crate::manifest::{Manifest, ManifestParts};
use crate::policy::{API_VERSION, Policy, Resource};
use crate::review::Question;
use crate::verdict::{Change, Denial, DenialCode, Edit, Note, Warning};

/// Returns a policy named `name` whose manifest declares `writes`. `spec` overrides the fields of a minimal spec.
fn plan(name: &str, writes: &[&str], spec: Value) -> Arc<Plan> {
    let mut full = json!({"module": "builtin:x"});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let resource =
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": name}, "spec": full});
    let policy = Policy::try_from(serde_json::from_value::<Resource>(resource).unwrap()).unwrap();
    let manifest = Manifest::try_from(ManifestParts {
        name: name.into(),
        version: "0".into(),
        description: "d".into(),
        writes: writes.iter().map(|write| (*write).to_owned()).collect(),
        settings_schema: "{}".into(),
        ..ManifestParts::default()
    });
    Arc::new(Plan { policy, manifest: Arc::new(manifest.unwrap()), digest: String::new() })
}

fn daemonset() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "n", "namespace": "ns", "labels": {"a": "1"}, "uid": "x"},
        "spec": {
            "selector": {"matchLabels": {"app": "n"}},
            "template": {"metadata": {"labels": {"app": "n"}}, "spec": {"tolerations": [{"operator": "Exists"}]}},
        },
    })
}

fn review(object: &Value, old: Option<&Value>) -> Review {
    let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
    let kind = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    let request =
        json!({"uid": "u", "kind": kind, "operation": operation, "object": object, "oldObject": old});
    let bytes = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string();
    match Question::parse(bytes.as_bytes()).unwrap() {
        Question::Decide(review) => *review,
        Question::PassOver { reason, .. } => panic!("passed over: {reason}"),
    }
}

/// Runs a chain; `guest` returns the verdict of each policy.
fn decide(
    review: &Review,
    plans: &[Arc<Plan>],
    mut guest: impl FnMut(&Turn<'_>) -> Result<Verdict, Failure>,
) -> Decision {
    let mut plans = plans.to_vec();
    Plan::sort(&mut plans);
    let context = Context::default();
    let mut chain = Chain::new(review, &context, &plans, Phase::Mutate);
    while let Some(turn) = chain.turn() {
        let verdict = guest(&turn);
        chain.take(&turn, verdict, Duration::ZERO);
    }
    chain.finish()
}

fn add(path: &str, value: Value) -> Verdict {
    changes([Edit::Add { path: path.into(), value: value.to_string() }])
}

fn changes(edits: impl IntoIterator<Item = Edit>) -> Verdict {
    let change = |edit| Change { edit, reason: "because".into() };
    Verdict { changes: edits.into_iter().map(change).collect(), ..Verdict::default() }
}

fn deny(code: DenialCode) -> Verdict {
    let denial =
        Denial { code, pointer: "/spec".into(), message: "is wrong".into(), fix: "correct it".into() };
    Verdict { denials: vec![denial], ..Verdict::default() }
}

fn class(decision: &Decision) -> Option<FailureClass> {
    match &decision.reports[0].result {
        PolicyResult::Failed(failure) => Some(failure.class),
        _ => None,
    }
}

fn patch(decision: &Decision) -> String {
    crate::patch::to_json(&decision.patch)
}

#[test]
fn policies_see_earlier_changes_and_validators_run_last() {
    let plans = [
        plan("validator", &[], json!({"order": -5})),
        plan("second", &["/metadata/labels"], json!({"order": 2})),
        plan("first", &["/metadata/labels"], json!({"order": 1})),
        plan("also-first", &["/metadata/labels"], json!({"order": 1})),
    ];
    let mut seen = Vec::new();
    let decision = decide(&review(&daemonset(), None), &plans, |turn| {
        let name = turn.plan.policy.name.to_string();
        seen.push((
            name.clone(),
            turn.document.strings(crate::Pointer::from_static("/metadata/labels")).count(),
        ));
        Ok(if turn.plan.manifest.mutates() {
            add(&format!("/metadata/labels/{name}"), json!("x"))
        } else {
            Verdict::default()
        })
    });
    let order = ["also-first", "first", "second", "validator"].map(str::to_owned);
    assert_eq!(seen, order.into_iter().zip(1..).collect::<Vec<_>>());
    assert_eq!(decision.outcome, Outcome::Allowed);
    assert_eq!(decision.audit["changed-by"], "also-first,first,second");
    assert_eq!(decision.patch.len(), 3);
}

#[test]
fn ignores_changes_without_effect() {
    let plans = [plan("p", &["/metadata/labels"], json!({}))];
    let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(add("/metadata/labels/a", json!("1"))));
    assert_eq!((patch(&decision).as_str(), decision.reports[0].verdict()), ("[]", "allow"));
    let answer = String::from_utf8(decision.to_admission_review().unwrap()).unwrap();
    assert!(!answer.contains("patch"), "{answer}");
}

#[test]
fn fails_a_policy_that_changes_undeclared_values_and_drops_its_changes() {
    let plans = [plan("p", &["/metadata/labels", "/spec/template"], json!({}))];
    for path in ["/metadata/annotations/x", "/metadata/labelsx", "/metadata", "", "/spec/minReadySeconds"] {
        let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(add(path, json!({}))));
        assert_eq!(class(&decision), Some(FailureClass::Writes), "{path}");
        assert_eq!(patch(&decision), "[]");
        assert!(matches!(decision.outcome, Outcome::Failed { .. }));
    }
}

/// The API server never sends such an object. If another client does, the denial blames the author and not a policy.
#[test]
fn denies_objects_without_a_part_that_every_daemonset_has() {
    let plans = [plan("p", &["/metadata/labels", "/spec/template"], json!({}))];
    for (part, path) in [
        ("/metadata", "/metadata/labels"),
        ("/spec/template", "/spec/template/spec/tolerations"),
        ("/spec/template/spec", "/spec/template/spec/tolerations"),
    ] {
        for value in [Value::Null, json!("x"), json!([])] {
            let mut object = daemonset();
            *object.pointer_mut(part).unwrap() = value;
            let decision = decide(&review(&object, None), &plans, |_| Ok(add(path, json!({}))));
            let message =
                format!("policy `p` at {part}: expected an object; to fix it: set `{part}` to an object");
            assert_eq!(decision.outcome, Outcome::Denied { code: 422, message });
        }
    }
    // Other parts are optional, so a policy that relies on one fails.
    let decision = decide(&review(&daemonset(), None), &plans, |_| {
        Ok(add("/spec/template/spec/affinity/nodeAffinity", json!({})))
    });
    assert_eq!(class(&decision), Some(FailureClass::Patch));
}

#[test]
fn fails_a_policy_that_changes_a_forbidden_value_through_its_parent() {
    let plans = [plan("p", &[""], json!({}))];
    let replaced = |pointer: &str, value: Value| {
        let mut object = daemonset();
        *object.pointer_mut(pointer).unwrap() = value;
        object
    };
    for object in [
        replaced("/metadata", json!({"name": "n", "namespace": "ns", "labels": {}, "uid": "y"})),
        replaced("/metadata/name", json!("m")),
        replaced("/spec/selector/matchLabels", json!({"app": "n", "b": "c"})),
        replaced("/kind", json!("Deployment")),
        replaced("/spec/template/metadata/labels", json!({"app": "other"})),
    ] {
        let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(add("", object.clone())));
        assert_eq!(class(&decision), Some(FailureClass::Writes), "{object}");
    }
    // A policy may change other values through their parent.
    let object = replaced("/metadata/labels", json!({"a": "2"}));
    let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(add("", object.clone())));
    assert_eq!(patch(&decision), r#"[{"op":"replace","path":"/metadata/labels/a","value":"2"}]"#);
}

#[test]
fn rejects_manifests_that_declare_forbidden_writes() {
    for write in ["/spec/selector", "/spec/selector/matchLabels", "/metadata/finalizers", "/status/x"] {
        let parts = ManifestParts {
            name: "p".into(),
            version: "0".into(),
            description: "d".into(),
            writes: vec![write.into()],
            settings_schema: "{}".into(),
            ..ManifestParts::default()
        };
        let message = Manifest::try_from(parts).unwrap_err().to_string();
        assert_eq!(message, format!("manifest: `writes` has `{write}`, which no policy may change"));
    }
}

#[test]
fn rejects_manifests_with_invalid_names_or_unprintable_text() {
    let parts = |name: &str, description: &str| ManifestParts {
        name: name.into(),
        version: "0".into(),
        description: description.into(),
        settings_schema: "{}".into(),
        ..ManifestParts::default()
    };
    assert!(Manifest::try_from(parts("a-1", "one line")).is_ok());
    for (name, description, message) in [
        ("A b", "d", "manifest: `name` must be lower-case words joined by `-`, found `A b`"),
        ("a", "d\u{1b}[2J", "manifest: `description` must be one printable line"),
        ("a\nb", "d", "manifest: `name` must be one printable line"),
        ("a", "", "manifest: `description` must have 1 to 500 characters, found 0"),
    ] {
        assert_eq!(Manifest::try_from(parts(name, description)).unwrap_err().to_string(), message);
    }
}

#[test]
fn never_changes_the_template_if_the_update_does_not() {
    let mut object = daemonset();
    object["metadata"]["annotations"] = json!({"lock": "held"});
    let review = review(&object, Some(&daemonset()));
    let plans = [plan("p", &["/spec/template", "/metadata/labels"], json!({}))];
    let both = changes([
        Edit::Add { path: "/spec/template/spec/tolerations/-".into(), value: "{}".into() },
        Edit::Add { path: "/metadata/labels/b".into(), value: "\"2\"".into() },
    ]);
    let decision = decide(&review, &plans, |turn| {
        assert_eq!(turn.gate, Gate::Closed);
        Ok(both.clone())
    });
    assert_eq!(patch(&decision), r#"[{"op":"add","path":"/metadata/labels/b","value":"2"}]"#);
    assert_eq!(decision.audit["template-left-alone"], "p");
    // A change of the template through its parent does not bypass the gate, but fails the policy.
    let plans = [plan("p", &["/spec"], json!({}))];
    let spec = json!({"selector": daemonset()["spec"]["selector"], "template": {}});
    let decision = decide(&review, &plans, |_| Ok(add("/spec", spec.clone())));
    assert_eq!(class(&decision), Some(FailureClass::Writes));
    // `template: always` opens the gate.
    let plans = [plan("p", &["/spec/template", "/metadata/labels"], json!({"template": "always"}))];
    assert_eq!(decide(&review, &plans, |_| Ok(both.clone())).patch.len(), 2);
}

#[test]
fn templates_that_differ_only_in_spelling_are_equal() {
    let old = daemonset();
    let text = daemonset().to_string().replace(r#""operator":"Exists""#, r#""operator" : "\u0045xists""#);
    let object: Box<serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
    let kind = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"}).to_string();
    let bytes = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","kind":{kind},"operation":"UPDATE","object":{object},"oldObject":{old}}}}}"#
    );
    let Question::Decide(review) = Question::parse(bytes.as_bytes()).unwrap() else { panic!("not decided") };
    assert_eq!(Reach::of(&review), Reach::NotTemplate);
}

#[test]
fn skips_objects_in_deletion_and_updates_of_finalizers() {
    let with = |pointer: &str, value: Value| {
        let mut object = daemonset();
        object["metadata"][pointer] = value;
        object
    };
    let plans = [plan("p", &["/metadata/labels"], json!({}))];
    let refuse = |_: &Turn<'_>| -> Result<Verdict, Failure> { Ok(deny(DenialCode::Forbidden)) };
    for (object, old) in [
        (
            with("deletionTimestamp", json!("2020-01-01T00:00:00Z")),
            with("deletionTimestamp", json!("2020-01-01T00:00:00Z")),
        ),
        (daemonset(), with("finalizers", json!(["f"]))),
        (with("finalizers", json!(["f"])), daemonset()),
    ] {
        let decision = decide(&review(&object, Some(&old)), &plans, refuse);
        assert_eq!((decision.outcome.label(), decision.reports.len()), ("allowed", 0), "{object}");
    }
    // A `deletionTimestamp` that only the new object has does not skip the review.
    let claimed = with("deletionTimestamp", json!("2020-01-01T00:00:00Z"));
    assert_eq!(decide(&review(&claimed, Some(&daemonset())), &plans, refuse).outcome.label(), "denied");
    // An update of finalizers and another field does not skip it either.
    let mut both = with("finalizers", json!(["f"]));
    both["spec"]["minReadySeconds"] = json!(1);
    assert_eq!(decide(&review(&both, Some(&daemonset())), &plans, refuse).outcome.label(), "denied");
}

#[test]
fn reports_every_denial_with_policy_pointer_and_fix() {
    let plans = [plan("one", &[], json!({})), plan("two", &[], json!({}))];
    let decision = decide(&review(&daemonset(), None), &plans[..1], |_| Ok(deny(DenialCode::Invalid)));
    let message = "policy `one` at /spec: is wrong; to fix it: correct it".to_owned();
    assert_eq!(decision.outcome, Outcome::Denied { code: 422, message: message.clone() });
    let decision = decide(&review(&daemonset(), None), &plans, |turn| {
        Ok(deny(if &*turn.plan.policy.name == "one" { DenialCode::Invalid } else { DenialCode::Forbidden }))
    });
    let message = format!("\n- {message}\n- policy `two` at /spec: is wrong; to fix it: correct it");
    assert_eq!(decision.outcome, Outcome::Denied { code: 403, message });
}

#[test]
fn on_error_applies_unless_another_policy_denies() {
    let failing = || Err(Failure { class: FailureClass::Trap, detail: "unreachable".into() });
    let review = review(&daemonset(), None);
    for (on_error, expected) in [("fail", "failed"), ("deny", "denied"), ("allow", "allowed")] {
        let plans = [plan("p", &[], json!({"onError": on_error}))];
        let decision = decide(&review, &plans, |_| failing());
        assert_eq!(decision.outcome.label(), expected);
        assert_eq!(decision.to_admission_review().is_none(), expected == "failed");
        assert_eq!(decision.warnings.len(), usize::from(on_error == "allow"));
        assert_eq!(decision.audit["failed"], "p");
    }
    let plans = [plan("fails", &[], json!({})), plan("denies", &[], json!({}))];
    let decision = decide(&review, &plans, |turn| match &*turn.plan.policy.name {
        "fails" => failing(),
        _ => Ok(deny(DenialCode::Forbidden)),
    });
    assert_eq!(decision.outcome.label(), "denied");
}

#[test]
fn on_error_counts_for_enforcing_policies_only() {
    let review = review(&daemonset(), None);
    for class in [FailureClass::Deadline, FailureClass::Trap] {
        for (mode, on_error, expected) in [
            ("enforce", "fail", "failed"),
            ("enforce", "deny", "denied"),
            ("enforce", "allow", "allowed"),
            ("warn", "fail", "allowed"),
            ("warn", "deny", "allowed"),
            ("warn", "allow", "allowed"),
            ("observe", "fail", "allowed"),
            ("observe", "deny", "allowed"),
            ("observe", "allow", "allowed"),
        ] {
            let plans = [plan("p", &[], json!({"mode": mode, "onError": on_error}))];
            let decision = decide(&review, &plans, |_| Err(Failure { class, detail: String::new() }));
            assert_eq!(decision.outcome.label(), expected, "{mode} {on_error} {class}");
            assert_eq!(decision.audit["failed"], "p", "{mode} {on_error} {class}");
            assert!(mode != "observe" || decision.warnings.is_empty(), "{mode} {on_error} {class}");
        }
    }
}

#[test]
fn warn_and_observe_neither_change_nor_deny_nor_fail() {
    let review = review(&daemonset(), None);
    let verdicts: [fn() -> Result<Verdict, Failure>; 3] = [
        || Ok(add("/metadata/labels/b", json!("2"))),
        || Ok(deny(DenialCode::Forbidden)),
        || Err(Failure { class: FailureClass::Deadline, detail: String::new() }),
    ];
    for (mode, warnings) in [("warn", [1, 1, 0]), ("observe", [0, 0, 0])] {
        for (verdict, warnings) in verdicts.iter().zip(warnings) {
            let plans = [plan("p", &["/metadata/labels"], json!({"mode": mode}))];
            let decision = decide(&review, &plans, |_| verdict());
            assert_eq!((decision.outcome.label(), patch(&decision).as_str()), ("allowed", "[]"));
            assert_eq!(decision.warnings.len(), warnings, "{mode}: {:?}", decision.warnings);
            assert_eq!(decision.audit.len(), 1);
        }
    }
}

#[test]
fn classifies_invalid_changes_as_output_or_patch_failures() {
    let plans = [plan("p", &["/metadata/labels"], json!({}))];
    let edit = Edit::Add { path: "/metadata/labels/b".into(), value: "1".into() };
    let verdict = changes(vec![edit; MAX_CHANGES + 1]);
    let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(verdict.clone()));
    assert_eq!(class(&decision), Some(FailureClass::Output));
    for (edit, expected) in [
        (Edit::Add { path: "metadata".into(), value: "1".into() }, FailureClass::Output),
        (Edit::Add { path: "/metadata/labels/b".into(), value: "{".into() }, FailureClass::Patch),
        (Edit::Add { path: "/metadata/labels/b/c".into(), value: "1".into() }, FailureClass::Patch),
        (Edit::Remove { path: "/metadata/labels/zzz".into() }, FailureClass::Patch),
    ] {
        let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(changes([edit.clone()])));
        assert_eq!(class(&decision), Some(expected), "{edit:?}");
    }
}

#[test]
fn counts_excess_messages_without_changing_the_outcome() {
    let plans = [plan("p", &[], json!({"onError": "allow"}))];
    let mut denials = vec![deny(DenialCode::Invalid).denials[0].clone(); MAX_MESSAGES + 6];
    denials[MAX_MESSAGES + 2].code = DenialCode::Forbidden;
    let verdict = Verdict { denials, ..Verdict::default() };
    let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(verdict.clone()));
    assert!(matches!(decision.outcome, Outcome::Denied { code: 403, .. }), "{:?}", decision.outcome);
    let warning = Warning { pointer: String::new(), message: "w".into() };
    let verdict = Verdict { warnings: vec![warning; MAX_MESSAGES + 6], ..Verdict::default() };
    let decision = decide(&review(&daemonset(), None), &plans, |_| Ok(verdict.clone()));
    assert_eq!(decision.warnings.last().map(String::as_str), Some("p: 6 further warnings are left out"));
}

#[test]
fn validate_runs_validators_only_and_never_patches() {
    let review = review(&daemonset(), None);
    let plans = [plan("mutates", &["/metadata/labels"], json!({})), plan("validates", &[], json!({}))];
    let context = Context::default();
    let mut chain = Chain::new(&review, &context, &plans, Phase::Validate);
    let turn = chain.turn().unwrap();
    assert_eq!(&*turn.plan.policy.name, "validates");
    chain.take(&turn, Ok(Verdict::default()), Duration::ZERO);
    assert!(chain.turn().is_none());
    let decision = chain.finish();
    assert!(decision.patch.is_empty() && decision.outcome == Outcome::Allowed);
}

#[test]
fn fails_the_policy_if_its_scope_is_unknown() {
    let scope = json!({"match": {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}, "onError": "deny"});
    let plans = [plan("p", &[], scope)];
    let decision = decide(&review(&daemonset(), None), &plans, |_| panic!("must not be evaluated"));
    assert_eq!(class(&decision), Some(FailureClass::Match));
    assert_eq!(decision.outcome.label(), "denied");
}

#[test]
fn notes_reach_the_report_and_the_audit_log_but_no_client() {
    let object = daemonset();
    let note = |message: &str| Note { pointer: "/spec".into(), message: message.into() };
    let many = Verdict { notes: vec![note("left\nalone"); 70], ..Verdict::default() };
    for mode in ["enforce", "warn", "observe"] {
        let plans = [plan("a", &[], json!({"mode": mode})), plan("b", &[], json!({}))];
        let decision = decide(&review(&object, None), &plans, |turn| {
            Ok(if turn.index == 0 { many.clone() } else { Verdict::default() })
        });
        let notes = decision.reports[0].notes();
        assert_eq!((notes.len(), &notes[0]), (MAX_MESSAGES + 1, &note("left alone")));
        assert_eq!(notes[MAX_MESSAGES].message, "6 further notes are left out");
        assert_eq!(decision.warnings, [""; 0], "{mode}");
        assert_eq!(decision.audit, [("noted-by", "a".to_owned())].into(), "{mode}");
    }
}
