//! Decisions without a sandbox, and the rules that every decision obeys.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use wardset_core::chain::{Chain, MAX_CHANGES, Turn};
use wardset_core::decision::{Decision, Outcome, PolicyResult};
use wardset_core::document::Document;
use wardset_core::gate::Reach;
use wardset_core::manifest::{FORBIDDEN, Manifest, ManifestParts};
use wardset_core::plan::{Phase, Plan};
use wardset_core::policy::{API_VERSION, Mode, Policy, Resource, TemplateRule};
use wardset_core::review::{Context, Question, Review};
use wardset_core::verdict::{Change, Edit, Failure, MAX_DETAIL, MAX_TEXT, Verdict};

use crate::at;

/// The uid of [`review`]'s reviews.
pub const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Returns a policy whose module declares `writes`. `spec` overrides the fields of a minimal spec.
///
/// # Panics
///
/// If a target passes an invalid policy.
#[must_use]
pub fn plan(name: &str, writes: &[&str], spec: &Value) -> Arc<Plan> {
    let mut full = json!({"module": "builtin:x"});
    for (field, value) in spec.as_object().into_iter().flatten() {
        full[field] = value.clone();
    }
    let resource =
        json!({"apiVersion": API_VERSION, "kind": "Policy", "metadata": {"name": name}, "spec": full});
    let resource: Resource = serde_json::from_value(resource).expect("a policy of a target's own");
    of_policy(Policy::try_from(resource).expect("a policy of a target's own"), writes)
}

/// Returns `policy` with a module that declares `writes`.
///
/// # Panics
///
/// If a target passes invalid `writes`.
#[must_use]
pub fn of_policy(policy: Policy, writes: &[&str]) -> Arc<Plan> {
    let manifest = Manifest::try_from(ManifestParts {
        name: "stand-in".to_owned(),
        version: "0.1.0".to_owned(),
        description: "a stand-in".to_owned(),
        writes: writes.iter().map(|&write| write.to_owned()).collect(),
        settings_schema: "{}".to_owned(),
        ..ManifestParts::default()
    });
    let manifest = Arc::new(manifest.expect("a manifest of a target's own"));
    Arc::new(Plan { policy, manifest, digest: String::new() })
}

/// Returns the review of an object. With `old`, the stored object, it is an update.
///
/// # Panics
///
/// If a target passes objects that can't be reviewed.
#[must_use]
pub fn review(object: &Value, old: Option<&Value>) -> Review {
    let request = json!({
        "uid": UID, "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"},
        "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
        "userInfo": {"username": "jo", "groups": ["g"]}, "object": object, "oldObject": old,
    });
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    match Question::parse(body.to_string().as_bytes()) {
        Ok(Question::Decide(review)) => *review,
        other => panic!("a target's own review: {other:?}"),
    }
}

/// Returns a DaemonSet that has the values that no policy may change.
#[must_use]
pub fn daemonset() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {
            "name": "agent", "generateName": "ag", "namespace": "agents", "uid": "u", "resourceVersion": "7",
            "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"team": "edge", "a/b": "~"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "k": "v"},
            "ownerReferences": [{"uid": "o"}], "finalizers": ["f"], "managedFields": [{"manager": "m"}],
        },
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent", "x": "y"}},
                "spec": {
                    "containers": [{"name": "c", "image": "i:1"}],
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}],
                    }}},
                },
            },
        },
        "status": {"currentNumberScheduled": 3},
    })
}

