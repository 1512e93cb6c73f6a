//! Runs the cases of the built-in policies with the committed modules in the real sandbox.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use wardset_core::decision::{Applied, PolicyResult};
use wardset_core::patch;
use wardset_core::verdict::{Denial, DenialCode, Warning};

use crate::support;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    name: String,
    #[serde(default)]
    settings: Option<Value>,
    #[serde(default = "create")]
    operation: String,
    #[serde(default)]
    gate: Option<String>,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Option<Value>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expect {
    #[serde(default)]
    denials: Vec<Value>,
    #[serde(default)]
    changes: Vec<Value>,
    #[serde(default)]
    warnings: Vec<Value>,
    #[serde(default)]
    notes: Vec<Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    settings_error: Option<String>,
}

fn create() -> String {
    "CREATE".to_owned()
}

#[tokio::test]
async fn built_modules_pass_the_cases_of_their_sources() {
    let mut run = 0;
    for module in wardset::supply::builtin::MODULES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(module.name).join("cases");
        for file in wardset::offline::input::files(&folder, false).unwrap() {
            let file = file.unwrap();
            let text = fs::read_to_string(&file).unwrap();
            for case in wardset::yaml::documents::<Case>(&text).unwrap() {
                check(module.name, &case).await;
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

async fn check(module: &str, case: &Case) {
    let place = format!("{module}: {}", case.name);
    let settings = case.settings.clone().unwrap_or(json!({}));
    // The case chooses the state of the gate. If the objects do not imply it, the policy's `template` field does.
    let gate = case.gate.as_deref().unwrap_or("open");
    let always = if gate == "open" { "  template: always" } else { "" };
    let snapshot = support::try_snapshot(&support::policy("case", module, &settings, always)).await;
    if let Some(expected) = &case.expect.settings_error {
        let error = anyhow::Error::from(
            snapshot.err().unwrap_or_else(|| panic!("{place}: the settings were accepted")),
        );
        assert!(format!("{error:#}").contains(expected), "{place}: {error:#}");
        return;
    }
    let snapshot = snapshot.unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut object = case.object.clone();
    fill_in(&mut object);
    let old = match case.operation.as_str() {
        "CREATE" => None,
        _ => Some(case.old_object.clone().map_or_else(
            || object.clone(),
            |mut old| {
                fill_in(&mut old);
                old
            },
        )),
    };
    // A closed gate requires an update with an unchanged template.
    let old = if gate == "closed" { Some(with_template_of(&object, old)) } else { old };
    let decision = support::decide(&snapshot, &object, old.as_ref()).await;
    let result = &decision.reports[0].result;
    match (result, &case.expect.error) {
        (PolicyResult::Failed(failure), Some(expected)) => {
            assert!(failure.detail.contains(expected), "{place}: {failure}")
        }
        (PolicyResult::Failed(failure), None) => panic!("{place}: {failure}"),
        (_, Some(expected)) => panic!("{place}: expected the error `{expected}`"),
        (PolicyResult::Denied { denials, warnings }, None) => {
            assert_eq!(case.expect.changes, [] as [Value; 0], "{place}");
            check_denials(&place, denials, &case.expect.denials);
            check_warnings(&place, warnings, &case.expect.warnings);
        }
        (PolicyResult::Allowed { applied, warnings, notes, .. }, None) => {
            assert_eq!(case.expect.denials, [] as [Value; 0], "{place}");
            let applied: Vec<_> = applied.iter().map(|Applied { operation, .. }| operation.clone()).collect();
            let applied: Value = serde_json::from_str(&patch::to_json(&applied)).unwrap();
            assert_eq!(applied, json!(case.expect.changes), "{place}");
            check_warnings(&place, warnings, &case.expect.warnings);
            assert_eq!(notes.len(), case.expect.notes.len(), "{place}: {notes:?}");
            for (found, expected) in notes.iter().zip(&case.expect.notes) {
                assert_eq!(found.pointer, expected["pointer"].as_str().unwrap(), "{place}");
                let part = expected["contains"].as_str().unwrap_or_default();
                assert!(found.message.contains(part), "{place}: {found:?}");
            }
        }
    }
}

fn fill_in(object: &mut Value) {
    for (field, value) in [("apiVersion", "apps/v1"), ("kind", "DaemonSet")] {
        if object.get(field).is_none() {
            object[field] = json!(value);
        }
    }
}

fn with_template_of(object: &Value, old: Option<Value>) -> Value {
    let mut old = old.unwrap_or_else(|| object.clone());
    old["spec"]["template"] = object["spec"]["template"].clone();
    old
}

fn check_denials(place: &str, found: &[Denial], expected: &[Value]) {
    assert_eq!(found.len(), expected.len(), "{place}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        let code = match found.code {
            DenialCode::Forbidden => "forbidden",
            DenialCode::Invalid => "invalid",
        };
        assert_eq!(
            (code, found.pointer.as_str()),
            (expected["code"].as_str().unwrap(), expected["pointer"].as_str().unwrap()),
            "{place}"
        );
        assert!(
            format!("{} {}", found.message, found.fix)
                .contains(expected["contains"].as_str().unwrap_or_default()),
            "{place}: {found:?}"
        );
        assert!(!found.fix.is_empty(), "{place}: a denial without a fix");
    }
}

fn check_warnings(place: &str, found: &[Warning], expected: &[Value]) {
    assert_eq!(found.len(), expected.len(), "{place}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.pointer, expected["pointer"].as_str().unwrap(), "{place}");
        assert!(
            found.message.contains(expected["contains"].as_str().unwrap_or_default()),
            "{place}: {found:?}"
        );
    }
}
