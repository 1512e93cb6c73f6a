//! `wardset policy bench`: its figures, baselines and errors. No test depends on the speed of the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support;

/// A folder with cases of `builtin:default-labels`.
struct Cases(TempDir);

impl Cases {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({"labels": {"team": "a"}});
        let adds = json!({
            "name": "adds the team", "settings": &settings, "object": {"metadata": {"labels": {"app": "x"}}},
            "expect": {"changes": [{"op": "add", "path": "/metadata/labels/team", "value": "a"}]},
        });
        let leaves = json!({
            "name": "leaves a team alone", "settings": &settings,
            "object": {"metadata": {"labels": {"team": "b"}}},
        });
        let refuses = json!({
            "name": "refuses settings without labels", "settings": {},
            "expect": {"settingsError": "labels"},
        });
        fs::create_dir(folder.path().join("cases")).unwrap();
        for (file, case) in [("adds.yaml", adds), ("leaves.yaml", leaves), ("refuses.yaml", refuses)] {
            fs::write(folder.path().join("cases").join(file), case.to_string()).unwrap();
        }
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program in the folder, and returns its exit code, output and errors.
    fn bench(&self, arguments: &[&str]) -> (i32, String, String) {
        let fixed = ["policy", "bench", "--module", "builtin:default-labels", "--time", "0.1"];
        run(self.folder(), &[&fixed[..], arguments].concat())
    }

    fn baseline(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder().join("base.json")).unwrap()).unwrap()
    }

    /// Writes a baseline in which the whole evaluation of each case has this median.
    fn write_baseline(&self, median: f64) {
        let mut baseline = self.baseline();
        for case in baseline["cases"].as_array_mut().unwrap() {
            case["evaluation_us"]["median"] = json!(median);
        }
        fs::write(self.folder().join("base.json"), baseline.to_string()).unwrap();
    }
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(arguments)
        .current_dir(folder)
        .env("WARDSET_CACHE_DIR", support::cache_folder())
        .env_remove("WARDSET_LOG")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Asserts that all figures are there, and positive.
fn assert_figures(figures: &Value) {
    assert!(figures["samples"].as_u64().unwrap() >= 10, "{figures}");
    // At least one page.
    assert!(figures["memory_bytes"].as_u64().unwrap() >= 1 << 16, "{figures}");
    for phase in ["evaluation_us", "instantiate_us", "call_us"] {
        let (median, p99) =
            (figures[phase]["median"].as_f64().unwrap(), figures[phase]["p99"].as_f64().unwrap());
        assert!(median > 0.0 && p99 >= median, "{phase}: {figures}");
    }
    // Each whole evaluation has both phases in it.
    let longest = |phase: &str| figures[phase]["p99"].as_f64().unwrap();
    assert!(longest("evaluation_us") > longest("instantiate_us").max(longest("call_us")) * 0.99, "{figures}");
}

