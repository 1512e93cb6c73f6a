//! Wardset installed from `deploy/install.yaml`, as a platform team installs it.
//!
//! KWOK simulates the pods of the cluster, so they cannot answer requests. The server therefore runs beside the
//! cluster. It has the arguments of the Deployment and the permissions of the chart's ServiceAccount, and the chart's
//! Service points to it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::support::{Kubectl, eventually};

/// The label of namespaces that the installed Wardset reviews. It ignores namespaces of other tests.
pub(crate) const LABEL: &str = "e2e.wardset.dev/installed";

/// Allows one install at a time, because every install uses the same names.
static ONE: Mutex<()> = Mutex::new(());

/// Wardset in the cluster. It is uninstalled when it is dropped.
pub(crate) struct Installed {
    pub(crate) kubectl: Kubectl,
    /// The port in the webhook configurations.
    port: u16,
    /// The address under which servers reach the API server.
    pub(crate) proxy: Proxy,
    folder: TempDir,
    args: Vec<String>,
    _one: MutexGuard<'static, ()>,
}

/// A replica.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<Value>,
    pub(crate) admin: SocketAddr,
    pub(crate) webhook: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Installed {
    /// Applies `deploy/install.yaml` without waiting for the server.
    pub(crate) fn apply() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let kubectl = Kubectl::new();
        // A free port. It stays free between servers, because no other process is told about it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut args = Vec::new();
        let manifest = fs::read_to_string(root().join("deploy/install.yaml")).unwrap();
        for mut object in wardset::yaml::documents::<Value>(&manifest).unwrap() {
            match object["kind"].as_str().unwrap() {
                "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                    lead_here(&mut object, port)
                }
                "Service" => object["spec"] = json!({"type": "ExternalName", "externalName": "localhost"}),
                "Deployment" => {
                    let container = &object["spec"]["template"]["spec"]["containers"][0];
                    let typed = container["args"].as_array().unwrap().iter();
                    args = typed
                        .map(|arg| arg.as_str().unwrap().replace("$(POD_NAMESPACE)", "wardset"))
                        .collect();
                }
                _ => {}
            }
            kubectl.run_with_input(&["apply", "--filename=-"], &object.to_string()).succeeded();
        }
        kubectl.succeed(&[
            "wait",
            "--for=condition=Established",
            "crd/policies.wardset.dev",
            "--timeout=30s",
        ]);
        let config = kubectl.json(&["config", "view", "--raw", "--minify"]);
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let proxy = Proxy::to(server.rsplit('/').next().unwrap().parse().unwrap());
        let installed = Self { kubectl, port, proxy, folder: tempfile::tempdir().unwrap(), args, _one: one };
        installed.write_kubeconfig(config);
        installed
    }

    /// Writes a kubeconfig with the permissions of the ServiceAccount and no others.
    fn write_kubeconfig(&self, mut config: Value) {
        let token =
            self.kubectl.succeed(&["create", "token", "wardset", "--namespace=wardset", "--duration=1h"]);
        config["users"][0]["user"] = json!({"token": token.trim()});
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let host = server.trim_start_matches("https://").split(':').next().unwrap().to_owned();
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", self.proxy.address));
        config["clusters"][0]["cluster"]["tls-server-name"] = json!(host);
        fs::write(self.folder.path().join("kubeconfig"), config.to_string()).unwrap();
    }

    /// Starts a replica on the port of the configurations, and waits until it is ready.
    pub(crate) fn serve(&self) -> Server {
        self.start(&format!("127.0.0.1:{}", self.port), &[]).ready()
    }

    /// Starts a replica as [`Self::serve`] does, with further arguments.
    pub(crate) fn serve_with(&self, more: &[&str]) -> Server {
        self.start(&format!("127.0.0.1:{}", self.port), more).ready()
    }

    /// Starts a replica that the configurations do not point to.
    pub(crate) fn serve_beside(&self) -> Server {
        self.start("127.0.0.1:0", &[]).ready()
    }

    /// Starts a replica without waiting until it is ready.
    pub(crate) fn start(&self, listen: &str, more: &[&str]) -> Server {
        let args = self.args.iter().filter(|arg| !arg.starts_with("--cache-dir"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_wardset"))
            .args(args)
            .arg(format!("--cache-dir={}", Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules").display()))
            .args([&format!("--listen={listen}"), "--admin=127.0.0.1:0"])
            .args(more)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    // Fails if the receiver was dropped.
                    let _ = send.send(event);
                }
                kept.lock().unwrap().push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Server { child, lines, admin: nowhere, webhook: nowhere, log }
    }

    /// Labels a namespace, so that the installed Wardset reviews it.
    pub(crate) fn review_namespace(&self, namespace: &str) {
        self.kubectl.succeed(&["label", "namespace", namespace, &format!("{LABEL}=true")]);
    }

    pub(crate) fn apply_policy(&self, policy: &Value) -> crate::support::Run {
        self.kubectl.run_with_input(&["apply", "--filename=-"], &policy.to_string())
    }

    /// Waits until the status of a policy has this condition.
    pub(crate) fn policy_is(&self, name: &str, ready: &str, reason: &str) -> Value {
        eventually(Duration::from_secs(30), &format!("policy {name} is {ready} ({reason})"), || {
            let policy = self.kubectl.json(&["get", "policies.wardset.dev", name]);
            let condition = policy["status"]["conditions"][0].clone();
            let current = policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
            if current && condition["status"] == ready && condition["reason"] == reason {
                Ok(policy)
            } else {
                Err(policy["status"].clone())
            }
        })
    }

    /// Returns the CA in each entry of both configurations.
    pub(crate) fn bundles(&self) -> Vec<String> {
        let mut bundles = Vec::new();
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let configuration = self.kubectl.json(&["get", kind, "wardset"]);
            for entry in configuration["webhooks"].as_array().unwrap() {
                bundles.push(entry["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned());
            }
        }
        bundles
    }

    /// Waits until every entry has the same CA, and that CA differs from `before`.
    pub(crate) fn bundles_written(&self, before: &str) -> String {
        eventually(Duration::from_secs(30), "both configurations have the CA", || {
            let bundles = self.bundles();
            let one = bundles[0].clone();
            if !one.is_empty() && one != before && bundles.iter().all(|bundle| *bundle == one) {
                Ok(one)
            } else {
                Err(bundles)
            }
        })
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for object in [
            "mutatingwebhookconfiguration/wardset",
            "validatingwebhookconfiguration/wardset",
            "crd/policies.wardset.dev",
            "namespace/wardset",
        ] {
            let deleted = self.kubectl.run(&["delete", object, "--ignore-not-found", "--timeout=60s"]);
            if !deleted.success {
                eprintln!("{}: {}", deleted.command, deleted.stderr);
            }
        }
    }
}

impl Server {
    /// Waits until the log says that the server is ready.
    pub(crate) fn ready(mut self) -> Self {
        let event = self.says("ready", Duration::from_secs(60));
        let address = |name: &str| event[name].as_str().unwrap().parse().unwrap();
        self.webhook = address("webhook");
        self.admin = address("admin");
        self
    }

    /// Waits for a log line with this message.
    pub(crate) fn says(&mut self, message: &str, limit: Duration) -> Value {
        let end = std::time::Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(event) if event["message"] == message => return event,
                Ok(_) => {}
                Err(_) => panic!("the server did not log `{message}`:\n{}", self.log()),
            }
        }
    }

    /// Returns the complete log.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the value of a sample of `/metrics`. The name includes the labels.
    pub(crate) fn metric(&self, sample: &str) -> Option<f64> {
        let text = get(self.admin, "/metrics").1;
        let line =
            text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        self.child.wait().unwrap().code()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Returns the status and body of a plain GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn lead_here(configuration: &mut Value, port: u16) {
    for entry in configuration["webhooks"].as_array_mut().unwrap() {
        entry["clientConfig"]["service"]["port"] = json!(port);
        // A `Policy` has no namespace, so its entry has no selector.
        if let Some(selector) = entry.get_mut("namespaceSelector") {
            let expressions = selector["matchExpressions"].as_array_mut().unwrap();
            expressions.push(json!({"key": LABEL, "operator": "Exists"}));
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
