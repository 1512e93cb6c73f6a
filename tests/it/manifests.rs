//! Manifests as kubectl reads them: each test is a fault that a real manifest showed.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support;

/// Reviews standard input; returns exit code, standard output and standard error.
fn review(options: &[&str], input: impl AsRef<[u8]>) -> (Option<i32>, String, String) {
    outcome(&support::wardset(&[&["review", "-f", "-"], options].concat(), input))
}

/// Reviews a folder with these files.
fn review_folder(files: &[(&str, &str)], options: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    outcome(&support::wardset(&[&["review", "-f", path], options].concat(), ""))
}

fn outcome(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A DaemonSet in YAML, with more fields of its metadata, its pods and its top level.
fn manifest(name: &str, metadata: &str, pods: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: {name}\n{metadata}spec:\n  selector: {{matchLabels: {{app: a}}}}\n  template:\n    metadata: {{labels: {{app: a}}}}\n    spec:\n{pods}      containers: [{{name: a, image: a}}]\n"
    )
}

fn object(input: &str) -> Value {
    let (code, out, words) = review(&["-o", "json"], input);
    assert_eq!(code, Some(0), "{words}{out}");
    serde_json::from_str::<Value>(&out).unwrap()["object"].take()
}

const NAMESPACED: &str = "  namespace: logging\n";

#[test]
fn null_labels_are_empty_strings() {
    for metadata in
        ["  labels: {team: }\n", "  labels:\n", "  annotations: {a: ~}\n  labels: {a: null, b: c}\n"]
    {
        let (code, out, words) =
            review(&[], manifest("a", metadata, "      nodeSelector: {disk: }\n      tolerations:\n"));
        assert_eq!(code, Some(0), "{metadata}{out}{words}");
    }
    // A policy's selector sees the empty string, as the API server's does.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let policy = support::policy(
        "p",
        "default-labels",
        &json!({"labels": {"a": "b"}}),
        "  match: {objectSelector: {matchLabels: {team: }}}",
    );
    std::fs::write(&file, policy).unwrap();
    let with = |metadata| {
        let policies = file.to_str().unwrap();
        review(&["--policies", policies, "-o", "patch"], manifest("a", metadata, "")).1
    };
    assert!(with("  labels: {team: }\n").contains("/metadata/labels/a"), "{}", with("  labels: {team: }\n"));
    assert_eq!(with("  labels: {team: x}\n"), "[]\n");
}

#[test]
fn an_empty_namespace_is_no_namespace() {
    for metadata in ["", "  namespace: \"\"\n", "  namespace:\n"] {
        let (code, out, _) = review(&["-n", "kube-system"], manifest("a", metadata, ""));
        assert_eq!(code, Some(0), "{out}");
        assert!(out.contains("no policy applies") && out.ends_with("allowed, unchanged\n"), "{out}");
        assert!(out.contains("note: no namespace in the manifest: decided as in `kube-system`"), "{out}");
    }
    let (_, out, _) = review(&["-n", "kube-system"], manifest("a", NAMESPACED, ""));
    assert!(out.starts_with("DaemonSet logging/a") && !out.contains("note: no namespace"), "{out}");
}

#[test]
fn nothing_to_review_is_not_an_error() {
    for input in [
        "",
        "# only a comment\n",
        "---\n---\n",
        "null\n",
        "apiVersion: v1\nkind: List\nitems: []\n",
        "apiVersion: v1\nkind: List\nitems:\n",
        "apiVersion: v1\nkind: List\n",
        "{\"apiVersion\": \"apps/v1\", \"kind\": \"DaemonSetList\", \"items\": null}",
    ] {
        let (code, out, words) = review(&[], input);
        assert_eq!((code, &*out, &*words), (Some(0), "", "nothing to review: no object found\n"), "{input}");
    }
    assert_eq!(review(&["-o", "json"], "").1, "[]\n");
}

