//! Wardset in front of the API server: the real program, with a certificate of its own, registered as
//! `deploy/install.yaml` registers it, for the namespaces of one test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use wardset::server::development;

use crate::registration::{Entries, PROBE, Registration, shipped};
use crate::support::{Namespace, eventually};

/// Wardset, registered. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    label: String,
    // In the order in which they go: nobody is to be asked who is no more.
    _registration: Registration,
    server: Mutex<Server>,
    folder: TempDir,
    log: Log,
}

/// What it is started with.
pub(crate) struct Setup {
    /// The files of the folder of policies: names and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// By what its own objects are told from those of other tests.
    pub(crate) isolation: Isolation,
}

/// By what a gate's objects are told from those of other tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// By a label of the namespace, so that all in it is as it would be in any cluster. Without the entry for kube-system.
    Namespaces,
    /// By a label of each DaemonSet, so that namespaces are as they are in any cluster.
    Objects,
}

/// One line of the log: a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided {
    /// `mutate` or `validate`.
    pub(crate) webhook: String,
    /// `create` or `update`.
    pub(crate) operation: String,
    /// The object's name, empty where the API server has yet to make it.
    pub(crate) name: String,
    /// Who asked.
    pub(crate) user: String,
    /// Whether nothing was to be stored.
    pub(crate) dry_run: bool,
    /// `allowed`, `denied` or `failed`.
    pub(crate) decision: String,
    /// `name=verdict`, by commas.
    pub(crate) policies: String,
    /// Pointers, by commas.
    pub(crate) patch: String,
}

type Log = Arc<Mutex<Vec<Value>>>;

impl Default for Setup {
    fn default() -> Self {
        Self { files: workers_only(), isolation: Isolation::Namespaces }
    }
}

impl Gate {
    /// The default set with `workers-only` enforced. Tests that run at the same time have the same one.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Gate>> = Mutex::new(Weak::new());
        // Others wait while it starts. Nothing is left half done by a test that failed in here.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let gate = Arc::new(Self::start(Setup::default()));
            *shared = Arc::downgrade(&gate);
            gate
        })
    }

    /// One for this test alone.
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

    /// A namespace whose DaemonSets it reviews.
    pub(crate) fn namespace(&self, prefix: &str) -> Namespace {
        Namespace::labelled(prefix, &[&self.label])
    }

    /// The label by which it is asked: of namespaces, or of DaemonSets.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The folder of its policies.
    pub(crate) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    /// Ends the server as a lost node does, without a word.
    pub(crate) fn kill(&self) {
        self.server.lock().unwrap().kill();
    }

    /// Starts the server again, on the same ports.
    pub(crate) fn restart(&self) {
        let mut server = self.server.lock().unwrap();
        server.kill();
        *server = Server::start(self.folder.path(), server.webhook, server.admin, &self.log);
    }

    /// What it decided on DaemonSets of this namespace, in order.
    pub(crate) fn decisions(&self, namespace: &str) -> Vec<Decided> {
        // A review is counted and logged before it is answered, but a line takes a moment to arrive here.
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

    /// The sum of a metric over all of its labels.
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

    /// In one line what most tests look at.
    pub(crate) fn short(&self) -> String {
        let Self { webhook, operation, decision, patch, .. } = self;
        format!("{webhook} {operation} {decision} {patch}").trim_end().to_owned()
    }
}

impl Isolation {
    fn isolate(self, mut entries: Entries, label: &str) -> Entries {
        if self == Self::Namespaces {
            // The one for kube-system would never match.
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

/// The default set, with `workers-only` enforced, and with time for a debug build on a machine that does much else.
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

/// The process.
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
        // It ends with the pipe.
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut server = Self { child, webhook, admin };
        // The first one may have to compile its modules, in a debug build.
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
        // Fails where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
