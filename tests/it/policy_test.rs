//! `wardset policy test`: cases that pass, fail and test nothing, and a policy that breaks each law.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use wardset::policy_test::{self, CaseProblem, CaseReport, TestOptions, report};

use crate::{guests, support};

/// Adds a toleration on every review, even if the object has it.
const NOT_IDEMPOTENT: &str = r#";;@ writes /spec/template/spec/tolerations
(data (i32.const 0x1000) "/spec/template/spec/tolerations/-")
(data (i32.const 0x1100) "{\"key\":\"x\",\"operator\":\"Exists\"}")
(func (export "evaluate") (type $evaluate) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))"#;

/// Adds a toleration on every update, even if the object has it.
const NOT_IDEMPOTENT_ON_UPDATES: &str = r#";;@ writes /spec/template/spec/tolerations
(data (i32.const 0x1000) "/spec/template/spec/tolerations/-")
(data (i32.const 0x1100) "{\"key\":\"x\",\"operator\":\"Exists\"}")
(func (export "evaluate") (type $evaluate)
  (if (i32.eq (local.get 0) (i32.const 1)) (then (call $add (i32.const 0x1000) (i32.const 0x1100))))
  (call $changed))"#;

/// Replaces the author's value.
const NOT_ADDITIVE: &str = r#";;@ writes /spec/minReadySeconds
(data (i32.const 0x1000) "/spec/minReadySeconds")
(data (i32.const 0x1100) "5")
(func (export "evaluate") (type $evaluate) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))"#;

/// Adds a label only if there is a field that no policy knows.
const READS_UNKNOWN_FIELDS: &str = r#";;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/wardset-test-unknown-field")
(data (i32.const 0x1100) "/metadata/labels/x")
(data (i32.const 0x1200) "\"y\"")
(func (export "evaluate") (type $evaluate)
  (call $read (i32.const 0x1000))
  (if (i32.load8_u (i32.const 0x40)) (then (call $add (i32.const 0x1100) (i32.const 0x1200))))
  (call $changed))"#;

/// Changes the template, whatever the gate is.
const IGNORES_THE_GATE: &str = r#";;@ writes /spec/template/metadata/labels
(data (i32.const 0x1000) "/spec/template/metadata/labels/x")
(data (i32.const 0x1100) "\"y\"")
(func (export "evaluate") (type $evaluate) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))"#;

/// Never answers, so each evaluation takes the whole timeout.
const LOOPS: &str =
    r#"(func (export "evaluate") (type $evaluate) (loop $for-ever (br $for-ever)) (unreachable))"#;

/// A folder with a module and a folder of cases.
struct Project(TempDir);

impl Project {
    fn new(guest: &str, cases: &[Value]) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        fs::write(project.path("policy.wasm"), guests::made("guest", guest)).unwrap();
        fs::create_dir(project.path("cases")).unwrap();
        let cases: Vec<String> = cases.iter().map(wardset::yaml::to_string).collect();
        fs::write(project.path("cases/cases.yaml"), cases.join("---\n")).unwrap();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self) -> TestOptions {
        let module = Some(format!("file:{}", self.path("policy.wasm").display()));
        TestOptions { module, ..TestOptions::default() }
    }

    async fn run(&self) -> Vec<CaseReport> {
        policy_test::run(&support::modules(), &[self.path("cases")], &self.options()).await.unwrap()
    }

    /// Runs the program, and returns its exit code, output and errors.
    fn program(&self, arguments: &[&str]) -> (i32, String, String) {
        let module = self.options().module.unwrap();
        let cases = self.path("cases");
        let fixed = ["policy", "test", cases.to_str().unwrap(), "--module", &module];
        let output = support::wardset(&[&fixed[..], arguments].concat(), "");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn daemonset() -> Value {
    json!({
        "metadata": {"name": "agent", "labels": {"app": "agent"}},
        "spec": {
            "minReadySeconds": 10,
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "a", "image": "b"}]},
            },
        },
    })
}

fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