#[test]
fn other_files_in_a_folder_of_manifests_are_skipped() {
    let good = manifest("a", NAMESPACED, "");
    let files = [
        ("a.yaml", &*good),
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        (
            "kustomize.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]\n",
        ),
        ("kind.yaml", "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\nnodes: [{role: worker}]\n"),
        ("values.yaml", "image: {tag: v1}\n"),
    ];
    let (code, out, words) = review_folder(&files, &[]);
    assert_eq!(code, Some(0), "{words}");
    assert!(out.starts_with("DaemonSet logging/a"), "{out}");
    assert_eq!(words, "skipped 4 objects of other kinds; -v lists them\n");
    let (.., words) = review_folder(&files, &["-v"]);
    for line in [
        "kind.yaml: kind.x-k8s.io/v1alpha4/Cluster: only apps/v1 DaemonSets are reviewed",
        "kustomization.yaml: the file has no `apiVersion` and no `kind`",
    ] {
        assert!(words.contains(line), "{words}");
    }
    // A file that the user names is meant to be a manifest.
    let (code, _, words) = review(&[], "image: {tag: v1}\n");
    assert_eq!(code, Some(2));
    assert!(words.contains("expected a string in `kind`; hint: a DaemonSet has"), "{words}");
}

#[test]
fn one_unreadable_file_hides_no_other() {
    let good = manifest("a", NAMESPACED, "");
    let files = [
        ("a.yaml", &*good),
        ("b.yaml", "a: [\n"),
        ("c.yaml", "kind: DaemonSet\napiVersion: apps/v1\nmetadata: {}\n"),
    ];
    let (code, out, words) = review_folder(&files, &[]);
    assert_eq!(code, Some(2));
    assert!(out.starts_with("DaemonSet logging/a") && out.contains("allowed"), "{out}");
    assert!(words.contains("b.yaml`: did not find expected node content"), "{words}");
    assert!(words.contains("c.yaml: `metadata.name` is missing"), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.yaml");
    let output =
        support::wardset(&["review", "-f", missing.to_str().unwrap(), "-f", "examples/fluentd-ds.yaml"], "");
    let (code, out, words) = outcome(&output);
    assert_eq!(code, Some(2));
    assert!(out.starts_with("DaemonSet default/") && words.contains("failed to read"), "{out}{words}");
}

#[test]
fn numbers_are_sent_as_kubectl_sends_them() {
    for written in ["3e+02", "300.0", "0x12c", "3_00", "0454"] {
        let toleration = format!(
            "      tolerations: [{{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: {written}}}]\n"
        );
        let object = object(&manifest("a", NAMESPACED, &toleration));
        let seconds = &object["spec"]["template"]["spec"]["tolerations"][0]["tolerationSeconds"];
        assert_eq!(seconds.to_string(), "300", "{written}");
    }
    let json = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "x"},
        "spec": {"minReadySeconds": 1000.0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}},
    });
    let text = json.to_string().replace("1000.0", "1e3");
    assert!(text.contains("1e3"));
    let (_, out, _) = review(&["-o", "json"], text);
    assert!(out.contains("\"minReadySeconds\":1000,"), "{out}");
}

#[test]
fn words_of_other_spellings_are_strings() {
    let labels = "  namespace: logging\n  labels: {a: nO, b: yEs, c: tRue, d: oN}\n";
    let object = object(&manifest("a", labels, ""));
    assert_eq!(object["metadata"]["labels"]["b"], "yEs", "{object}");
}

#[test]
fn flow_scalars_continue_on_a_line_of_any_indentation() {
    let metadata = "  namespace: logging\n  annotations:\n    note: \"first\n  second\"\n";
    let object = object(&manifest("a", metadata, ""));
    assert_eq!(object["metadata"]["annotations"]["note"], "first second");
}

