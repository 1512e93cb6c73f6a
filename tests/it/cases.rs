//! Runs the cases of the built-in policies with the committed modules in the real sandbox.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wardset_cases::{Case, CaseAnswer, CaseDenial, CaseGate, CaseOutcome, Remark};
use wardset_core::decision::{Applied, PolicyResult};
use wardset_core::patch;
use wardset_core::verdict::{self, DenialCode};

use crate::support;

#[tokio::test]
async fn built_modules_pass_the_cases_of_their_sources() {
    let mut run = 0;
    for module in wardset::supply::builtin::MODULES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(module.name).join("cases");
        for file in wardset_cases::read(&folder, wardset::yaml::documents).unwrap() {
            for case in &file.cases {
                let found = outcome(module.name, case).await;
                let place = file.path.display();
                case.expect.check(found).unwrap_or_else(|found| panic!("{place} ({}): {found}", case.name));
                run += 1;
            }
        }
    }
    assert!(run >= 60, "expected at least 60 cases, found {run}");
}

/// `benches/all-in-one.wat` is built by the benchmark alone, so a change of the contract breaks it unseen.
#[tokio::test]
async fn the_guest_of_the_benchmark_fits_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("all-in-one.wasm");
    fs::write(&module, wat::parse_str(include_str!("../../benches/all-in-one.wat")).unwrap()).unwrap();
    let policy = format!(
        "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nspec: {{module: 'file:{}'}}\n",
        module.display()
    );
    let decision = support::decide(&support::snapshot(&policy).await, &support::daemonset(), None).await;
    let paths: Vec<_> = decision.patch.iter().map(|operation| operation.path().to_string()).collect();
    assert_eq!(
        paths,
        [
            "/metadata/labels/wardset.dev~1bench",
            "/spec/template/spec/tolerations",
            "/spec/template/spec/affinity"
        ]
    );
}

async fn outcome(module: &str, case: &Case) -> CaseOutcome {
    // The case chooses the state of the gate. If the objects do not imply it, the policy's `template` field does.
    let always = if case.gate == CaseGate::Open { "  template: always" } else { "" };
    // The module reads the namespace's labels if a rule does, so each of its policies must allow it.
    let data = if module == "cel" { "\n  clusterData: [namespaceLabels]" } else { "" };
    let policy = support::policy("case", module, &case.settings(), &format!("{always}{data}"));
    let snapshot = match support::try_snapshot(&policy).await {
        Ok(snapshot) => snapshot,
        Err(error) => return CaseOutcome::SettingsError(format!("{:#}", anyhow::Error::from(error))),
    };
    let (object, old) = case.objects();
    let decision = support::decide(&snapshot, &object, old.as_ref()).await;
    match &decision.reports[0].result {
        PolicyResult::Failed(failure) => CaseOutcome::Error(failure.detail.clone()),
        PolicyResult::Denied { denials, warnings } => CaseOutcome::Answer(CaseAnswer {
            denials: denials.iter().map(denial).collect(),
            warnings: warnings.iter().map(|found| remark(&found.pointer, &found.message)).collect(),
            ..CaseAnswer::default()
        }),
        PolicyResult::Allowed { applied, warnings, notes, .. } => {
            let applied: Vec<_> = applied.iter().map(|Applied { operation, .. }| operation.clone()).collect();
            let changes: Vec<Value> = serde_json::from_str(&patch::to_json(&applied)).unwrap();
            let warnings = warnings.iter().map(|found| remark(&found.pointer, &found.message)).collect();
            let notes = notes.iter().map(|found| remark(&found.pointer, &found.message)).collect();
            CaseOutcome::Answer(CaseAnswer { changes, warnings, notes, ..CaseAnswer::default() })
        }
    }
}

fn denial(found: &verdict::Denial) -> CaseDenial {
    let code = match found.code {
        DenialCode::Forbidden => "forbidden",
        DenialCode::Invalid => "invalid",
    };
    let (pointer, message, fix) = (found.pointer.clone(), found.message.clone(), found.fix.clone());
    CaseDenial { code, pointer, message, fix }
}

fn remark(pointer: &str, message: &str) -> Remark {
    Remark { pointer: pointer.to_owned(), message: message.to_owned() }
}
