//! A continuous load of reviews, sent directly to a server. Every answer counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::example;

/// A load that runs until [`Load::end`].
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Tally>,
}

/// The answers to a load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    /// Requests without an answer, or with another status than 200.
    pub(crate) failed: Vec<String>,
    /// The labels of each object after the patch, which show the policies that decided.
    pub(crate) labels: Vec<Value>,
}

impl Load {
    /// Starts four connections to `server`. `ca` (PEM, base64) must have signed its certificate for the chart's
    /// Service.
    pub(crate) fn start(server: SocketAddr, ca: &str) -> Self {
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let running = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let one = || send(client(server, &ca), &stopped);
                let tallies = tokio::join!(one(), one(), one(), one());
                [tallies.0, tallies.1, tallies.2, tallies.3].into_iter().fold(Tally::default(), Tally::and)
            })
        });
        Self { stop, running }
    }

    /// Sends a single review.
    pub(crate) fn one(server: SocketAddr, ca: &str) -> Tally {
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(send(client(server, &ca), &AtomicBool::new(true)))
    }

    pub(crate) fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join().unwrap()
    }
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        self.sent += other.sent;
        self.failed.extend(other.failed);
        self.labels.extend(other.labels);
        self
    }
}

fn client(server: SocketAddr, ca: &[u8]) -> reqwest::Client {
    // Fails if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder =
        reqwest::Client::builder().tls_certs_only(reqwest::Certificate::from_pem_bundle(ca).unwrap());
    builder.resolve("wardset.wardset.svc", server).build().unwrap()
}

async fn send(client: reqwest::Client, stop: &AtomicBool) -> Tally {
    let object = example();
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": {"group": "apps", "version": "v1", "kind": "DaemonSet"}, "operation": "CREATE",
        "name": "load", "namespace": "default", "userInfo": {"username": "load"}, "object": object,
    }});
    let url = "https://wardset.wardset.svc/mutate?timeout=10s";
    let mut tally = Tally::default();
    loop {
        tally.sent += 1;
        let request = client.post(url).header("Content-Type", "application/json").body(review.to_string());
        match request.send().await {
            Ok(response) if response.status() == 200 => match response.text().await {
                Ok(body) => tally.labels.push(labels(&object, &body)),
                Err(error) => tally.failed.push(format!("{error:?}")),
            },
            Ok(response) => tally.failed.push(response.status().to_string()),
            Err(error) => tally.failed.push(format!("{error:?}")),
        }
        if stop.load(Ordering::Relaxed) {
            return tally;
        }
    }
}

fn labels(object: &Value, answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let mut object = object.clone();
    if let Some(patch) = answer["response"]["patch"].as_str() {
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object["metadata"]["labels"].clone()
}