/// The broken laws, each with the smallest object.
fn broken_laws(reports: &[CaseReport]) -> Vec<(&'static str, Value)> {
    let problems = reports.iter().flat_map(|report| &report.problems);
    problems
        .map(|problem| match problem {
            CaseProblem::Law { law, shrunk } => (law.name(), shrunk.object.clone()),
            other => panic!("expected a broken law, found {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn built_in_policies_pass_their_cases_and_keep_all_laws() {
    let (mut cases, mut laws) = (0, 0);
    for module in wardset::supply::builtin::MODULES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(module.name).join("cases");
        let module = Some(format!("builtin:{}", module.name));
        let options = TestOptions { module, ..TestOptions::default() };
        let reports = policy_test::run(&support::modules(), &[folder], &options).await.unwrap();
        assert!(reports.iter().all(CaseReport::passed), "{}", report::text(&reports));
        cases += reports.len();
        laws += reports.iter().map(|report| report.laws).sum::<usize>();
    }
    assert!(cases >= 100 && laws >= 300, "{cases} cases, {laws} checks of laws");
}

#[tokio::test]
async fn the_library_passes_its_cases_and_keeps_all_laws() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies/library");
    let mut policies = 0;
    for entry in fs::read_dir(&library).unwrap() {
        let policy = entry.unwrap().path();
        if policy.is_dir() {
            continue;
        }
        let cases = library.join("cases").join(policy.file_name().unwrap());
        let options = TestOptions { policies: vec![policy], ..TestOptions::default() };
        let reports = policy_test::run(&support::modules(), &[cases], &options).await.unwrap();
        assert!(reports.iter().all(CaseReport::passed), "{}", report::text(&reports));
        policies += 1;
    }
    assert!(policies >= 11, "{policies} policies");
}

#[tokio::test]
async fn finds_a_policy_that_changes_its_own_result() {
    let toleration = add("/spec/template/spec/tolerations/-", json!({"key": "x", "operator": "Exists"}));
    let case = json!({"name": "adds", "object": daemonset(), "expect": {"changes": [toleration]}});
    let broken = broken_laws(&Project::new(NOT_IDEMPOTENT, &[case]).run().await);
    let smallest = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "spec": {"template": {"spec": {"tolerations": []}}},
    });
    assert_eq!(broken[0].0, "idempotent");
    // What every DaemonSet must have is kept, because without it the host denies the object.
    assert_eq!(
        broken[0].1["spec"]["template"]["spec"]["tolerations"],
        smallest["spec"]["template"]["spec"]["tolerations"]
    );
    assert_eq!(broken[0].1["metadata"].get("labels"), None);
}

#[tokio::test]
async fn finds_a_policy_that_changes_its_own_result_on_updates_only() {
    let case = json!({"name": "a create changes nothing", "object": daemonset()});
    let reports = Project::new(NOT_IDEMPOTENT_ON_UPDATES, &[case]).run().await;
    let CaseProblem::Law { law, shrunk } = &reports[0].problems[0] else { panic!("{reports:?}") };
    assert_eq!(law.name(), "idempotent");
    let expected = "the second update of the stored object, with another template, changes it: ";
    assert!(shrunk.detail.starts_with(expected), "{}", shrunk.detail);
}

#[tokio::test]
async fn finds_a_policy_that_replaces_a_value_of_the_author() {
    let change = json!({"op": "replace", "path": "/spec/minReadySeconds", "value": 5});
    let case = json!({"name": "replaces", "object": daemonset(), "expect": {"changes": [change]}});
    let project = Project::new(NOT_ADDITIVE, std::slice::from_ref(&case));
    let broken = broken_laws(&project.run().await);
    assert_eq!(broken.iter().map(|(law, _)| *law).collect::<Vec<_>>(), ["additive"]);
    assert_eq!(broken[0].1["spec"]["minReadySeconds"], 10);

    let mut exempt = case;
    exempt["exempt"] = json!({"additive": "five seconds are the rule here"});
    assert!(Project::new(NOT_ADDITIVE, &[exempt]).run().await[0].passed());
}

#[tokio::test]
async fn finds_a_policy_that_depends_on_unknown_fields() {
    let case = json!({"name": "does nothing", "object": daemonset()});
    let broken = broken_laws(&Project::new(READS_UNKNOWN_FIELDS, &[case]).run().await);
    assert_eq!(broken.iter().map(|(law, _)| *law).collect::<Vec<_>>(), ["unknown-fields"]);
}

