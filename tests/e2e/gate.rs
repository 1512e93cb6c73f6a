//! Wardset in front of the API server, for the namespaces of one test. The real program runs with its own certificate,
//! and is registered as in `deploy/install.yaml`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use wardset::certificates::development;

use crate::registration::{Entries, PROBE, Registration, shipped};
use crate::support::{Namespace, eventually};

/// A running and registered Wardset. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    label: String,
    // Fields drop in this order, so that the API server never calls a stopped server.
    _registration: Registration,
    server: Mutex<Server>,
    folder: TempDir,
    log: Log,
}

/// The options of a gate.
pub(crate) struct Setup {
    /// The names and contents of the files in the policy folder.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The label that separates this gate's objects from those of other tests.
    pub(crate) isolation: Isolation,
}

/// The kind of label that separates a gate's objects from those of other tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A label of the namespace. The objects look as in any cluster; the entry for kube-system is left out.
    Namespaces,
    /// A label of each DaemonSet. The namespaces look as in any cluster.
    Objects,
}

/// One decision from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    /// `mutate` or `validate`.
    pub(crate) webhook: String,
    /// `create` or `update`.
    pub(crate) operation: String,
    /// The object's name. It is empty if the API server has yet to generate it.
    pub(crate) name: String,
    /// The user who made the request.
    pub(crate) user: String,
    /// Whether the request was a dry run.
    pub(crate) dry_run: bool,
    /// `allowed`, `denied` or `failed`.
    pub(crate) decision: String,
    /// `name=verdict` pairs, separated by commas.
    pub(crate) policies: String,
    /// JSON pointers, separated by commas.
    pub(crate) patch: String,
}

type Log = Arc<Mutex<Vec<Value>>>;

impl Default for Setup {
    fn default() -> Self {
        Self { files: workers_only(), isolation: Isolation::Namespaces }
    }
}

impl Gate {
    /// Returns a gate with the default policies and `workers-only` enforced. Tests that run at the same time share it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Gate>> = Mutex::new(Weak::new());
        // Other tests wait here during the start. If a test panics here, the state is still consistent.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let gate = Arc::new(Self::start(Setup::default()));
            *shared = Arc::downgrade(&gate);
            gate
        })
    }

    /// Starts a gate for one test alone.
    pub(crate) fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        development::make(folder.path()).unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        for (name, contents) in &setup.files {
            std::fs::write(policies.join(name), contents).unwrap();
        }
        let log = Log::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(folder.path(), any, any, &log);
        let name = Registration::name();
        let label = Registration::label(&name);
        let entries = setup.isolation.isolate(shipped(), &label);
        let registration = Registration::create(
            name,
            entries,
            server.webhook.port(),
            &folder.path().join("ca.pem"),
            |kind| {
                let lines = log.lock().unwrap();
                lines.iter().any(|line| line["name"] == PROBE && line["webhook"] == kind.path()[1..])
            },
        );
        Self { label, folder, server: Mutex::new(server), log, _registration: registration }
    }

    /// Creates a namespace whose DaemonSets the gate reviews.
    pub(crate) fn namespace(&self, prefix: &str) -> Namespace {
        Namespace::labelled(prefix, &[&self.label])
    }

    /// Returns the label, of namespaces or of DaemonSets, that makes the API server call the gate.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Returns the folder of its policies.
    pub(crate) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// Kills the server without a shutdown, as if its node were lost.
    pub(crate) fn kill(&self) {
        self.server.lock().unwrap().kill();
    }

    /// Starts the server again, on the same ports.
    pub(crate) fn restart(&self) {
        let mut server = self.server.lock().unwrap();
        server.kill();
        *server = Server::start(self.folder.path(), server.webhook, server.admin, &self.log);
    }

    /// Returns its decisions on DaemonSets of this namespace, in order.
    pub(crate) fn decisions(&self, namespace: &str) -> Vec<Decided> {
        // The server counts and logs a review before it answers, but a log line arrives here with a delay.
        let counted = self.metric("wardset_reviews_total");
        eventually(Duration::from_secs(10), "the log has all reviews", || {
            let lines = self.lines("wardset::decision");
            if lines.len() as u64 >= counted { Ok(()) } else { Err((lines.len(), counted)) }
        });
        let of = |line: &Value| line["namespace"] == namespace && line["name"] != PROBE;
        self.lines("wardset::decision").iter().filter(|line| of(line)).map(Decided::read).collect()
    }

    fn lines(&self, target: &str) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter(|line| line["target"] == target).cloned().collect()
    }

    /// Returns the sum of a metric over all of its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.admin("/metrics");
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<u64>().ok())?
        });
        values.sum()
    }

    fn admin(&self, path: &str) -> String {
        let address = self.server.lock().unwrap().admin;
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer
    }
}

impl Decided {
    fn read(line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        Self {
            webhook: text("webhook"),
            operation: text("operation"),
            name: text("name"),
            user: text("user"),
            dry_run: line["dry_run"] == true,
            decision: text("decision"),
            policies: text("policies"),
            patch: text("patch"),
        }
    }

    /// Returns the fields that most tests compare, on one line.
    pub(crate) fn short(&self) -> String {
        let Self { webhook, operation, decision, patch, .. } = self;
        format!("{webhook} {operation} {decision} {patch}").trim_end().to_owned()
    }
}

impl Isolation {
    fn isolate(self, mut entries: Entries, label: &str) -> Entries {
        if self == Self::Namespaces {
            // The entry for kube-system would never match.
            entries.retain(|(_, entry)| entry["name"] == "daemonsets.wardset.dev");
        }
        for (_, entry) in &mut entries {
            let exists = json!({ "key": label, "operator": "Exists" });
            match self {
                Self::Namespaces => {
                    let expressions = &mut entry["namespaceSelector"]["matchExpressions"];
                    expressions.as_array_mut().unwrap().push(exists);
                }
                Self::Objects => entry["objectSelector"] = json!({ "matchExpressions": [exists] }),
            }
        }
        entries
    }
}

/// Returns the default policies with `workers-only` enforced. The timeout allows for a debug build on a busy machine.
pub(crate) fn workers_only() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/defaults");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().replace("mode: observe", "mode: enforce");
        let text = text.replace("\nspec:\n", "\nspec:\n  limits: {timeout: 2s}\n");
        files.push((path.file_name().unwrap().to_str().unwrap().to_owned(), text.into()));
    }
    files
}

/// The process of the server.
#[derive(Debug)]
struct Server {
    child: Child,
    webhook: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    fn start(folder: &Path, webhook: SocketAddr, admin: SocketAddr, log: &Log) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wardset"))
            .arg("serve")
            .arg("--policies")
            .arg(folder.join("policies"))
            .arg("--tls-dir")
            .arg(folder.join("tls"))
            .arg("--cache-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules"))
            .args(["--listen", &webhook.to_string(), "--admin", &admin.to_string(), "--log-format=json"])
            .env_remove("WARDSET_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let before = log.lock().unwrap().len();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let into = Arc::clone(log);
        // The thread ends with the pipe.
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut server = Self { child, webhook, admin };
        // The first start may compile modules in a debug build, which takes long.
        let ready = eventually(Duration::from_secs(120), "`wardset serve` is ready", || {
            let lines = log.lock().unwrap();
            let ready = lines[before..].iter().find(|line| line["message"] == "ready");
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("`wardset serve` ended ({status}): {:#?}", &lines[before..]);
            }
            ready.cloned().ok_or_else(|| lines[before..].to_vec())
        });
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        server.webhook = address("webhook");
        server.admin = address("admin");
        server
    }

    fn kill(&mut self) {
        // Fails if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