/// Decides on a review; `guest` returns the verdict of each policy.
pub fn decide(
    review: &Review,
    plans: &[Arc<Plan>],
    phase: Phase,
    mut guest: impl FnMut(&Turn<'_>) -> Result<Verdict, Failure>,
) -> Decision {
    let mut plans = plans.to_vec();
    Plan::sort(&mut plans);
    let context = Context::default();
    let mut chain = Chain::new(review, &context, &plans, phase);
    while let Some(turn) = chain.turn() {
        let verdict = guest(&turn);
        chain.take(&turn, verdict, Duration::ZERO);
    }
    chain.finish()
}

/// Returns a verdict with one `add`.
#[must_use]
pub fn add(path: &str, value: &Value) -> Verdict {
    let edit = Edit::Add { path: path.to_owned(), value: value.to_string() };
    Verdict { changes: vec![Change { edit, reason: "because".to_owned() }], ..Verdict::default() }
}

/// Checks the rules that hold for every decision.
///
/// # Panics
///
/// If a rule is broken.
pub fn assert_decision(review: &Review, decision: &Decision) {
    let (before, after) = (&review.object, &decision.object);
    assert_eq!(&&Document::parse(after.text()).expect("is a document still"), &&**after);
    for pointer in FORBIDDEN {
        assert_eq!(at(before, pointer.as_str()), at(after, pointer.as_str()), "`{pointer}` was changed");
    }
    let opened = decision.reports.iter().any(|report| report.plan.policy.template == TemplateRule::Always);
    if matches!(decision.reach, Reach::NotTemplate) && !opened {
        assert_eq!(at(before, "/spec/template"), at(after, "/spec/template"), "the template was changed");
    }
    if let Reach::Nothing(_) = decision.reach {
        assert!(decision.reports.is_empty() && before.text() == after.text(), "{decision:?}");
    }
    if decision.reports.iter().all(|report| report.plan.policy.mode != Mode::Enforce) {
        assert_eq!((before.text(), &decision.outcome), (after.text(), &Outcome::Allowed));
    }
    assert_words(decision);
    assert_answer(review, decision);
}

fn assert_words(decision: &Decision) {
    for report in &decision.reports {
        match &report.result {
            PolicyResult::Failed(failure) => assert!(failure.detail.len() <= MAX_DETAIL, "{failure:?}"),
            PolicyResult::Allowed { applied, .. } => {
                assert!(applied.len() <= MAX_CHANGES);
                for one in applied {
                    let path = one.operation.path();
                    assert!(report.plan.manifest.may_write(path), "a change at `{path}`");
                    assert!(one.reason.len() <= MAX_TEXT && !one.reason.contains(char::is_control));
                }
            }
            PolicyResult::Denied { denials, .. } => assert!(!denials.is_empty()),
        }
    }
    for warning in &decision.warnings {
        crate::assert_line(warning, 256);
        assert!(!warning.starts_with("Warning:"), "{warning}");
    }
    assert!(decision.warnings.iter().map(String::len).sum::<usize>() <= 4096);
    for (key, value) in &decision.audit {
        assert!(!value.is_empty() && value.len() <= 256, "{key}: {value}");
    }
    if let Outcome::Denied { message, .. } | Outcome::Failed { message, .. } = &decision.outcome {
        assert!(!message.trim().is_empty() && message.len() <= 8192);
        for line in message.lines().filter(|line| !line.is_empty()) {
            crate::assert_line(line, 2048 + 2);
        }
    }
}

/// Checks that the response is a well-formed AdmissionReview, and that its patch yields the object of the decision.
fn assert_answer(review: &Review, decision: &Decision) {
    let Some(answer) = decision.to_admission_review() else {
        assert!(matches!(decision.outcome, Outcome::Failed { .. }));
        return;
    };
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    let response = &answer["response"];
    assert_eq!(response["uid"], review.uid.as_str());
    assert_eq!(response["allowed"], decision.outcome == Outcome::Allowed);
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some());
    let mut object: Value = serde_json::from_str(review.object.text()).expect("a document is JSON");
    if let Some(patch) = response.get("patch") {
        assert_eq!((&response["patchType"], &response["allowed"]), (&json!("JSONPatch"), &json!(true)));
        let patch = patch.as_str().expect("base64");
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch");
        assert!(!patch.0.is_empty());
        json_patch::patch(&mut object, &patch).expect("a patch that can be applied");
    }
    if decision.outcome == Outcome::Allowed {
        let decided: Value = serde_json::from_str(decision.object.text()).expect("a document is JSON");
        assert_eq!(object, decided, "the patch makes another object");
    }
}