#[tokio::test]
async fn finds_a_policy_that_ignores_the_closed_gate() {
    let label = add("/spec/template/metadata/labels/x", json!("y"));
    let case = json!({"name": "adds", "object": daemonset(), "expect": {"changes": [label]}});
    let broken = broken_laws(&Project::new(IGNORES_THE_GATE, &[case]).run().await);
    assert_eq!(broken.iter().map(|(law, _)| *law).collect::<Vec<_>>(), ["closed-gate"]);
}

#[tokio::test]
async fn finds_a_policy_that_ignores_the_closed_gate_if_only_the_case_opens_it() {
    let label = add("/spec/template/metadata/labels/x", json!("y"));
    // The old object equals the new one, so the template is the same.
    let case = json!({
        "name": "adds on updates", "operation": "UPDATE", "object": daemonset(), "expect": {"changes": [label]},
    });
    let broken = broken_laws(&Project::new(IGNORES_THE_GATE, &[case]).run().await);
    assert_eq!(broken.iter().map(|(law, _)| *law).collect::<Vec<_>>(), ["closed-gate"]);
}

#[tokio::test]
async fn finds_a_policy_that_needs_more_than_half_of_its_timeout() {
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "slow"},
        "spec": {"module": "file:policy.wasm", "limits": {"timeout": "10ms"}},
    });
    let mut case = json!({
        "name": "a", "object": daemonset(), "policies": ["../policy.yaml"], "expect": {"error": "deadline"},
    });
    let project = Project::new(LOOPS, std::slice::from_ref(&case));
    fs::write(project.path("policy.yaml"), policy.to_string()).unwrap();
    let reports = project.run().await;
    let [CaseProblem::Law { law, shrunk }] = &*reports[0].problems else { panic!("{reports:?}") };
    assert_eq!(law.name(), "headroom");
    // The numbers differ from run to run.
    assert!(
        shrunk.detail.starts_with("policy `slow` took ") && shrunk.detail.ends_with(" of 10ms"),
        "{shrunk:?}"
    );

    case["exempt"] = json!({"headroom": "it is the point of this test"});
    fs::write(project.path("cases/cases.yaml"), case.to_string()).unwrap();
    let reports = project.run().await;
    assert!(reports[0].passed(), "{reports:?}");
}

/// A guest with all means to tell two evaluations apart. Nothing but a defect of the host could make it break the law; the
/// unit tests of the laws cover that.
#[tokio::test]
async fn a_policy_that_looks_for_traces_of_earlier_evaluations_is_deterministic() {
    let warning = json!({"pointer": "", "contains": "fresh"});
    let case = json!({"name": "a", "object": daemonset(), "expect": {"warnings": [warning]}});
    let project = Project::new(LOOPS, &[case]);
    fs::write(project.path("policy.wasm"), guests::component("remembers")).unwrap();
    let reports = project.run().await;
    assert!(reports[0].passed() && reports[0].laws == 6, "{reports:?}");
}

