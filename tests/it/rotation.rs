//! Rotation of a certificate under a running server, in the way kubelet does it, and the supported versions of TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::tls::{TlsInfo, Version as Tls};
use reqwest::{Client, ClientBuilder};
use tempfile::TempDir;
use tokio::task::AbortHandle;
use wardset::certificates::{CertificateFolder, ServedCertificate, development};
use wardset::metrics::Metrics;
use wardset::server::Options;

use crate::serve::{client, desk, options};
use crate::support::{self, admission_review, daemonset};

/// A volume in kubelet's layout: files are links into `..data`, which is a link to the current folder.
struct Volume {
    root: TempDir,
    /// The CAs and pairs of the volume; the last one is current.
    generations: Vec<TempDir>,
}

impl Volume {
    fn new() -> Self {
        let mut volume = Self { root: tempfile::tempdir().unwrap(), generations: Vec::new() };
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
        }
        volume.rotate();
        volume
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    /// Switches to another CA and certificate. A client that trusts only an earlier CA cannot connect any more.
    fn rotate(&mut self) {
        let made = tempfile::tempdir().unwrap();
        development::make(made.path()).unwrap();
        let (certificate, key) = (read(made.path(), "tls/tls.crt"), read(made.path(), "tls/tls.key"));
        self.generations.push(made);
        self.swap(&[("tls.crt", &certificate), ("tls.key", &key)]);
    }

    /// Works as kubelet's AtomicWriter: creates a folder and a temporary link, renames the link, removes the old
    /// folder.
    fn swap(&mut self, files: &[(&str, &[u8])]) {
        let before = fs::read_link(self.path().join("..data")).ok();
        let name = tempfile::Builder::new().prefix("..2026_01_01_").tempdir_in(self.path()).unwrap().keep();
        for (file, content) in files {
            fs::write(name.join(file), content).unwrap();
        }
        symlink(name.file_name().unwrap(), self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(self.path().join(before)).unwrap();
        }
    }

    /// Returns the folder with the `ca.pem` of the current certificate.
    fn generation(&self) -> &Path {
        self.generations.last().unwrap().path()
    }
}

fn read(folder: &Path, file: &str) -> Vec<u8> {
    fs::read(folder.join(file)).unwrap()
}

