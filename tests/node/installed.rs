//! Wardset from `deploy/install.yaml`, unchanged. The node has an image with the name in that file.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Kubectl, Run, eventually};

/// The namespace of the tests' own objects.
pub(crate) const NAMESPACE: &str = "node-tests";

/// Limit for anything that the kubelet does, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The manifest that users apply.
const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");

/// The installed Wardset. One test at a time has it, because tests restart its replicas.
pub(crate) struct Installed {
    pub(crate) kubectl: Kubectl,
    _one: MutexGuard<'static, ()>,
}

static ONE: Mutex<()> = Mutex::new(());
static DONE: OnceLock<()> = OnceLock::new();

impl Installed {
    /// Installs Wardset and the default policies, unless an earlier test did.
    pub(crate) fn get() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = Self { kubectl: Kubectl::new(), _one: one };
        DONE.get_or_init(|| {
            installed.install();
            installed.make_namespace();
        });
        installed.answers();
        installed
    }

    /// Installs Wardset and the default policies.
    pub(crate) fn install(&self) {
        let start = std::time::Instant::now();
        self.kubectl.succeed(&["apply", "-f", INSTALL]);
        self.rolled_out();
        eprintln!("3 replicas ready {:.1} s after `kubectl apply`", start.elapsed().as_secs_f64());
        self.apply_policies();
    }

    /// Removes what [`Self::install`] made, with all policies.
    pub(crate) fn remove(&self) {
        self.kubectl.succeed(&["delete", "-f", INSTALL, "--timeout=120s"]);
    }

    /// Applies the default policies while a replica runs, so that each is checked.
    pub(crate) fn apply_policies(&self) {
        self.kubectl.succeed(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/policies.yaml")]);
        self.kubectl.succeed(&[
            "wait",
            "--for=condition=Ready",
            "policies.wardset.dev",
            "--all",
            "--timeout=120s",
        ]);
    }

    fn make_namespace(&self) {
        self.kubectl.succeed(&["create", "namespace", NAMESPACE]);
        eventually(LIMIT, "the namespace has its service account", || {
            let run = self.kubectl.run(&["-n", NAMESPACE, "get", "serviceaccount", "default"]);
            if run.success { Ok(()) } else { Err(run.stderr) }
        });
    }

    /// Waits until the API server reaches a replica. It learns the addresses of ready pods a moment later than `kubectl`.
    pub(crate) fn answers(&self) {
        let mut object = example();
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "no": "node" });
        eventually(LIMIT, "the API server reaches a replica", || {
            let run = self.try_apply(&object, &["--dry-run=server"]);
            if run.success { Ok(()) } else { Err(run.stderr) }
        });
    }

    /// Waits until the Deployment's rollout is complete.
    pub(crate) fn rolled_out(&self) {
        let args = ["-n", "wardset", "rollout", "status", "deployment/wardset", "--timeout=180s"];
        let run = self.kubectl.run(&args);
        assert!(run.success, "{}{}", run.stderr, self.why());
    }

    /// Returns the pods of replicas that are not being deleted, sorted by name.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let selector = "--selector=app.kubernetes.io/component=webhook";
        let mut list = self.kubectl.json(&["-n", "wardset", "get", "pods", selector]);
        let mut pods = std::mem::take(list["items"].as_array_mut().unwrap());
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// Waits until exactly three replicas exist, all ready and none of them in `old`. Returns them.
    pub(crate) fn three_ready(&self, old: &BTreeSet<String>) -> Vec<Value> {
        eventually(LIMIT, "three replicas are ready", || {
            let pods = self.pods();
            let fresh = pods.iter().all(|pod| !old.contains(name(pod)));
            if pods.len() == 3 && fresh && pods.iter().all(ready) { Ok(pods) } else { Err(statuses(&pods)) }
        })
    }

    /// Applies an object in the tests' namespace.
    pub(crate) fn try_apply(&self, object: &Value, args: &[&str]) -> Run {
        let mut object = object.clone();
        object["metadata"]["namespace"] = NAMESPACE.into();
        let args = [&["apply", "--filename=-"], args].concat();
        self.kubectl.run_with_input(&args, &object.to_string())
    }

    /// Returns the Secret with the server's certificate.
    pub(crate) fn secret(&self) -> Value {
        self.kubectl.json(&["-n", "wardset", "get", "secret", "wardset-certificates"])
    }

    /// Returns the reasons why pods don't start.
    fn why(&self) -> String {
        let events = self.kubectl.run(&["-n", "wardset", "get", "events", "--sort-by=.lastTimestamp"]);
        let logs = ["-n", "wardset", "logs", "deployment/wardset", "--tail=20"];
        format!(
            "\nstatuses: {:#?}\nevents:\n{}\nlog:\n{}",
            statuses(&self.pods()),
            events.stdout,
            self.kubectl.run(&logs).stdout
        )
    }
}

/// Returns the name of an object.
pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Returns the names of objects.
pub(crate) fn names(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| name(object).to_owned()).collect()
}

/// Whether all containers of a pod are ready.
pub(crate) fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn statuses(pods: &[Value]) -> Vec<Value> {
    pods.iter()
        .map(|pod| json!([pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["state"]]))
        .collect()
}

/// Returns `examples/fluentd-ds.yaml`. The node runs another program under its image's name.
pub(crate) fn example() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fluentd-ds.yaml");
    wardset::yaml::documents::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap().remove(0)
}