#[test]
fn a_wrong_expectation_exits_1_and_shows_the_difference() {
    let label = add("/spec/template/metadata/labels/x", json!("z"));
    let exempt = json!({"closed-gate": "it is the point of this test"});
    let case =
        json!({"name": "adds", "object": daemonset(), "expect": {"changes": [label]}, "exempt": exempt});
    let (code, out, _) = Project::new(IGNORES_THE_GATE, &[case]).program(&[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FAIL adds"), "{out}");
    assert!(out.contains("-   value: z\n") && out.contains("+   value: \"y\"\n"), "{out}");
    assert!(out.ends_with("ms in policies\n") && out.contains("0 of 1 cases passed, 1 failed"), "{out}");
}

#[test]
fn a_case_that_cannot_fail_is_an_error() {
    let declines = r#"(data (i32.const 0x1000) "no")
(func (export "evaluate") (type $evaluate) (call $declined (i32.const 0x1000) (i32.const 2)))"#;
    let case = json!({"name": "declines", "object": daemonset(), "expect": {"error": ""}});
    let (code, out, _) = Project::new(declines, &[case]).program(&[]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("this case tests nothing: the case also passes if another `error` is expected"),
        "{out}"
    );
}

#[test]
fn a_missing_golden_file_has_a_hint() {
    let case = json!({"name": "adds", "object": daemonset(), "expect": {"object": "../golden/adds.yaml"}});
    let project = Project::new(IGNORES_THE_GATE, &[case]);
    let (code, out, _) = project.program(&[]);
    assert_eq!(code, 1);
    assert!(out.contains("golden/adds.yaml` does not exist; hint: --update writes it"), "{out}");
}

#[test]
fn cases_can_name_policies_and_files() {
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "labels"},
        "spec": {
            "module": "builtin:default-labels", "settings": {"labels": {"team": "a"}},
            "match": {"namespaceSelector": {"matchLabels": {"env": "prod"}}},
        },
    });
    let label = add("/metadata/labels/team", json!("a"));
    let applies = json!({
        "name": "applies in production", "policies": ["../policy.yaml"], "objectFile": "../object.yaml",
        "namespaceLabels": {"env": "prod"}, "expect": {"changes": [label], "object": "../golden/stored.yaml"},
    });
    let skipped = json!({
        "name": "does not apply elsewhere", "policies": ["../policy.yaml"], "objectFile": "../object.yaml",
        "namespaceLabels": {"env": "test"}, "expect": {"skipped": ["labels"]},
    });
    let unsaid = json!({
        "name": "does not say that nothing applies", "policies": ["../policy.yaml"],
        "objectFile": "../object.yaml", "namespaceLabels": {"env": "test"},
    });
    let project = Project::new(NOT_ADDITIVE, &[applies, skipped, unsaid]);
    fs::write(project.path("policy.yaml"), policy.to_string()).unwrap();
    let mut object = daemonset();
    (object["apiVersion"], object["kind"]) = (json!("apps/v1"), json!("DaemonSet"));
    fs::write(project.path("object.yaml"), wardset::yaml::to_string(&object)).unwrap();
    fs::create_dir(project.path("golden")).unwrap();

    let (code, out, _) = project.program(&["--update", "--filter", "applies in production"]);
    assert_eq!((code, out.contains("wrote `")), (0, true), "{out}");
    let (code, out, _) = project.program(&["-o", "json"]);
    assert_eq!(code, 1, "{out}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["passed"], 2, "{out}");
    let problem = &found["cases"][2]["problems"][0];
    assert_eq!(problem["kind"], "vacuous");
    assert!(
        problem["detail"].as_str().unwrap().starts_with("no policy applies to the object (labels)"),
        "{out}"
    );

    object["metadata"]["labels"]["team"] = json!("b");
    fs::write(project.path("golden/stored.yaml"), wardset::yaml::to_string(&object)).unwrap();
    let (code, out, _) = project.program(&["--filter", "applies in production"]);
    assert_eq!(code, 1);
    assert!(out.contains("-     team: b\n") && out.contains("+     team: a\n"), "{out}");
}

