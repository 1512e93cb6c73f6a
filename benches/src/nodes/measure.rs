//! The measurement: servers of a cluster without nodes, then servers of the same cluster with many.
#![expect(clippy::print_stderr, reason = "progress is for the person who runs the benchmark")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::fleet;
use crate::admission::api_server::ApiServer;
use crate::cores::{Cores, peak_resident, pin, resident};
use crate::load::{Connection, Target, histogram, nanoseconds};
use crate::report::Figure;
use crate::reviews::{Size, review};
use crate::server::{Lab, Server};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Nodes of the large cluster.
    pub nodes: usize,
    /// Servers that are started without nodes, and with them.
    pub starts: usize,
    /// Reviews of each kind.
    pub reviews: usize,
}

impl Plan {
    /// `quick`: fewer starts and reviews. The number of nodes stays the same.
    #[must_use]
    pub fn new(nodes: usize, quick: bool) -> Self {
        let (starts, reviews) = if quick { (1, 200) } else { (3, 3000) };
        Self { nodes, starts, reviews }
    }
}

/// The measured reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The create of a DaemonSet that some nodes refuse.
    Create,
    /// An update after which other nodes refuse it: the server computes the nodes before and after.
    Update,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Create, Self::Update];

    /// The word in reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update of the nodes",
        }
    }
}

/// Memory of servers at one moment of their lives, in MiB.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    /// `VmRSS`.
    pub resident: Figure,
    /// `VmHWM`.
    pub peak: Figure,
}

/// All measured values.
#[derive(Debug, Default)]
pub struct Measured {
    /// Memory, by the moment.
    pub memory: BTreeMap<Moment, Memory>,
    /// Nanoseconds of reviews; the flag tells whether they have warnings.
    pub times: BTreeMap<(Kind, bool), Histogram<u64>>,
    /// Bytes of the list of all nodes as JSON.
    pub list_bytes: usize,
    /// Milliseconds from the start of a server until its reviews warn about all nodes.
    pub known_ms: Figure,
    /// The first warning of each kind.
    pub warnings: BTreeMap<Kind, String>,
}

/// A moment in the life of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Moment {
    /// Without nodes: the server is ready.
    EmptyStarted,
    /// Without nodes: the server has given all reviews.
    EmptyUsed,
    /// The server was started without nodes, and then all nodes were created.
    Grown,
    /// The server was started with all nodes, and knows them.
    Listed,
    /// The same server has given all reviews.
    ListedUsed,
}

impl Moment {
    /// The words in reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::EmptyStarted => "no nodes, ready",
            Self::EmptyUsed => "no nodes, after the reviews",
            Self::Grown => "all nodes, created one by one while it ran",
            Self::Listed => "all nodes, after the first list",
            Self::ListedUsed => "all nodes, after the reviews",
        }
    }
}

/// The bench.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Programs and certificates.
    pub lab: &'a Lab,
    /// The cluster's kubeconfig.
    pub kubeconfig: &'a Path,
    /// The cores of the server and of the load.
    pub cores: Cores,
    /// The extent.
    pub plan: Plan,
}