struct Server {
    webhook: SocketAddr,
    folder: CertificateFolder,
    metrics: Arc<Metrics>,
    running: AbortHandle,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let metrics = Arc::new(Metrics::new());
        let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
        let folder = CertificateFolder::open(folder, Arc::clone(&served)).unwrap();
        let tls = wardset_port::config(served, None).unwrap();
        let options = Options { drain: Duration::ZERO, ..options(any) };
        let bound = options.bind().unwrap();
        let webhook = bound.addresses.webhook;
        let open = bound.open(Arc::clone(&metrics)).unwrap();
        let run = open.run(tls, desk(support::defaults().await), std::future::pending());
        Self { webhook, folder, metrics, running: tokio::spawn(run).abort_handle() }
    }

    /// Requests a decision, and returns the certificate of the connection.
    async fn ask(&self, client: &Client) -> Vec<u8> {
        let url = format!("https://localhost:{}/mutate", self.webhook.port());
        let request = client.post(url).header("Content-Type", "application/json");
        let response = request.body(admission_review(&daemonset(), None)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let tls: &TlsInfo = response.extensions().get().unwrap();
        let certificate = tls.peer_certificate().unwrap().to_vec();
        response.bytes().await.unwrap();
        certificate
    }

    fn count(&self, line: &str) -> bool {
        self.metrics.to_text().lines().any(|found| found == line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn asking(generation: &Path, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    client(generation, |builder| build(builder.tls_info(true)))
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_apply_to_new_connections_and_keep_open_ones() {
    let mut volume = Volume::new();
    let mut server = Server::start(volume.path()).await;
    let first = volume.generation();
    let open = asking(first, |builder| builder);
    let before = server.ask(&open).await;

    let mut seen = vec![before.clone()];
    for rotation in 1..=3 {
        volume.rotate();
        server.folder.check();
        let new = server.ask(&asking(volume.generation(), |builder| builder)).await;
        assert!(!seen.contains(&new), "rotation {rotation}");
        seen.push(new);
        // This client trusts only the first CA, so an answer proves that it still uses the first connection.
        assert_eq!(server.ask(&open).await, before, "rotation {rotation}");
        assert!(
            asking(volume.generations[0].path(), |builder| builder)
                .post(format!("https://localhost:{}/mutate", server.webhook.port()))
                .send()
                .await
                .is_err()
        );
    }
    assert!(
        server.count(r#"wardset_certificate_reloads_total{result="loaded"} 4"#),
        "{}",
        server.metrics.to_text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_previous_pair_until_a_valid_one_arrives() {
    let mut volume = Volume::new();
    let mut server = Server::start(volume.path()).await;
    let good = server.ask(&asking(volume.generation(), |builder| builder)).await;
    let other = tempfile::tempdir().unwrap();
    development::make(other.path()).unwrap();
    let (certificate, key) = (read(other.path(), "tls/tls.crt"), read(other.path(), "tls/tls.key"));
    let other_key = read(volume.generation(), "tls/tls.key");
    let half = &certificate[..certificate.len() / 3];
    let bad: [&[(&str, &[u8])]; 6] = [
        &[("tls.crt", &certificate), ("tls.key", &other_key)],
        &[("tls.crt", b""), ("tls.key", &key)],
        &[("tls.crt", &certificate), ("tls.key", b"")],
        &[("tls.crt", half), ("tls.key", &key)],
        &[("tls.crt", &certificate)],
        &[],
    ];
    for (index, files) in bad.into_iter().enumerate() {
        volume.swap(files);
        server.folder.check();
        server.folder.check();
        let found = server.ask(&asking(volume.generation(), |builder| builder)).await;
        assert_eq!(found, good, "bad pair {index}");
        let refused = format!(r#"wardset_certificate_reloads_total{{result="refused"}} {}"#, index + 1);
        assert!(server.count(&refused), "{refused}: {}", server.metrics.to_text());
    }
    volume.rotate();
    server.folder.check();
    assert_ne!(server.ask(&asking(volume.generation(), |builder| builder)).await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_a_pair_after_both_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    development::make(folder.path()).unwrap();
    let tls: PathBuf = folder.path().join("tls");
    let mut server = Server::start(&tls).await;
    let good = server.ask(&asking(folder.path(), |builder| builder)).await;
    let other = tempfile::tempdir().unwrap();
    development::make(other.path()).unwrap();
    fs::copy(other.path().join("tls/tls.crt"), tls.join("tls.crt")).unwrap();
    server.folder.check();
    assert_eq!(server.ask(&asking(folder.path(), |builder| builder)).await, good);
    fs::copy(other.path().join("tls/tls.key"), tls.join("tls.key")).unwrap();
    server.folder.check();
    assert_ne!(server.ask(&asking(other.path(), |builder| builder)).await, good);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_a_watched_folder_automatically() {
    let mut volume = Volume::new();
    let server = Server::start(volume.path()).await;
    let served = Arc::new(ServedCertificate::new(Metrics::new().certificates));
    let folder = CertificateFolder::open(volume.path(), Arc::clone(&served)).unwrap();
    let before = served.current().unwrap().leaf.serial.clone();
    let watching = tokio::spawn(folder.watch(Duration::from_millis(5)));
    volume.rotate();
    let changed = async {
        while served.current().unwrap().leaf.serial == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), changed).await.unwrap();
    watching.abort();
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_tls_1_2_and_1_3_and_refuses_1_1() {
    let volume = Volume::new();
    let server = Server::start(volume.path()).await;
    for version in [Tls::TLS_1_2, Tls::TLS_1_3] {
        let only = |builder: ClientBuilder| builder.min_tls_version(version).max_tls_version(version);
        server.ask(&asking(volume.generation(), only)).await;
    }
    let address = server.webhook;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&hello_of_tls_1_1()).unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    // A fatal alert: protocol_version (RFC 5246, section 7.2).
    let answer = answer.await.unwrap();
    assert_eq!((answer[0], answer[5], answer[6]), (21, 2, 70), "{answer:?}");
}

/// Returns a ClientHello that offers at most TLS 1.1 (RFC 4346, section 7.4.1.2).
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA and TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend([0, 0, 4, 0xc0, 0x09, 0x00, 0x2f, 1, 0]);
    // Modern extensions (P-256 and its signatures), so that only the version can be the reason for the refusal.
    hello.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut record = vec![22, 3, 1];
    let length = u16::try_from(hello.len()).unwrap();
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(hello);
    record
}
