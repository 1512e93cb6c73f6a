//! Shared helpers: one namespace per test, and kubectl.

use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use wardset_placement::KubernetesVersion;

pub(crate) use crate::kubectl::{Kubectl, Run, eventually};
use crate::nodes::{self, Hold};

/// A namespace for one test, in which pods can be created. It is deleted on drop.
#[derive(Debug)]
pub(crate) struct Namespace {
    kubectl: Kubectl,
    name: String,
    folder: TempDir,
    /// Pods in the namespace depend on the nodes.
    _nodes: Rc<Hold>,
}

impl Namespace {
    /// Creates a namespace whose name starts with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        Self::labelled(prefix, &[])
    }

    /// Creates a namespace whose name starts with `prefix`. It has these labels (`KEY` or `KEY=VALUE`) from the start.
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

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes a file with this text, and returns its path. The file exists as long as the namespace value.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes `examples/fluentd-ds.yaml` with this namespace to a file, and returns its path.
    pub(crate) fn example_file(&self) -> String {
        let text = example_text().replace("namespace: default", &format!("namespace: {}", self.name));
        self.file("fluentd-ds.yaml", &text)
    }

    /// Calls [`Kubectl::run`] in this namespace.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.kubectl.run(&self.with_name(args))
    }

    /// Calls [`Kubectl::succeed`] in this namespace.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        self.run(args).succeeded().stdout
    }

    /// Calls [`Kubectl::json`] in this namespace.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.kubectl.json(&self.with_name(args))
    }

    /// Calls [`Kubectl::run_with_input`] in this namespace.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        self.kubectl.run_with_input(&self.with_name(args), input)
    }

    /// Applies an object in this namespace.
    ///
    /// # Panics
    /// Panics if it is refused.
    pub(crate) fn apply(&self, object: &Value) -> Run {
        self.try_apply(object).succeeded()
    }

    /// Applies an object in this namespace, and returns the message of the refusal.
    ///
    /// # Panics
    /// Panics if it is not refused.
    pub(crate) fn refuse(&self, object: &Value) -> String {
        self.try_apply(object).failed().stderr
    }

    /// Applies an object in this namespace, and returns failures too.
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
        // Does not wait, because the control plane is thrown away. Does not panic, because the test may be failing
        // already.
        let _ = Command::new(&self.kubectl.program)
            .args(["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Returns the minor version of the API server. Its rules place pods.
pub(crate) fn kubernetes() -> KubernetesVersion {
    let version = Kubectl::new().json(&["version"]);
    version["serverVersion"]["gitVersion"].as_str().unwrap().parse().unwrap()
}

/// Returns a name that is unique in the cluster. Names sort in the order of their creation.
pub(crate) fn unique(prefix: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number:04}", std::process::id())
}

/// Returns `examples/fluentd-ds.yaml`, a DaemonSet without problems.
pub(crate) fn example() -> Value {
    wardset::yaml::documents::<Value>(&example_text()).unwrap().remove(0)
}

fn example_text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fluentd-ds.yaml")).unwrap()
}
