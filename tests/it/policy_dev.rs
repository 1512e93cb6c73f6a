//! `wardset policy dev`: a project that is built, tested and served again after each save.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{serve, support};

/// The part of the command that prints the patch.
const DECODE: &str = r#"sed -n 's/.*"patch":"\([^"]*\)".*/\1/p' | base64 -d"#;

/// A project in a folder, and the command that serves it.
struct Dev {
    folder: TempDir,
    child: Child,
    lines: BufReader<ChildStdout>,
    /// The address of the webhook.
    url: String,
    /// The output before the address.
    first: String,
}

impl Dev {
    /// Starts the command on the project `a` in `folder`, with these programs.
    fn start(folder: TempDir, path: Option<&str>) -> Self {
        let mut command = command(folder.path(), &["policy", "dev", "a"]);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut dev = Self { folder, child, lines, url: String::new(), first: String::new() };
        dev.first = dev.until("  curl ");
        let line = dev.first.lines().last().unwrap().strip_suffix(" |").unwrap();
        dev.url = line.split_whitespace().last().unwrap().to_owned();
        let expected = format!(
            "  curl -s --cacert a/.wardset/ca.pem -H 'Content-Type: application/json' --data @a/.wardset/review.json {}",
            dev.url
        );
        assert_eq!(line, expected);
        assert_eq!(dev.until("    sed ").trim(), DECODE);
        dev.until("waiting for changes");
        dev
    }