impl Bench<'_> {
    /// Measures all. The API server has no nodes and no resource `policies` yet.
    ///
    /// # Errors
    ///
    /// A program fails, or a review has another answer than expected.
    pub async fn run(&self, api: &Arc<ApiServer>) -> Result<Measured> {
        let mut measured = Measured::default();
        let policies = self.policies()?;
        define_policies(api).await?;
        for namespace in [WITH, WITHOUT] {
            let object =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            api.create("/api/v1/namespaces", &object).await?;
        }
        // The first server compiles the modules.
        drop(self.start(&policies)?);
        eprintln!("measuring without nodes");
        let mut last = None;
        for _ in 0..self.plan.starts {
            drop(last.take());
            let server = self.start(&policies)?;
            let mut reviews = self.connect(&server).await?;
            // Its list has no nodes, and nothing shows that it has arrived.
            tokio::time::sleep(SETTLE).await;
            measured.weigh(Moment::EmptyStarted, &server)?;
            reviews.send_all(self.plan.reviews, None).await?;
            measured.weigh(Moment::EmptyUsed, &server)?;
            last = Some((server, reviews));
        }
        eprintln!("creating {} nodes", self.plan.nodes);
        let start = Instant::now();
        create_nodes(api, self.plan.nodes).await?;
        eprintln!("created them in {:.0} s", start.elapsed().as_secs_f64());
        measured.list_bytes = api.read("/api/v1/nodes").await?.to_string().len();
        if let Some((server, mut reviews)) = last.take() {
            reviews.until_known(self.plan.nodes).await?;
            measured.weigh(Moment::Grown, &server)?;
        }
        eprintln!("measuring with {} nodes", self.plan.nodes);
        for _ in 0..self.plan.starts {
            let start = Instant::now();
            let server = self.start(&policies)?;
            let mut reviews = self.connect(&server).await?;
            reviews.until_known(self.plan.nodes).await?;
            measured.known_ms.push(start.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(SETTLE).await;
            measured.weigh(Moment::Listed, &server)?;
            reviews.send_all(self.plan.reviews, Some(&mut measured)).await?;
            measured.weigh(Moment::ListedUsed, &server)?;
        }
        Ok(measured)
    }

    fn policies(&self) -> Result<PathBuf> {
        let policy = |name: &str, other: &str, warns: bool| {
            format!(
                "---\napiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  \
                 module: builtin:node-affinity\n  settings: {{excludeVirtualNodes: true}}\n  \
                 match: {{excludeNamespaces: [{other}]}}\n  warnPlacement: {warns}\n"
            )
        };
        let path = self.lab.path("nodes.yaml");
        fs::write(&path, policy(WITH, WITHOUT, true) + &policy(WITHOUT, WITH, false))
            .with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }

    fn start(&self, policies: &Path) -> Result<Server> {
        let mut command = self.lab.cluster(&self.lab.path("cache"))?;
        command.arg("--policies").arg(policies).env("KUBECONFIG", self.kubeconfig);
        // As in the chart.
        command.env("MIMALLOC_PURGE_DELAY", "0");
        pin(self.cores.server)?;
        let server = Server::start(command);
        pin(self.cores.load)?;
        server
    }

    async fn connect(&self, server: &Server) -> Result<Reviews> {
        let connection = Target::new(server.webhook, &self.lab.ca()?)?.connect().await?;
        Ok(Reviews { connection, answers: BTreeMap::new() })
    }
}

impl Measured {
    fn weigh(&mut self, moment: Moment, server: &Server) -> Result<()> {
        let memory = self.memory.entry(moment).or_default();
        memory.resident.push(mebibytes(resident(server.process())?));
        memory.peak.push(mebibytes(peak_resident(server.process())?));
        Ok(())
    }
}

/// One connection for all kinds of reviews.
struct Reviews {
    connection: Connection,
    /// The first answer of each kind, which all later ones equal.
    answers: BTreeMap<(Kind, bool), Bytes>,
}

