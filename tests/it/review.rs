//! The command line, as people and scripts use it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support;

fn wardset(arguments: &[&str]) -> Output {
    wardset_with(arguments, "")
}

fn wardset_with(arguments: &[&str], input: &str) -> Output {
    support::wardset(arguments, input)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = support::wardset(&["completions", shell], "");
        assert!(script.status.success());
        assert!(String::from_utf8(script.stdout).unwrap().contains("inspect"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = support::wardset(&["man", folder.path().to_str().unwrap()], "");
    assert!(pages.status.success());
    let page = std::fs::read_to_string(folder.path().join("wardset-policy-test.1")).unwrap();
    assert!(page.contains("Run only the cases"), "{page}");
    let missing = support::wardset(&["man", "no/such/folder"], "");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("into `no/such/folder`"));
}

#[test]
fn help_matches_the_golden_files() {
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help-place", &["place", "--help"]),
        ("help-review", &["review", "--help"]),
        ("help-serve", &["serve", "--help"]),
        ("help-policies", &["policies", "--help"]),
        ("help-policy", &["policy", "--help"]),
        ("help-policy-bench", &["policy", "bench", "--help"]),
        ("help-policy-build", &["policy", "build", "--help"]),
        ("help-policy-compile", &["policy", "compile", "--help"]),
        ("help-policy-dev", &["policy", "dev", "--help"]),
        ("help-policy-inspect", &["policy", "inspect", "--help"]),
        ("help-policy-new", &["policy", "new", "--help"]),
        ("help-policy-pull", &["policy", "pull", "--help"]),
        ("help-policy-push", &["policy", "push", "--help"]),
        ("help-policy-test", &["policy", "test", "--help"]),
    ] {
        let output = wardset(arguments);
        assert_eq!(output.status.code(), Some(0));
        // The version changes, and so does the folder in which this runs.
        golden(name, &stdout(&output));
    }
    let short = stdout(&wardset(&["review", "-h"]));
    assert!(short.lines().count() <= 40, "-h must fit a screen:\n{short}");
}

#[test]
fn lists_the_active_policies() {
    golden("policies", &stdout(&wardset(&["policies"])));
    let list: Value = serde_json::from_str(&stdout(&wardset(&["policies", "-o", "json"]))).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 5);
    assert_eq!(list[0]["name"], "default-labels");
    assert!(list[0]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(list[0]["settingsSchema"]["type"], "object");
}

#[test]
fn json_output_matches_the_golden_file() {
    let output = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for policy in report["policies"].as_array_mut().unwrap() {
        assert!(policy["duration_us"].is_u64());
        policy["duration_us"] = json!(0);
    }
    golden("review-json", &serde_json::to_string_pretty(&report).unwrap());
    let several = wardset_with(&["review", "-f", "-", "-o", "json"], &two("a", "b"));
    let several: Value = serde_json::from_str(&stdout(&several)).unwrap();
    assert_eq!(several.as_array().unwrap().len(), 2);
    assert_eq!((&several[0]["name"], &several[1]["name"]), (&json!("a"), &json!("b")));
}

#[test]
fn reviewing_yaml_output_again_changes_nothing() {
    let first = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "-o", "yaml"]);
    golden("review-yaml", &stdout(&first));
    let patch = wardset_with(&["review", "-f", "-", "-o", "patch"], &stdout(&first));
    assert_eq!((stdout(&patch).as_str(), patch.status.code()), ("[]\n", Some(0)));
}

#[test]
fn exits_1_and_explains_a_denial() {
    let mut object = support::daemonset();
    object["spec"]["selector"]["matchLabels"]["version"] = json!("1");
    object["spec"]["template"]["metadata"]["labels"]["version"] = json!("1");
    let output = wardset_with(&["review", "-f", "-"], &object.to_string());
    assert_eq!(output.status.code(), Some(1));
    golden("review-denied", &stdout(&output));
    let json = wardset_with(&["review", "-f", "-", "-o", "json"], &object.to_string());
    let report: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(
        (&report["allowed"], &report["code"], &report["patch"]),
        (&json!(false), &json!(403), &json!([]))
    );
    let denial = &report["policies"].as_array().unwrap().last().unwrap()["denials"][0];
    assert_eq!(denial["pointer"], "/spec/selector/matchLabels/version");
    // What is refused is not handed on.
    let yaml = wardset_with(&["review", "-f", "-", "-o", "yaml"], &object.to_string());
    assert_eq!((stdout(&yaml).as_str(), yaml.status.code()), ("", Some(1)));
    assert!(stderr(&yaml).contains("denied (403)"));
}