    /// Returns the output up to the next line that begins with `part`.
    fn until(&mut self, part: &str) -> String {
        let mut block = String::new();
        loop {
            let start = block.len();
            assert_ne!(self.lines.read_line(&mut block).unwrap(), 0, "ended without `{part}`: {block}");
            if block[start..].starts_with(part) {
                return block;
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("a").join(name)
    }

    /// Saves a file, and returns the block that follows.
    fn save(&mut self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.until("waiting for changes")
    }

    /// Sends the review that the `curl` line names. Returns the status, and the patch as text.
    fn review(&self) -> (u16, String) {
        let (status, text) = self.answer();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let patch = answer["response"]["patch"].as_str().unwrap_or_default();
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        (status, String::from_utf8(patch).unwrap())
    }

    /// Sends the review. Returns the status and the answer.
    fn answer(&self) -> (u16, String) {
        let body = fs::read(self.path(".wardset/review.json")).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let client = serve::client(&self.path(".wardset"), |builder| builder);
            let request = client.post(&self.url).header("Content-Type", "application/json").body(body);
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// Sends the review, and returns the answer's patch as the end of the printed command prints it.
    fn decoded(&self) -> String {
        let answer = self.answer().1;
        let mut child = Command::new("sh")
            .args(["-c", DECODE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// Interrupts the command, and asserts that it ends well.
    fn stop(mut self) {
        let kill = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardset"));
    command.args(arguments).current_dir(folder).env("WARDSET_CACHE_DIR", support::cache_folder());
    command.env_remove("WARDSET_LOG");
    command
}

/// Writes the project `a` into a new folder.
fn project(language: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), &["policy", "new", "a", "--lang", language]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    folder
}

/// Asserts that the command fails with exit code 2, and returns its error.
fn error(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, &[&["policy", "dev"][..], arguments].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_save_is_tested_and_served_and_a_mistake_keeps_the_last_good_revision() {
    let mut dev = Dev::start(project("cel"), None);
    let first = &dev.first;
    assert!(first.starts_with("build   not needed: the rules are in the policy file\ntest    "), "{first}");
    assert!(
        first.contains(" cases passed, 0 failed; ") && first.contains("policy  `a` is active\n"),
        "{first}"
    );
    let (status, patch) = dev.review();
    assert_eq!(status, 200);
    assert!(patch.contains("platform"), "{patch}");
    assert_eq!(dev.decoded(), patch);
    let review = ["review", "--policies", "a/policy.yaml", "-f", "a/.wardset/review.json"];
    assert!(first.contains(&format!("  wardset {}\n", review.join(" "))), "{first}");
    let shown = command(dev.folder.path(), &review).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("add /metadata/labels/team") && shown.contains("allowed, with "), "{shown}");

    let good = fs::read_to_string(dev.path("policy.yaml")).unwrap();
    let block = dev.save("policy.yaml", &good.replace("team: platform", "team: storage"));
    // A case expects the former team.
    assert!(block.contains("test    FAILED: ") && block.contains("+   value: storage\n"), "{block}");
    assert!(block.contains("policy  `a` is active\n"), "{block}");
    assert!(dev.review().1.contains("storage"));

    let block = dev.save("policy.yaml", "spec: [");
    assert!(block.contains("policy  FAILED: `a`: failed to parse `a/policy.yaml`"), "{block}");
    assert!(block.contains("; the last good revision stays active\n"), "{block}");
    assert!(!block.contains("test    "), "each case would repeat the problem: {block}");
    assert!(dev.review().1.contains("storage"));

    // The state of the policy has the problem, so the results of the cases do not repeat it.
    let block = dev.save("policy.yaml", &good.replace("'version' in", "'version' im"));
    assert!(block.contains("test    FAILED: 0 of ") && block.contains(" not run)"), "{block}");
    assert!(block.contains("policy  FAILED: `a`: `spec.settings`: `validations[0].expression`: "), "{block}");
    assert_eq!(block.matches("validations[0]").count(), 1, "{block}");

    let block = dev.save("policy.yaml", &good);
    assert!(block.contains("test    ") && !block.contains("FAILED"), "{block}");
    assert!(dev.review().1.contains("platform"));

    let sample = fs::read_to_string(dev.path("daemonset.yaml")).unwrap();
    dev.save("daemonset.yaml", &sample.replace("labels: {app: agent}\nspec", "labels: {team: own}\nspec"));
    let (_, patch) = dev.review();
    assert!(patch.contains("affinity") && !patch.contains("platform"), "{patch}");
    dev.stop();
}

#[test]
fn a_build_that_fails_keeps_the_module_of_the_last_good_one() {
    let folder = project("c");
    let at = |name: &str| folder.path().join("a").join(name);
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/built/default-labels.wasm");
    fs::copy(built, at("a.wasm")).unwrap();
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "a"},
        "spec": {"module": "file:a.wasm", "settings": {"labels": {"team": "one"}}},
    });
    fs::write(at("policy.yaml"), policy.to_string()).unwrap();
    let mut dev = Dev::start(folder, Some("/nowhere"));
    let first = dev.first.clone();
    assert!(
        first.starts_with("build   FAILED: failed to find ") && first.contains("\n        hint: run `"),
        "{first}"
    );
    assert!(!first.contains("test    "), "{first}");
    assert!(first.contains("policy  `a`: the last good build stays active\n"), "{first}");
    assert!(dev.review().1.contains("\"one\""));

    let block = dev.save("policy.yaml", &policy.to_string().replace("\"one\"", "\"two\""));
    assert!(
        block.contains("build   FAILED: ") && block.contains("policy  `a`: the last good build stays active"),
        "{block}"
    );
    assert!(dev.review().1.contains("\"two\""));
    dev.stop();
}

#[test]
fn a_project_without_a_module_is_served_with_its_error() {
    let mut dev = Dev::start(project("c"), Some("/nowhere"));
    let first = dev.first.clone();
    assert!(first.contains("policy  FAILED: `a`: ") && first.contains("a.wasm"), "{first}");
    assert_eq!(dev.review().0, 500);
    let policy = fs::read_to_string(dev.path("policy.yaml")).unwrap();
    dev.save("policy.yaml", &(policy + "  onError: allow\n"));
    assert_eq!(dev.review().0, 200);
    dev.stop();
}

#[test]
fn errors_name_the_folder_and_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let none = error(folder.path(), &[]);
    assert!(none.contains("expected the policy file `policy.yaml`, found none"), "{none}");
    assert!(none.contains("hint: run the command in the folder of a policy"), "{none}");
    let none = error(folder.path(), &["b"]);
    assert!(none.contains("`b/policy.yaml`"), "{none}");
    let folder = project("cel");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = error(folder.path(), &["a", "--port", &port]);
    assert!(busy.contains(&format!("failed to bind `127.0.0.1:{port}`")), "{busy}");
    assert!(!folder.path().join("a/.wardset").exists(), "wrote files before it had the port");
}