#[test]
fn bad_input_exits_2_and_names_the_thing() {
    let case = |name: &str| json!({"name": name, "object": daemonset()});
    let project = Project::new(READS_UNKNOWN_FIELDS, &[case("a"), case("a")]);
    let (code, _, err) = project.program(&[]);
    assert_eq!(code, 2);
    assert!(err.contains("two cases named `a`"), "{err}");

    let project = Project::new(READS_UNKNOWN_FIELDS, &[case("a")]);
    let (code, _, err) = project.program(&["--filter", "zzz"]);
    assert_eq!(code, 2);
    assert!(err.contains("expected a case whose name contains `zzz`, found none"), "{err}");

    let mut typo = case("a");
    typo["exempt"] = json!({"aditive": "x"});
    let (code, out, _) = Project::new(READS_UNKNOWN_FIELDS, &[typo]).program(&[]);
    assert_eq!(code, 1);
    assert!(out.contains("`exempt`: expected a law (idempotent, additive,"), "{out}");

    let node = |name: &str| json!({"metadata": {"name": name}});
    for (nodes, expected) in [
        (json!([[node("n1")]]), "`nodes[0]`: expected a Kubernetes object, found a list"),
        (json!([{"kind": "Pod", "metadata": {"name": "n1"}}]), "`nodes[0]`: expected a Node"),
        (json!([node("n1"), node("n1")]), "`nodes[1]`: Node `n1` occurs twice"),
        (json!([{"metadata": {}}]), "`nodes[0]`: expected a name in `metadata.name` of the Node"),
        (
            json!([{"metadata": {"name": "n1"}, "spec": {"taints": "no"}}]),
            "`nodes[0]`: failed to read Node `n1`: `spec.taints`",
        ),
        (json!([node("n1")]), "`nodes`: no policy of the case asks for nodes"),
    ] {
        let mut with_nodes = case("a");
        with_nodes["nodes"] = nodes;
        let (code, out, _) = Project::new(READS_UNKNOWN_FIELDS, &[with_nodes]).program(&[]);
        assert_eq!(code, 1);
        assert!(out.contains(expected), "expected {expected}, found {out}");
    }

    let output = support::wardset(&["policy", "test", project.path("cases").to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: pass --module or --policies"));

    let cases = project.path("cases");
    let module = ["policy", "test", cases.to_str().unwrap(), "--module", "builtin:nope"];
    let output = support::wardset(&module, "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown built-in module `nope`"));
}

#[test]
fn modes_and_on_error_count_as_in_the_server() {
    let policy = |mode: &str, on_error: &str, expression: &str| {
        json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "rule"},
            "spec": {
                "module": "builtin:cel", "mode": mode, "onError": on_error, "clusterData": ["namespaceLabels"],
                "settings": {"validations": [{"expression": expression, "message": "never", "fix": "none"}]},
            },
        })
    };
    let (denies, fails) = ("false", "object.missing.member == 1");
    for (mode, on_error, expression, expect) in [
        ("enforce", "fail", denies, json!({"decision": "denied"})),
        ("warn", "fail", denies, json!({"warnings": [{"pointer": "", "contains": "would deny: never"}]})),
        ("observe", "fail", denies, json!({})),
        ("enforce", "fail", fails, json!({"error": "missing"})),
        ("enforce", "deny", fails, json!({"decision": "denied"})),
        ("enforce", "allow", fails, json!({"warnings": [{"pointer": "", "contains": "could not decide"}]})),
        ("warn", "fail", fails, json!({})),
    ] {
        let mut case =
            json!({"name": "a", "object": daemonset(), "policies": ["../rule.yaml"], "expect": expect});
        let project = Project::new(NOT_ADDITIVE, std::slice::from_ref(&case));
        fs::write(project.path("rule.yaml"), policy(mode, on_error, expression).to_string()).unwrap();
        let (code, out, _) = project.program(&[]);
        assert_eq!(code, 0, "{mode} {on_error} {expression}: {out}");
        case["expect"] =
            json!({"decision": if expect["decision"] == "denied" { "allowed" } else { "denied" }});
        fs::write(project.path("cases/cases.yaml"), case.to_string()).unwrap();
        assert_eq!(project.program(&[]).0, 1, "{mode} {on_error} {expression}");
    }
}

#[test]
fn an_error_in_the_settings_of_a_policy_is_printed_once() {
    let policy = |expression: &str| {
        json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "rule"},
            "spec": {"module": "builtin:cel", "settings": {"validations": [{"expression": expression}]}},
        })
    };
    let case = |name: &str| json!({"name": name, "object": daemonset(), "policies": ["../rule.yaml"]});
    let mut expected = case("expects the error");
    expected["expect"] = json!({"settingsError": "expression"});
    let project = Project::new(NOT_ADDITIVE, &[case("a"), case("b"), expected]);
    fs::write(project.path("rule.yaml"), policy("object.metadata.name == ").to_string()).unwrap();
    let (code, out, _) = project.program(&[]);
    assert_eq!(code, 1);
    assert!(out.contains("FAIL a                  not run\n"), "{out}");
    assert!(out.contains("ok   expects the error"), "{out}");
    assert_eq!(out.matches("validations[0].expression").count(), 1, "{out}");
    let reason = "\n2 cases not run: policy `rule`: `spec.settings`: `validations[0].expression`: ";
    assert!(out.contains(reason), "{out}");
    assert!(out.contains("1 of 3 cases passed, 2 failed (2 not run); "), "{out}");
    let found: Value = serde_json::from_str(&project.program(&["-o", "json"]).1).unwrap();
    assert_eq!(found["failed"], 2);
    assert_eq!(found["cases"][1]["problems"][0]["kind"], "not-run");

    // The same holds for a file that is no policy.
    fs::write(project.path("rule.yaml"), "spec: [").unwrap();
    let (code, out, _) = project.program(&[]);
    assert_eq!((code, out.matches("rule.yaml`").count()), (1, 1), "{out}");
    assert!(out.contains("\n3 cases not run: failed to parse `"), "{out}");
    fs::write(project.path("rule.yaml"), policy("true").to_string()).unwrap();
    let (_, out, _) = project.program(&[]);
    assert!(out.contains("2 of 3 cases passed, 1 failed;"), "{out}");
}