#[test]
fn reviews_an_update_with_its_old_object() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.json");
    std::fs::write(&old, support::daemonset().to_string()).unwrap();
    let mut new = support::daemonset();
    new["metadata"]["annotations"] = json!({"a": "b"});
    let options = ["--policies", "examples/policies", "--old", old.to_str().unwrap(), "-o", "patch"];
    let output = wardset_with(&[&["review", "-f", "-"], &options[..]].concat(), &new.to_string());
    let patch: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        patch,
        json!([{"op": "add", "path": "/metadata/labels/app.kubernetes.io~1component", "value": "node-agent"}])
    );
    let missing = wardset_with(&["review", "-f", "-", "--operation", "update"], &new.to_string());
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        stderr(&missing)
            .contains("needs the stored object of `default/fluentd-agent`; hint: pass it with `--old FILE`")
    );
}

#[test]
fn reviews_an_admission_review_unchanged() {
    let review = String::from_utf8(support::admission_review(&support::daemonset(), None)).unwrap();
    let output = wardset_with(&["review", "-f", "-", "-o", "json"], &review);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((output.status.code(), &report["allowed"]), (Some(0), &json!(true)));
    assert_eq!(report["patch"].as_array().unwrap().len(), 1);
}

#[test]
fn prints_a_table_for_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..30 {
        std::fs::write(folder.path().join(format!("{n:02}.yaml")), two("a", "b")).unwrap();
    }
    std::fs::create_dir(folder.path().join("below")).unwrap();
    std::fs::write(folder.path().join("below/x.yaml"), two("c", "d")).unwrap();
    let path = folder.path().to_str().unwrap();
    let output = wardset(&["review", "-f", path]);
    assert!(
        stdout(&output).ends_with("60 DaemonSets: 60 allowed (60 changed), 0 denied\n"),
        "{}",
        stdout(&output)
    );
    assert!(!stdout(&output).contains("@@"));
    let output = wardset(&["review", "-R", "-f", path]);
    assert!(stdout(&output).contains("\n62 DaemonSets: "));
}

#[test]
fn takes_namespace_labels_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let by_label = support::policy(
        "p",
        "default-labels",
        &json!({"labels": {"a": "b"}}),
        "  match: {namespaceSelector: {matchLabels: {tier: prod}}}",
    );
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, by_label).unwrap();
    let policies = file.to_str().unwrap();
    let review = |more: &[&str]| {
        wardset(&[&["review", "-f", "examples/fluentd-ds.yaml", "--policies", policies], more].concat())
    };
    let unknown = review(&[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stdout(&unknown).contains("the labels of namespace `default` are not known"),
        "{}",
        stdout(&unknown)
    );
    assert!(stdout(&review(&["--namespace-labels", "tier=prod,x=y"])).contains("with 1 change"));
    assert!(stdout(&review(&["--namespace-labels", "tier=dev"])).contains("no policy applies"));
}