impl Reviews {
    /// Repeats a review until its warning counts all nodes.
    async fn until_known(&mut self, nodes: usize) -> Result<()> {
        let start = Instant::now();
        let body = body(Kind::Create, true)?;
        loop {
            let answer = self.send(&body).await?;
            if warnings(&answer)?.iter().any(|warning| warning.contains(&format!(" of {nodes} nodes"))) {
                self.answers.clear();
                return Ok(());
            }
            ensure!(start.elapsed() < KNOWN, "no warning about {nodes} nodes after {KNOWN:?}: {answer:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends `number` reviews of each kind, in turn, so that a busy machine affects all alike.
    async fn send_all(&mut self, number: usize, mut measured: Option<&mut Measured>) -> Result<()> {
        let mut kinds = Vec::new();
        for kind in Kind::ALL {
            for warns in [false, true] {
                kinds.push(((kind, warns), body(kind, warns)?));
            }
        }
        for (key, body) in &kinds {
            let answer = self.send(body).await?;
            let warned = warnings(&answer)?;
            let is_expected = measured.is_none() || warned.is_empty() != key.1;
            ensure!(is_expected, "{} with warnings {}: {answer:?}", key.0.label(), key.1);
            if let (Some(measured), Some(first)) = (&mut measured, warned.first()) {
                measured.warnings.entry(key.0).or_insert_with(|| first.clone());
            }
            self.answers.insert(*key, answer);
        }
        for round in 0..number {
            // Each kind comes first in some rounds.
            for turn in 0..kinds.len() {
                let (key, body) = &kinds[(round + turn) % kinds.len()];
                let sent = Instant::now();
                let answer = self.send(body).await?;
                let took = sent.elapsed();
                if self.answers.get(key) != Some(&answer) {
                    bail!("another answer than before: {answer:?}");
                }
                if let Some(measured) = &mut measured {
                    let times = match measured.times.entry(*key) {
                        std::collections::btree_map::Entry::Occupied(times) => times.into_mut(),
                        std::collections::btree_map::Entry::Vacant(place) => place.insert(histogram()?),
                    };
                    times.saturating_record(nanoseconds(took));
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, body: &Bytes) -> Result<Bytes> {
        let (status, answer) = self.connection.post("/mutate?timeout=10s", body).await?;
        ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }
}

/// Returns the review of a kind, in the namespace with warnings or in the one without.
fn body(kind: Kind, warns: bool) -> Result<Bytes> {
    let mut review: Value = serde_json::from_slice(&review(Size::Usual))?;
    let request = &mut review["request"];
    let namespace = if warns { WITH } else { WITHOUT };
    request["namespace"] = namespace.into();
    request["object"]["metadata"]["namespace"] = namespace.into();
    if kind == Kind::Update {
        request["operation"] = "UPDATE".into();
        let mut old = request["object"].clone();
        old["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/arch": "arm64" });
        request["oldObject"] = old;
    }
    Ok(review.to_string().into())
}

fn warnings(answer: &Bytes) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer)?;
    ensure!(answer["response"]["allowed"] == true, "a review is not allowed: {answer}");
    let warnings = answer["response"]["warnings"].as_array().into_iter().flatten();
    Ok(warnings.filter_map(|warning| warning.as_str().map(str::to_owned)).collect())
}

/// Creates the resource `policies`, without which a server of a cluster does not become ready.
async fn define_policies(api: &ApiServer) -> Result<()> {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    api.create(definitions, &wardset::crd::definition()).await?;
    let start = Instant::now();
    while let Err(error) = api.read("/apis/wardset.dev/v1alpha1/policies").await {
        if start.elapsed() > KNOWN {
            return Err(error.context("the API server does not serve the resource `policies`"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Creates the nodes, and removes the taint that the API server adds to each, as a controller does for a ready node.
async fn create_nodes(api: &Arc<ApiServer>, number: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (api, next) = (Arc::clone(api), Arc::clone(&next));
        clients.spawn(async move {
            let mut connection = api.target.connect().await?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= number {
                    return anyhow::Ok(());
                }
                let body = Bytes::from(fleet::node(n).to_string());
                let (status, answer) = connection.send(Method::POST, NODES, &body).await?;
                let mut node = stored(status, StatusCode::CREATED, &answer)?;
                node["spec"]["taints"] = fleet::taints_of(n);
                let path = format!("{NODES}/{}", node["metadata"]["name"].as_str().unwrap_or_default());
                let body = Bytes::from(node.to_string());
                let (status, answer) = connection.send(Method::PUT, &path, &body).await?;
                stored(status, StatusCode::OK, &answer)?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

fn stored(status: StatusCode, expected: StatusCode, answer: &Bytes) -> Result<Value> {
    ensure!(
        status == expected,
        "a node: expected {expected}, found {status}: {}",
        String::from_utf8_lossy(answer)
    );
    serde_json::from_slice(answer).context("failed to parse a stored node")
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

/// The namespace whose reviews have warnings, and the name of the policy that asks for them.
const WITH: &str = "with-warnings";

/// The namespace whose reviews have none.
const WITHOUT: &str = "without-warnings";

/// The path of nodes.
const NODES: &str = "/api/v1/nodes";

/// Clients that create nodes at the same time.
const CLIENTS: usize = 8;

/// Maximum time until the API server or a server knows a change.
const KNOWN: Duration = Duration::from_secs(120);

/// Time between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Time after a start in which the server finishes its lists.
const SETTLE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_with_and_without_warnings_have_the_same_object() {
        for kind in Kind::ALL {
            let read = |warns| -> Value {
                let text = String::from_utf8(body(kind, warns).unwrap().to_vec()).unwrap();
                serde_json::from_str(&text.replace(WITHOUT, WITH)).unwrap()
            };
            assert_eq!(read(true), read(false));
            assert_eq!(read(true)["request"]["oldObject"].is_null(), kind == Kind::Create);
        }
    }
}