#[test]
fn many_comments_after_a_key_are_read() {
    let comments = format!("  namespace: logging\n  labels:\n{}    a: b\n", "    # why\n".repeat(35));
    assert_eq!(object(&manifest("a", &comments, ""))["metadata"]["labels"]["a"], "b");
    let folder = tempfile::tempdir().unwrap();
    let policy = support::policy("p", "default-labels", &json!({"labels": {"a": "b"}}), "");
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, policy.replacen("spec:\n", &format!("spec:\n{}", "  # why\n".repeat(35)), 1))
        .unwrap();
    let (code, _, words) = review(&["--policies", file.to_str().unwrap()], manifest("a", NAMESPACED, ""));
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn yaml_output_changes_only_the_daemonsets() {
    let before = "# licence\n--- # Source: a.yaml\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}   # kept\n---\n# nothing here\n";
    let (code, out, words) = review(&["-o", "yaml"], before);
    assert_eq!((code, &*out), (Some(0), before), "{words}");
    let input = format!(
        "{before}--- # the agent\n{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: b}}",
        manifest("a", "", "")
    );
    let (code, out, words) = review(&["-o", "yaml", "-n", "kube-public"], &input);
    assert_eq!(code, Some(0), "{words}");
    assert!(out.starts_with(before), "{out}");
    assert!(out.ends_with("---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}"), "{out}");
    assert!(out.contains("--- # the agent\napiVersion: apps/v1\n"), "{out}");
    // The namespace was assumed, so kubectl still decides on it.
    assert!(!out.contains("namespace:"), "{out}");
    assert!(
        words.contains("note: 1 DaemonSet without a namespace: decided as in namespace `kube-public`"),
        "{words}"
    );
    let changed: Vec<Value> = wardset::yaml::documents(&out).unwrap();
    assert!(changed[1]["spec"]["template"]["spec"]["affinity"].is_object(), "{out}");
}

#[test]
fn yaml_output_keeps_the_other_items_of_a_list() {
    let daemonset: Value = wardset::yaml::documents(&manifest("a", NAMESPACED, "")).unwrap().remove(0);
    let mut bad = daemonset.clone();
    bad["spec"]["selector"]["matchLabels"] = json!({"app": "b"});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"x": 1}, "items": [secret, bad, null, daemonset]});
    let (code, out, words) = review(&["-o", "yaml"], list.to_string());
    assert_eq!(code, Some(1), "{words}");
    let lists: Vec<Value> = wardset::yaml::documents(&out).unwrap();
    let items = lists[0]["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0], &items[1]["metadata"]["name"]), (2, &secret, &json!("a")), "{out}");
    assert_eq!(lists[0]["metadata"], json!({"x": 1}));
}

#[test]
fn skipped_objects_are_one_line_unless_they_are_old_daemonsets() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\n";
    let old = "apiVersion: extensions/v1beta1\nkind: DaemonSet\nmetadata: {name: old}\n";
    let input = format!("{}{}---\n{old}", service.repeat(25), manifest("a", NAMESPACED, ""));
    let (code, _, words) = review(&[], &input);
    assert_eq!(code, Some(0));
    assert_eq!(
        words,
        "skipped standard input (document 27): extensions/v1beta1/DaemonSet `old`: Kubernetes 1.16 removed it; hint: write `apiVersion: apps/v1`\nskipped 25 objects of other kinds; -v lists them\n"
    );
    let (.., words) = review(&["-v"], &input);
    assert_eq!(words.lines().count(), 26, "{words}");
    assert!(words.contains("(document 1): v1/Service `s`: only apps/v1 DaemonSets are reviewed"), "{words}");
}