#[test]
fn exits_2_and_says_why_if_it_cannot_run() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let good = "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nspec: {module: builtin:default-labels, settings: {labels: {a: b}}}\n";
    let replace = |from: &str, to: &str| good.replace(from, to);
    for (name, text, expected) in [
        ("unknown.yaml", replace("module:", "modle:"), "unknown field"),
        ("kind.yaml", replace("kind: Policy", "kind: Polcy"), "expected `kind: Policy`, found `kind: Polcy`"),
        (
            "builtin.yaml",
            replace("builtin:default-labels", "builtin:nope"),
            "unknown built-in module `nope`, expected one of `cel`, `default-labels`, `default-tolerations`, `node-affinity`, `placement-guard`, `selector-safety`",
        ),
        ("file.yaml", replace("builtin:default-labels", "file:missing.wasm"), "failed to read the module `"),
        ("settings.yaml", replace("labels: {a: b}", "lables: {a: b}"), "policy `p`: `spec.settings`: "),
        ("twice.yaml", format!("{good}---\n{good}"), "there are two policies named `p`"),
        ("broken.yaml", "a: [".to_owned(), "did not find expected node content"),
        ("empty.yaml", String::new(), "expected at least one document of `kind: Policy`, found none in"),
        (
            "separator.yaml",
            "---\n".to_owned(),
            "expected at least one document of `kind: Policy`, found none in",
        ),
    ] {
        let policies = write(name, &text);
        let output = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "--policies", &policies]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let words = stderr(&output);
        assert!(words.contains(expected), "{name}: {words}");
        assert_eq!(words.matches(expected).count(), 1, "{name} says it twice: {words}");
    }
    std::fs::write(folder.path().join("x.wasm"), "(component)").unwrap();
    let policies = write("x.yaml", &replace("builtin:default-labels", "file:x.wasm"));
    let output = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "--policies", &policies]);
    assert!(
        stderr(&output).contains("expected a binary WebAssembly component, which begins with `\\0asm`"),
        "{}",
        stderr(&output)
    );
    std::fs::write(folder.path().join("x.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let output = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "--policies", &policies]);
    assert!(stderr(&output).contains("expected a component, found a core module"), "{}", stderr(&output));
    for (input, expected) in [
        ("{\"a\":", "failed to parse `standard input`: expected JSON: EOF"),
        ("a: b: c", "failed to parse `standard input`: mapping values are not allowed"),
        ("just text", "expected a Kubernetes object with `apiVersion`, `kind` and `metadata`"),
        (
            "apiVersion: apps/v1\nkind: DaemonSet\n",
            "`metadata` must be a mapping; hint: add `metadata: {name: …}`",
        ),
        ("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {}\n", "`metadata.name` is missing"),
        ("a: 1\na: 2\n", "duplicate"),
    ] {
        let output = wardset_with(&["review", "-f", "-"], input);
        assert_eq!(output.status.code(), Some(2), "{input}");
        assert!(stderr(&output).contains(expected), "{input}: {}", stderr(&output));
    }
    let missing = wardset(&["review", "-f", "no/such/file.yaml"]);
    assert!(
        stderr(&missing).starts_with("error: failed to read `no/such/file.yaml`: "),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn octal_modes_are_read_as_kubectl_reads_them() {
    let manifest = wardset::yaml::to_string(&support::daemonset());
    let volumes = "      volumes: [{name: s, secret: {secretName: s, defaultMode: 0400, items: [{key: k, path: p, mode: 0o644}]}}]\n";
    let output = wardset_with(&["review", "-f", "-", "-o", "json"], &(manifest + volumes));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let secret = &report["object"]["spec"]["template"]["spec"]["volumes"][0]["secret"];
    assert_eq!(
        (&secret["defaultMode"], &secret["items"][0]["mode"]),
        (&json!(0o400), &json!(0o644)),
        "{report}"
    );
}

#[test]
fn walks_a_folder_once_if_it_links_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), support::daemonset().to_string()).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
    let output = wardset(&["review", "-R", "-f", folder.path().to_str().unwrap(), "-o", "patch"]);
    assert_eq!((stdout(&output).lines().count(), output.status.code()), (1, Some(0)));
}

