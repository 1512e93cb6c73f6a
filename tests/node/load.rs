//! Continuous writes of DaemonSets to the API server, which asks Wardset about each. Every answer counts.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::installed::{Installed, NAMESPACE, example};

/// A load that runs until [`Load::end`].
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Tally>,
}

/// The answers to a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    /// The reasons of writes without an answer, or with another status than 200, and how often each occurred.
    pub(crate) failed: BTreeMap<String, usize>,
    /// The longest time until an answer.
    pub(crate) longest: Duration,
}

impl Load {
    /// Creates four DaemonSets that run on no node, and changes an annotation of each without a pause.
    pub(crate) fn start(installed: &Installed) -> Self {
        let config = installed.kubectl.json(&["config", "view", "--raw", "--minify", "--flatten"]);
        let names: Vec<String> = (1..=4).map(|number| format!("load-{number}")).collect();
        for name in &names {
            let mut object = example();
            object["metadata"]["name"] = json!(name);
            object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "no": "node" });
            installed.try_apply(&object, &[]).succeeded();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let running = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let one = |name| write(&config, name, &stopped);
                let tallies = tokio::join!(one(&names[0]), one(&names[1]), one(&names[2]), one(&names[3]));
                [tallies.0, tallies.1, tallies.2, tallies.3].into_iter().fold(Tally::default(), Tally::and)
            })
        });
        Self { stop, running }
    }

    pub(crate) fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join().unwrap()
    }

    /// Ends the load, and prints its figures. `took` is the time of what happened meanwhile.
    ///
    /// # Panics
    /// Panics if a write failed, or if there was none.
    pub(crate) fn end_without_a_failure(self, what: &str, took: Duration) {
        let tally = self.end();
        eprintln!("{what}: {:.1} s; {tally}", took.as_secs_f64());
        assert!(tally.sent > 0 && tally.failed.is_empty(), "{:#?}", tally.failed);
    }
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        self.sent += other.sent;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
        self
    }
}

impl Display for Tally {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let refused: usize = self.failed.values().sum();
        let longest = self.longest.as_millis();
        write!(to, "{} writes, {refused} refused, the longest {longest} ms", self.sent)
    }
}

async fn write(config: &Value, name: &str, stop: &AtomicBool) -> Tally {
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let client = client(
        &data(&cluster["certificate-authority-data"]),
        &[data(&user["client-certificate-data"]), data(&user["client-key-data"])].concat(),
    );
    let server = cluster["server"].as_str().unwrap();
    let url = format!("{server}/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{name}");
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        tally.sent += 1;
        let patch =
            json!({ "metadata": { "annotations": { "e2e.wardset.dev/write": tally.sent.to_string() } } });
        let start = Instant::now();
        let request = client.patch(&url).header("Content-Type", "application/merge-patch+json");
        let reason = match request.body(patch.to_string()).send().await {
            Ok(response) if response.status() == 200 => None,
            Ok(response) => {
                let status: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
                Some(status["message"].to_string())
            }
            Err(error) => Some(format!("{error:?}")),
        };
        if let Some(reason) = reason {
            *tally.failed.entry(reason).or_default() += 1;
        }
        tally.longest = tally.longest.max(start.elapsed());
    }
    tally
}

fn client(ca: &[u8], identity: &[u8]) -> reqwest::Client {
    // Fails if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(ca).unwrap()])
        .identity(reqwest::Identity::from_pem(identity).unwrap())
        .build()
        .unwrap()
}

fn data(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
}