#[test]
fn json_has_all_figures_of_each_case_and_module() {
    let (code, out, err) = Cases::new().bench(&["-o", "json"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["version"], 1);
    let names: Vec<_> = found["cases"].as_array().unwrap().iter().map(|case| &case["name"]).collect();
    assert_eq!(names, ["adds the team", "leaves a team alone"]);
    assert_eq!(found["cases"][0]["file"], "cases/adds.yaml");
    found["cases"].as_array().unwrap().iter().for_each(assert_figures);
    assert_figures(&found["all"]);
    let samples = |figures: &Value| figures["samples"].as_u64().unwrap();
    assert_eq!(samples(&found["all"]), samples(&found["cases"][0]) + samples(&found["cases"][1]));
    assert_eq!(found["modules"].as_array().unwrap().len(), 1);
    let module = &found["modules"][0];
    assert_eq!(module["module"], "builtin:default-labels");
    assert!(module["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(module["compile_ms"].as_f64().unwrap() > 0.0, "{module}");
    assert!(module["compiled_bytes"].as_u64() > module["size_bytes"].as_u64(), "{module}");
    let refused = json!([{
        "file": "cases/refuses.yaml", "name": "refuses settings without labels",
        "reason": "the module refuses the settings",
    }]);
    assert_eq!(found["unmeasured"], refused);
    assert_eq!(found.get("comparison"), None);
}

#[test]
fn text_has_a_row_for_each_case_and_a_filter_chooses_cases() {
    let (code, out, _) = Cases::new().bench(&["--filter", "team"]);
    assert_eq!(code, 0, "{out}");
    for part in ["cases/adds.yaml\n  adds the team", "  leaves a team alone", "  all cases", ", compiled in "]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = Cases::new().bench(&["--filter", "adds", "-o", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, found["cases"].as_array().unwrap().len()), (0, 1));
}

#[test]
fn a_slower_median_exits_1_and_names_the_case() {
    let cases = Cases::new();
    let (code, out, err) = cases.bench(&["--save", "base.json"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    cases.baseline()["cases"].as_array().unwrap().iter().for_each(assert_figures);

    // Slower than any machine.
    cases.write_baseline(1e9);
    let (code, out, _) = cases.bench(&["--compare", "base.json"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.ends_with("0 of 2 cases slower by more than 20 %\n"), "{out}");

    // Faster than any machine.
    cases.write_baseline(0.01);
    let (code, out, _) = cases.bench(&["--compare", "base.json", "--threshold", "50"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("adds the team") && out.contains("SLOWER"), "{out}");
    assert!(out.ends_with("2 of 2 cases slower by more than 50 %\n"), "{out}");

    let (code, out, _) = cases.bench(&["--compare", "base.json", "--filter", "adds", "-o", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["comparison"]["gone"]), (1, &json!(["leaves a team alone"])));
    assert_eq!(found["comparison"]["cases"][0]["is_slower"], true);

    // The new figures replace those that they were compared with.
    let (code, _, _) = cases.bench(&["--compare", "base.json", "--save", "base.json"]);
    assert_eq!(code, 1);
    assert!(cases.baseline()["cases"][0]["evaluation_us"]["median"].as_f64().unwrap() > 0.01);
}

#[test]
fn a_wrong_baseline_exits_2_and_names_the_file_and_the_fix() {
    let cases = Cases::new();
    let error = |arguments: &[&str]| {
        let (code, out, err) = cases.bench(arguments);
        assert_eq!((code, &*out), (2, ""), "{err}");
        err
    };
    let missing = error(&["--compare", "none.json"]);
    assert!(missing.contains("failed to read the baseline `none.json`: No such file"), "{missing}");
    assert!(missing.contains("hint: `wardset policy bench --save FILE` writes one"), "{missing}");
    for (text, part) in [
        ("cases: []", "expected value at line 1 column 1"),
        ("{\"version\": 2}", "expected `version: 1`, found `2`"),
        ("{\"version\": 1}", "missing field `cases`"),
    ] {
        fs::write(cases.folder().join("bad.json"), text).unwrap();
        let bad = error(&["--compare", "bad.json"]);
        assert!(bad.contains("failed to parse the baseline `bad.json`: ") && bad.contains(part), "{bad}");
        assert!(bad.contains("hint: "), "{bad}");
    }
    assert_eq!(cases.bench(&["--save", "base.json", "--filter", "adds"]).0, 0);
    let others = error(&["--compare", "base.json", "--filter", "leaves"]);
    assert!(
        others.contains("expected a baseline of the same cases, found none of them in `base.json`"),
        "{others}"
    );
    let folder = error(&["--save", "none/base.json"]);
    assert!(
        folder.contains("failed to write the baseline `none/base.json`") && folder.contains("hint: "),
        "{folder}"
    );
}

#[test]
fn wrong_arguments_and_cases_that_fail_exit_2() {
    let cases = Cases::new();
    for (arguments, part) in [
        (&["--threshold", "5"][..], "--compare"),
        (&["--filter", "zzz"], "expected a case whose name contains `zzz`, found none"),
        (
            &["--filter", "refuses"],
            "expected a case in which a policy evaluates a review, found none among 1 case",
        ),
        (&["none.yaml"], "failed to read `none.yaml`"),
    ] {
        let (code, _, err) = cases.bench(arguments);
        assert!(code == 2 && err.contains(part), "{arguments:?}: {code}: {err}");
    }
    for time in ["0", "x", "1000", "NaN"] {
        let (code, _, err) = run(cases.folder(), &["policy", "bench", "--time", time]);
        assert!(code == 2 && err.contains("expected 0.1 to 600 seconds"), "{time}: {err}");
    }
    let wrong = json!({"name": "wrong", "settings": {"labels": {"team": "a"}}, "object": {"metadata": {"labels": {}}}});
    fs::write(cases.folder().join("cases/wrong.yaml"), wrong.to_string()).unwrap();
    let (code, _, err) = cases.bench(&[]);
    assert_eq!(code, 2);
    let expected =
        "failed to measure the case `wrong` of `cases/wrong.yaml`: its outcome is not the expected one";
    assert!(err.contains(expected) && err.contains("hint: `wardset policy test` shows more"), "{err}");
}

#[test]
fn a_project_needs_no_arguments() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["policy", "new", "rules", "--lang", "cel"]).0, 0);
    let (code, out, err) = run(
        &folder.path().join("rules"),
        &["policy", "bench", "--time", "0.1", "--compile-seconds", "600", "-o", "json"],
    );
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert!(found["cases"].as_array().unwrap().len() >= 3, "{out}");
    assert_eq!(found["modules"][0]["module"], "builtin:cel");

    assert_eq!(run(folder.path(), &["policy", "new", "a", "--lang", "c"]).0, 0);
    let (code, _, err) = run(&folder.path().join("a"), &["policy", "bench"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("the module `a.wasm` does not exist; hint: run `wardset policy build` first"),
        "{err}"
    );
}