#[test]
fn templates_encodings_and_nested_lists_are_named() {
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain("a: 1".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let nested = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n";
    for (input, expected) in [
        (
            &b"metadata:\n  name: {{ .Values.name }}\n"[..],
            "expected YAML, found template syntax `{{ … }}`: render it first",
        ),
        (b"{{ include \"x\" . }}", "expected YAML, found template syntax"),
        (&utf16, "expected UTF-8, found UTF-16"),
        (
            b"a: 1\nb: M\xfcnchen\n",
            "expected UTF-8, found the byte 0xfc at line 2; the file looks like Latin-1",
        ),
        (nested.as_bytes(), "expected an object, found a List inside a List"),
        (b"a: 1\n---apiVersion: v1\n", "expected `---` alone on its line, found `---apiVersion: v1`"),
    ] {
        let (code, _, words) = review(&[], input);
        assert_eq!(code, Some(2));
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn policy_files_suggest_the_name_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let good = support::policy("p", "default-labels", &json!({"labels": {"a": "b"}}), "  mode: enforce");
    let item = good.trim_start_matches("---\n").replace('\n', "\n  ");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {item}");
    for (text, expected) in [
        (
            good.replace("builtin:default-labels", "builtin:default-label"),
            "unknown built-in module `default-label`; did you mean `builtin:default-labels`?",
        ),
        (
            good.replace("  mode:", "  mdoe:"),
            "`spec.mdoe`: unknown field `mdoe`; did you mean `mode`? at line",
        ),
        (
            good.replace("enforce", "enforced"),
            "`spec.mode`: unknown value `enforced`; did you mean `enforce`? at line",
        ),
        (
            good.replace("enforce", "[enforce]"),
            "`spec.mode`: expected one of `enforce`, `warn`, `observe`, found a list",
        ),
        (
            good.replace("mode: enforce", "match: [[CREATE]]"),
            "`spec.match`: expected a mapping, found a list",
        ),
        (good.replace("mode: enforce", "order: \"1\""), "found the string `1`; remove the quotes"),
        (
            list,
            "expected `kind: Policy`, found `kind: List`; hint: write its items as documents of their own",
        ),
    ] {
        let file = folder.path().join("p.yaml");
        std::fs::write(&file, &text).unwrap();
        let (code, _, words) = review(&["--policies", file.to_str().unwrap()], manifest("a", NAMESPACED, ""));
        assert_eq!(code, Some(2), "{text}");
        assert!(words.contains(expected), "{text}{words}");
    }
}

#[test]
fn null_fields_of_a_policy_have_their_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let more =
        "  order: ~\n  mode:\n  match: {excludeNamespaces: , namespaceSelector: ~}\n  limits: {timeout: }";
    std::fs::write(&file, support::policy("p", "default-labels", &json!({"labels": {"a": "b"}}), more))
        .unwrap();
    let policies = file.to_str().unwrap();
    let (code, out, words) = review(&["--policies", policies, "-o", "patch"], manifest("a", NAMESPACED, ""));
    assert_eq!(code, Some(0), "{words}");
    assert!(out.contains("/metadata/labels"), "{out}");
    assert!(Path::new(policies).exists());
}

#[test]
fn an_update_with_an_empty_namespace_finds_its_old_object() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.yaml");
    std::fs::write(&old, manifest("a", "  namespace: \"\"\n", "")).unwrap();
    let (code, out, _) =
        review(&["--old", old.to_str().unwrap()], manifest("a", "  namespace:\n  labels: {x: z}\n", ""));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.starts_with("DaemonSet default/a  UPDATE"), "{out}");
}

