//! What the tests have in common: kubectl, namespaces of their own, and waiting for what a cluster does in its own time.

use std::env;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::nodes::{self, Hold};

/// The kubectl of the control plane that `cargo xtask e2e` started.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: OsString,
}

/// What a run of kubectl came to.
#[derive(Debug)]
pub(crate) struct Run {
    /// The command, as one would type it.
    pub(crate) command: String,
    /// Whether it exited with 0.
    pub(crate) success: bool,
    /// Data.
    pub(crate) stdout: String,
    /// Words: warnings of the API server and of webhooks, too.
    pub(crate) stderr: String,
}

impl Kubectl {
    /// # Panics
    /// There is no control plane: a test must not fall back to the cluster that the user works with.
    pub(crate) fn new() -> Self {
        let program = env::var_os("WARDSET_E2E_KUBECTL");
        assert!(
            env::var_os("WARDSET_E2E").is_some() && env::var_os("KUBECONFIG").is_some() && program.is_some(),
            "there is no control plane\nhint: run these tests with `cargo xtask e2e`"
        );
        Self { program: program.unwrap() }
    }

    /// Runs it, whatever comes of it.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with_input(args, "")
    }

    /// Runs it with something on its stdin (`--filename=-`), whatever comes of it.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut child = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It reads all of its input before it says anything; where it doesn't read, its status says why.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Run {
            command: format!("kubectl {}", args.join(" ")),
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Its stdout.
    ///
    /// # Panics
    /// It fails.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout
    }

    /// Its stdout as JSON.
    ///
    /// # Panics
    /// It fails.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output=json"]].concat();
        serde_json::from_str(&self.succeed(&args)).unwrap()
    }
}

impl Run {
    /// # Panics
    /// It failed.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.success, "`{}` failed:\n{}", self.command, self.stderr);
        self
    }

    /// # Panics
    /// It succeeded.
    pub(crate) fn failed(self) -> Self {
        assert!(!self.success, "`{}` succeeded:\n{}{}", self.command, self.stdout, self.stderr);
        self
    }
}

/// A namespace that no other test uses, deleted when it is dropped. Has what a new namespace gets: pods can be made.
#[derive(Debug)]
pub(crate) struct Namespace {
    kubectl: Kubectl,
    name: String,
    folder: TempDir,
    /// What runs in it depends on the nodes.
    _nodes: Rc<Hold>,
}

impl Namespace {
    /// A namespace whose name starts with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        Self::labelled(prefix, &[])
    }

    /// A namespace whose name starts with `prefix`, with these labels (`KEY` or `KEY=VALUE`) from its birth on.
    pub(crate) fn labelled(prefix: &str, labels: &[&str]) -> Self {
        let name = unique(prefix);
        let kubectl = Kubectl::new();
        let pair = |label: &&str| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            (key.to_owned(), json!(value))
        };
        let labels: Map<String, Value> = labels.iter().map(pair).collect();
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        });
        kubectl.run_with_input(&["create", "--filename=-"], &object.to_string()).succeeded();
        let namespace = Self { kubectl, name, folder: tempfile::tempdir().unwrap(), _nodes: nodes::steady() };
        eventually(Duration::from_secs(30), "the namespace has its service account", || {
            let run = namespace.run(&["get", "serviceaccount", "default"]);
            if run.success { Ok(()) } else { Err(run.stderr) }
        });
        namespace
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The path of a file with this text, which is there as long as the namespace is.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `examples/fluentd-ds.yaml` as it is, but for its namespace.
    pub(crate) fn example_file(&self) -> String {
        let text = example_text().replace("namespace: default", &format!("namespace: {}", self.name));
        self.file("fluentd-ds.yaml", &text)
    }

    /// As [`Kubectl::run`], in this namespace.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.kubectl.run(&self.with_name(args))
    }

    /// As [`Kubectl::succeed`], in this namespace.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout
    }

    /// As [`Kubectl::json`], in this namespace.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.kubectl.json(&self.with_name(args))
    }

    /// As [`Kubectl::run_with_input`], in this namespace.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        self.kubectl.run_with_input(&self.with_name(args), input)
    }

    /// Applies an object, which is put into this namespace.
    ///
    /// # Panics
    /// It is refused.
    pub(crate) fn apply(&self, object: &Value) -> Run {
        self.try_apply(object).succeeded()
    }

    /// Applies an object, which is put into this namespace, and returns the words of the refusal.
    ///
    /// # Panics
    /// It is not refused.
    pub(crate) fn refuse(&self, object: &Value) -> String {
        self.try_apply(object).failed().stderr
    }

    /// Applies an object, which is put into this namespace.
    pub(crate) fn try_apply(&self, object: &Value) -> Run {
        let mut object = object.clone();
        object["metadata"]["namespace"] = self.name().into();
        self.kubectl.run_with_input(&["apply", "--filename=-"], &object.to_string())
    }

    fn with_name<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&["--namespace", self.name()], args].concat()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not waited for, and no second panic while a test fails: the control plane is thrown away anyway.
        let _ = Command::new(&self.kubectl.program)
            .args(["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Tries again until it succeeds, and returns what it succeeded with.
///
/// # Panics
/// It does not succeed within `limit`; the message has what was waited for and what was there last.
pub(crate) fn eventually<T, Last: Debug>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, Last>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(last) => assert!(
                start.elapsed() < limit,
                "{what}: not within {} s; last there was {last:#?}",
                limit.as_secs()
            ),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// A name that nothing else in the cluster has. Names sort as they were made.
pub(crate) fn unique(prefix: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number:04}", std::process::id())
}

/// `examples/fluentd-ds.yaml`: a DaemonSet that nothing is wrong with.
pub(crate) fn example() -> Value {
    wardset::yaml::documents::<Value>(&example_text()).unwrap().remove(0)
}

fn example_text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fluentd-ds.yaml")).unwrap()
}