#[test]
fn update_replaces_golden_files_only() {
    let case = json!({"name": "a", "object": daemonset(), "expect": {"object": "cases.yaml"}});
    let project = Project::new(READS_UNKNOWN_FIELDS, std::slice::from_ref(&case));
    let before = fs::read(project.path("cases/cases.yaml")).unwrap();
    let (code, out, _) = project.program(&["--update"]);
    assert_eq!(code, 1);
    assert!(out.contains("is not a golden file, so --update does not replace it"), "{out}");
    assert_eq!(fs::read(project.path("cases/cases.yaml")).unwrap(), before);

    let same =
        |name: &str| json!({"name": name, "object": daemonset(), "expect": {"object": "../golden.yaml"}});
    let (code, out, _) = Project::new(READS_UNKNOWN_FIELDS, &[same("a"), same("b")]).program(&["--update"]);
    assert_eq!(code, 1);
    assert!(out.contains("the case `a` writes the same golden file"), "{out}");
}

#[test]
fn names_reach_the_terminal_without_control_characters() {
    let case = json!({"name": "a\u{1b}[2J\u{202e}\nFAKE ok", "object": daemonset()});
    let (_, out, _) = Project::new(READS_UNKNOWN_FIELDS, &[case]).program(&[]);
    assert!(!out.contains(['\u{1b}', '\u{202e}']) && !out.contains("\nFAKE"), "{out:?}");
    // The smallest object that breaks a law, and a diff.
    let change = json!({"op": "replace", "path": "/spec/minReadySeconds", "value": 5});
    let mut object = daemonset();
    object["spec"]["minReadySeconds"] = json!("x\u{202e}\u{2066}y");
    let cases = [
        json!({"name": "a", "object": object, "expect": {"changes": [change]}}),
        json!({"name": "b", "object": object, "expect": {"denials": [
            {"code": "invalid", "pointer": "/spec", "contains": "x\u{202e}y"},
        ]}}),
    ];
    let (_, out, _) = Project::new(NOT_ADDITIVE, &cases).program(&[]);
    assert!(out.contains("minReadySeconds: \"x\\u202E\\u2066y\"\n"), "{out}");
    assert!(out.contains("x\\u202Ey") && !out.contains(['\u{202e}', '\u{2066}']), "{out}");
}

#[test]
fn inspect_names_the_fix_for_a_module_that_it_cannot_find() {
    for (module, expected) in [
        ("node-affinity", "there is no such file; hint: `builtin:node-affinity` names the built-in module"),
        ("builtin:", "expected `builtin:NAME`, `file:PATH` or `oci://HOST/NAME@sha256:…`, found `builtin:`"),
        ("builtin:node-afinity", "did you mean `builtin:node-affinity`?"),
        ("oci:a", "expected `oci://HOST/NAME@sha256:…`, found `oci:a`"),
    ] {
        let output = support::wardset(&["policy", "inspect", module], "");
        assert_eq!(output.status.code(), Some(2), "{module}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(expected) && !errors.contains("spec.module"), "{module}: {errors}");
    }
}

#[test]
fn compile_fails_without_a_cache_folder() {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/built/selector-safety.wasm");
    let output = support::wardset(&["policy", "compile", module, "--cache-dir", "/dev/null/x"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/null/x"));
}

/// The log names a module that is compiled for the first time, and says nothing about one from the cache.
#[test]
fn the_log_names_a_module_while_it_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let policies = folder.path().join("policy.yaml");
    let policy = support::policy("labels", "default-labels", &json!({"labels": {"team": "a"}}), "");
    fs::write(&policies, policy).unwrap();
    let log = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_wardset"))
            .args(["policies", "--policies", policies.to_str().unwrap()])
            .env("WARDSET_CACHE_DIR", &cache)
            .env("WARDSET_LOG", "info")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let first = log();
    assert!(
        first.contains("compiling the module") && first.contains("module=builtin:default-labels"),
        "{first}"
    );
    let second = log();
    assert!(!second.contains("compiling"), "{second}");
}