#[test]
fn items_of_a_typed_list_have_the_kind_of_the_list() {
    let daemonset: Value = wardset::yaml::documents(&manifest("a", NAMESPACED, "")).unwrap().remove(0);
    let mut untyped = daemonset.clone();
    let members = untyped.as_object_mut().unwrap();
    members.remove("apiVersion");
    members.remove("kind");
    let mut empty = untyped.clone();
    empty["kind"] = "".into();
    empty["apiVersion"] = Value::Null;
    // In apimachinery, `items` makes an object of any kind a list.
    for kind in ["DaemonSetList", "DaemonSet"] {
        let list = |item: &Value| json!({"apiVersion": "apps/v1", "kind": kind, "items": [item]}).to_string();
        for item in [&untyped, &empty, &daemonset] {
            let reviewed = object(&list(item));
            assert_eq!(
                (&reviewed["apiVersion"], &reviewed["kind"]),
                (&json!("apps/v1"), &json!("DaemonSet"))
            );
            assert!(reviewed["spec"]["template"]["spec"]["affinity"].is_object(), "{kind} {reviewed}");
        }
        let (_, out, _) = review(&["-o", "yaml"], list(&untyped));
        let written: Vec<Value> = wardset::yaml::documents(&out).unwrap();
        assert_eq!(written[0]["items"][0]["kind"], "DaemonSet", "{out}");
    }
    // An update finds its old object in such a list, too.
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.json");
    std::fs::write(
        &old,
        json!({"apiVersion": "apps/v1", "kind": "DaemonSetList", "items": [untyped]}).to_string(),
    )
    .unwrap();
    let (_, out, _) = review(&["--old", old.to_str().unwrap()], daemonset.to_string());
    assert!(out.starts_with("DaemonSet logging/a  UPDATE"), "{out}");
}

#[test]
fn an_item_without_a_kind_is_an_error_if_the_list_has_no_type() {
    let list = "apiVersion: v1\nkind: List\nitems: [{metadata: {name: a}}]\n";
    for item in [list.to_owned(), list.replace("metadata", "apiVersion: apps/v1, metadata")] {
        let (code, _, words) = review_folder(&[("a.yaml", &item)], &[]);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("expected a string in `kind`"), "{words}");
    }
}

#[test]
fn items_that_are_not_objects_are_an_error() {
    for (item, found) in [("[{}]", "a list"), ("text", "a single value"), ("3", "a single value")] {
        let (code, out, words) = review(&[], format!("apiVersion: v1\nkind: List\nitems: [{{}}, {item}]\n"));
        assert_eq!((code, &*out), (Some(2), ""));
        let expected = format!("standard input: expected an object in `items[1]` of the List, found {found}");
        assert!(words.contains(&expected), "{words}");
    }
}

#[test]
fn items_that_are_not_a_list_are_an_error() {
    for (items, found) in [("{}", "a mapping"), ("3", "a single value")] {
        let (code, out, words) = review(&[], format!("apiVersion: v1\nkind: List\nitems: {items}\n"));
        assert_eq!((code, &*out), (Some(2), ""));
        let expected = format!("standard input: expected a list in `items` of the List, found {found}");
        assert!(words.contains(&expected), "{words}");
    }
}

#[test]
fn an_unreadable_subfolder_hides_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("z.yaml"), manifest("a", NAMESPACED, "")).unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    std::fs::write(folder.path().join("b/c.yaml"), manifest("b", NAMESPACED, "")).unwrap();
    // A path that is longer than the system takes stops every user.
    let half: std::path::PathBuf = std::iter::repeat_n("a".repeat(250), 10).collect();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name).join(&half));
    std::fs::create_dir_all(&first).unwrap();
    std::fs::create_dir_all(second).unwrap();
    std::fs::rename(folder.path().join("second"), first.join("second")).unwrap();
    let path = folder.path().to_str().unwrap();
    let (code, out, words) = outcome(&support::wardset(&["review", "-R", "-f", path], ""));
    assert_eq!(code, Some(2), "{words}");
    assert!(words.starts_with("error: failed to read `") && words.contains("File name too long"), "{words}");
    assert!(out.contains("DaemonSet logging/a") && out.contains("DaemonSet logging/b"), "{out}");
}