#[test]
fn says_if_old_has_no_object_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.yaml");
    std::fs::write(&old, "{}\n---\napiVersion: apps/v1\nkind: DaemonSet\n---\n".to_owned() + &two("a", "b"))
        .unwrap();
    let output = wardset(&["review", "-f", "examples/fluentd-ds.yaml", "--old", old.to_str().unwrap()]);
    assert!(
        stdout(&output)
            .contains("note: `--old` has no DaemonSet of this namespace and name: reviewed as a create"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn nothing_in_a_manifest_steers_the_terminal() {
    let mut object = support::daemonset();
    object["metadata"]["name"] = json!("x\u{1b}[31m\u{202e}");
    object["spec"]["selector"]["matchLabels"]["version\u{1b}[2J\u{2066}"] = json!("\u{1b}]0;t\u{7}");
    object["metadata"]["annotations"] = json!({"a": "\u{1b}[1m", "b": "\r", "c\u{202e}": "\u{2066}"});
    let output = wardset_with(&["review", "-f", "-"], &object.to_string());
    let special = ['\u{1b}', '\r', '\u{7}', '\u{202e}', '\u{2066}'];
    assert!(!stdout(&output).contains(special), "{:?}", stdout(&output));
    object["spec"]["selector"] = support::daemonset()["spec"]["selector"].clone();
    let output = wardset_with(&["review", "-f", "-"], &object.to_string());
    assert!(stdout(&output).contains("@@") && !stdout(&output).contains(special), "{:?}", stdout(&output));
}

#[test]
fn serve_makes_a_development_certificate_prints_a_line_that_works_and_stops_on_sigterm() {
    use std::io::{BufRead as _, BufReader};

    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_wardset"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("WARDSET_CACHE_DIR", support::cache_folder())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    while !line.trim_start().starts_with("curl ") {
        line.clear();
        assert_ne!(words.read_line(&mut line).unwrap(), 0, "serve ended without a curl line");
    }
    let parts: Vec<&str> = line.split_whitespace().collect();
    let url = *parts.last().unwrap();
    assert_eq!(
        line.trim(),
        format!(
            "curl --cacert certs/dev/ca.pem -H 'Content-Type: application/json' --data @certs/dev/review.json {url}"
        )
    );
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    let answer = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = crate::serve::client(&folder.path().join("certs/dev"), |builder| builder);
        let request =
            client.post(url).header("Content-Type", "application/json").body(read("certs/dev/review.json"));
        request.send().await.unwrap().text().await.unwrap()
    });
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (&answer["response"]["allowed"], &answer["response"]["patchType"]),
        (&json!(true), &json!("JSONPatch"))
    );
    assert_eq!(mode(&folder.path().join("certs/dev/tls/tls.key")), 0o600);
    let stopped = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(stopped.success());
    // Read to the end, so that the server can write to the end.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut words, &mut rest).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    assert!(rest.contains("decision=\"allowed\"") && rest.contains("stopped"), "{rest}");
}

/// A request body that never arrives. It reports when the client asks for it, which is after the TLS handshake.
struct Silent(std::sync::mpsc::Sender<()>);

impl http_body::Body for Silent {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        // The test waits for the first report only.
        let _ = self.0.send(());
        std::task::Poll::Pending
    }
}

#[test]
fn a_second_signal_aborts_the_shutdown() {
    use std::io::{BufRead as _, BufReader, Read as _};

    for (first, second, code) in [("TERM", "INT", 130), ("INT", "TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_wardset"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env("WARDSET_CACHE_DIR", support::cache_folder())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(server.stderr.take().unwrap());
        let mut line_with = |part: &str| {
            let mut line = String::new();
            while !line.contains(part) {
                line.clear();
                assert_ne!(words.read_line(&mut line).unwrap(), 0, "serve ended without `{part}`");
            }
            line
        };
        let url = line_with("curl ").split_whitespace().last().unwrap().to_owned();
        // A review that stays open for longer than the drain's first step.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = crate::serve::client(&folder.path().join("certs/dev"), |builder| builder.http1_only());
        let (asked, open) = std::sync::mpsc::channel();
        let body = reqwest::Body::wrap(Silent(asked));
        let review = client.post(url).header("Content-Type", "application/json").body(body);
        let review = runtime.spawn(review.send());
        open.recv().unwrap();
        let send = |signal: &str| {
            let kill = Command::new("kill").args(["-s", signal, &server.id().to_string()]).status();
            assert!(kill.unwrap().success());
        };
        send(first);
        line_with("shutting down");
        send(second);
        let mut rest = String::new();
        words.read_to_string(&mut rest).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(code), "{rest}");
        let line = format!(
            "aborted the shutdown: a second signal arrived; open reviews get no answer signal=\"SIG{second}\""
        );
        assert!(rest.contains(&line) && rest.lines().count() == 1, "{rest}");
        assert!(runtime.block_on(review).unwrap().is_err(), "the open review was answered");
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn two(first: &str, second: &str) -> String {
    let named = |name: &str| {
        let mut object = support::daemonset();
        object["metadata"]["name"] = json!(name);
        object.to_string()
    };
    format!("{}\n---\n{}\n", named(first), named(second))
}

#[test]
fn says_why_no_policy_applies() {
    let manifest =
        std::fs::read_to_string("examples/fluentd-ds.yaml").unwrap().replace("fluentd-agent", "disk-checker");
    let output = wardset_with(&["review", "-f", "-", "--policies", "examples/policies"], &manifest);
    let text = stdout(&output);
    assert!(text.contains("no policy applies\n"), "{text}");
    assert!(text.contains("agent-labels       skipped: the condition `is-an-agent` is false\n"), "{text}");
}