/// Fills a folder with entries that are named like files of YAML and cannot be read, and a good file named `.yaml`.
fn folder_of_odd_entries(good: &str) -> tempfile::TempDir {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("nowhere", at("dangling.yaml")).unwrap();
    symlink("loop.yml", at("loop.yml")).unwrap();
    symlink(".", at("folder.json")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.yaml")).status().unwrap().success());
    std::fs::create_dir(at("real-folder.yaml")).unwrap();
    symlink("nowhere", at("dangling.txt")).unwrap();
    std::fs::write(at(".yaml"), good).unwrap();
    folder
}

#[test]
fn entries_that_are_no_files_are_errors() {
    let folder = folder_of_odd_entries(&manifest("a", NAMESPACED, ""));
    let path = folder.path().to_str().unwrap();
    for options in [&["review", "-f", path][..], &["review", "-R", "-f", path]] {
        let (code, out, words) = outcome(&support::wardset(options, ""));
        assert_eq!(code, Some(2));
        assert!(out.starts_with("DaemonSet logging/a") && out.contains("allowed"), "{out}");
        for expected in [
            format!("failed to read `{path}/dangling.yaml`: No such file"),
            format!("failed to read `{path}/loop.yml`: Too many levels"),
            format!("expected a file, found a link to a folder at `{path}/folder.json`"),
            format!("expected a file, found a pipe, socket or device at `{path}/pipe.yaml`"),
        ] {
            assert!(words.contains(&expected), "{expected}\n{words}");
        }
        assert_eq!(words.lines().count(), 4, "{words}");
    }
}

#[test]
fn entries_of_a_policy_folder_that_are_no_files_are_errors() {
    let policy = support::policy("p", "default-labels", &json!({"labels": {"a": "b"}}), "");
    let folder = folder_of_odd_entries(&policy);
    let path = folder.path().to_str().unwrap();
    let run = || review(&["--policies", path, "-o", "patch"], manifest("a", NAMESPACED, ""));
    for (entry, expected) in [
        ("dangling.yaml", "failed to read"),
        ("folder.json", "expected a file, found a link to a folder"),
        ("loop.yml", "failed to read"),
        ("pipe.yaml", "expected a file, found a pipe, socket or device"),
    ] {
        let (code, _, words) = run();
        assert_eq!(code, Some(2));
        assert!(words.contains(expected) && words.contains(entry), "{words}");
        std::fs::remove_file(folder.path().join(entry)).unwrap();
    }
    let (code, out, words) = run();
    assert_eq!(code, Some(0), "{words}");
    assert!(out.contains("/metadata/labels"), "{out}");
}

#[test]
fn numbers_are_printed_with_the_digits_that_go_writes() {
    let seconds = |written: &str| {
        format!(
            "      tolerations: [{{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: {written}}}]\n"
        )
    };
    for (written, sent) in [
        ("3.652101413983158e+17", "365210141398315800"),
        ("99999999999999999999", "100000000000000000000"),
        ("1e22", "1e+22"),
    ] {
        // A policy that reads tolerations would refuse these numbers.
        let input = manifest("a", "  namespace: kube-system\n", &seconds(written));
        for output in ["json", "yaml"] {
            let (code, out, words) = review(&["-o", output], &input);
            assert_eq!(code, Some(0), "{words}");
            let written =
                if output == "json" { format!("\"tolerationSeconds\":{sent}}}") } else { written.to_owned() };
            assert!(out.contains(&written), "{output} {out}");
        }
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", input.replace('\n', "\n  "));
        assert!(review(&["-o", "json"], list).1.contains(&format!("\"tolerationSeconds\":{sent}}}")));
    }
}

#[test]
fn a_contained_panic_of_the_parser_prints_no_trace() {
    let good = manifest("a", NAMESPACED, "");
    let (code, out, words) = review_folder(&[("a.yaml", "a: [!x, 1]\n"), ("b.yaml", &good)], &[]);
    assert_eq!(code, Some(2));
    assert!(out.starts_with("DaemonSet logging/a"), "{out}");
    assert!(words.contains("put a blank between a tag and a comma"), "{words}");
    assert!(!words.contains("panicked") && words.lines().count() == 1, "{words}");
}

#[test]
fn control_characters_of_file_names_do_not_reach_the_terminal() {
    let name = "a\u{1b}[2J\r\u{9b}31m\n.yaml";
    let good = manifest("a", NAMESPACED, "");
    let two = format!("{good}---\n{}", manifest("b", NAMESPACED, ""));
    let old = "apiVersion: extensions/v1beta1\nkind: DaemonSet\nmetadata: {name: old}\n";
    for text in [&*good, &*two, old, "a: [\n", "kind: DaemonSet\napiVersion: apps/v1\n"] {
        for output in ["text", "yaml", "patch"] {
            let (_, out, words) = review_folder(&[(name, text)], &["-o", output]);
            let is_bad = |c: char| c.is_control() && c != '\n';
            assert!(!out.contains(is_bad) && !words.contains(is_bad), "{text}{out:?}{words:?}");
            assert!(!out.contains("m\n.yaml") && !words.contains("m\n.yaml"), "{out:?}{words:?}");
        }
    }
    // Programs get the name as it is.
    let (_, out, _) = review_folder(&[(name, &good)], &["-o", "json"]);
    assert!(serde_json::from_str::<Value>(&out).unwrap()["file"].as_str().unwrap().ends_with(name), "{out}");
}

#[test]
fn only_apps_v1_is_the_group_and_version_of_daemonsets() {
    for version in ["apps/v1beta2", "apps/v1beta1", "extensions/v1beta1"] {
        let old = manifest("a", NAMESPACED, "").replace("apps/v1", version);
        let (code, out, words) = review(&[], &old);
        assert_eq!((code, &*out), (Some(0), ""), "{words}");
        let expected =
            format!("{version}/DaemonSet `a`: Kubernetes 1.16 removed it; hint: write `apiVersion: apps/v1`");
        assert!(words.contains(&expected), "{words}");
    }
    for version in ["apps/v2", "v1", "apps.kruise.io/v1alpha1"] {
        let (_, out, words) = review(&[], manifest("a", NAMESPACED, "").replace("apps/v1", version));
        assert_eq!(out, "");
        assert!(words.contains("only apps/v1 DaemonSets are reviewed"), "{words}");
    }
    // Nor is such an object the stored one.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.yaml");
    std::fs::write(&file, manifest("a", NAMESPACED, "").replace("apps/v1", "apps.kruise.io/v1alpha1"))
        .unwrap();
    let (_, out, _) = review(&["--old", file.to_str().unwrap()], manifest("a", NAMESPACED, ""));
    assert!(out.starts_with("DaemonSet logging/a  CREATE"), "{out}");
}

#[test]
fn an_overflowing_number_of_a_json_file_is_an_error() {
    let daemonset: Value = wardset::yaml::documents(&manifest("a", NAMESPACED, "")).unwrap().remove(0);
    let text = daemonset.to_string().replace("\"spec\":{", "\"spec\":{\"minReadySeconds\":1e400,");
    let (code, out, words) = review(&[], text);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(words.contains("number too large for a 64-bit float"), "{words}");
}

#[test]
fn another_object_in_the_place_of_a_policy_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let policy = support::policy("p", "default-labels", &json!({"labels": {"a": "b"}}), "");
    for (text, expected) in [
        (manifest("a", NAMESPACED, ""), "expected `kind: Policy`, found `kind: DaemonSet`\n"),
        (
            policy.replace("wardset.dev/v1alpha1", "kyverno.io/v1").replace("module:", "rules:"),
            "expected `apiVersion: wardset.dev/v1alpha1`, found `apiVersion: kyverno.io/v1`\n",
        ),
    ] {
        let file = folder.path().join("p.yaml");
        std::fs::write(&file, &text).unwrap();
        let (code, _, words) = review(&["--policies", file.to_str().unwrap()], manifest("a", NAMESPACED, ""));
        assert_eq!(code, Some(2), "{text}");
        assert!(words.ends_with(expected), "{words}");
    }
}
