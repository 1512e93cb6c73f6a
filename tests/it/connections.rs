//! Slow, idle, numerous or malicious clients, and a server that shuts down. Other clients must notice nothing.

mod ending;
mod load;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wardset::server::{Limits, Options};
use wardset_port::Timeouts;

use crate::serve::Server;
use crate::support::{self, admission_review, daemonset};

/// Limit for every wait in these tests, for slow machines too.
const SOON: Duration = Duration::from_secs(60);

/// Timeout of request headers in these tests: long enough for a handshake on a busy machine, short enough to wait for.
const HEAD: Duration = Duration::from_secs(2);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

const NO_TIMEOUTS: Timeouts = Timeouts { headers: NEVER, idle: NEVER };

/// Limits with a short timeout of headers.
fn slow_headers() -> Limits {
    Limits { timeouts: Timeouts { headers: HEAD, ..NO_TIMEOUTS }, ..limits() }
}

fn limits() -> Limits {
    Limits { timeouts: NO_TIMEOUTS, body: NEVER, ..Limits::default() }
}

async fn server(change: impl FnOnce(Options) -> Options) -> Server {
    Server::launch(support::defaults().await, |options| change(Options { limits: limits(), ..options }))
}

/// Opens a TLS connection on which the test itself writes HTTP.
async fn connect(server: &Server) -> TlsStream<TcpStream> {
    connect_to(server.addresses.webhook.port(), server.certificates.path()).await
}

async fn connect_to(port: u16, certificates: &Path) -> TlsStream<TcpStream> {
    handshake(port, certificates, b"http/1.1").await.unwrap()
}

/// Opens a TLS connection for one protocol.
async fn handshake(port: u16, certificates: &Path, protocol: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(certificates.join("ca.pem")).unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Returns the headers of a review over HTTP/1.1 with a body of this length.
fn head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Returns a complete review request.
fn review() -> Vec<u8> {
    let body = admission_review(&daemonset(), None);
    [head(body.len()).into_bytes(), body].concat()
}

/// Reads an answer and returns its headers. Skips the body, whose length the headers state.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head
}

/// Returns the result of a future that must complete soon.
async fn soon<T>(otherwise: &str, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.unwrap_or_else(|_| panic!("{otherwise}"))
}

/// Waits until the server closes a connection, and returns the bytes that it sent before.
async fn ended(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    // Every end is fine: a reset, or the end of the stream with or without a TLS `close_notify`.
    let _ = soon("the server did not close the connection", stream.read_to_end(&mut said)).await;
    said
}

/// Returns whether the server decides a review on a new connection.
async fn is_served(server: &Server) -> bool {
    server.post("/mutate", admission_review(&daemonset(), None)).await.status() == 200
}

async fn metric(server: &Server, series: &str) -> u64 {
    let (_, metrics) = server.admin("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Waits until a metric reaches a value.
async fn metric_reaches(server: &Server, series: &str, value: u64) {
    let reached = async { while metric(server, series).await < value {} };
    soon(&format!("{series} stays below {value}"), reached).await;
}

const SLOW: &str = r#"wardset_connections_closed_total{port="webhook",reason="slow"}"#;
const IDLE: &str = r#"wardset_connections_closed_total{port="webhook",reason="idle"}"#;
const EVICTED: &str = r#"wardset_connections_closed_total{port="webhook",reason="evicted"}"#;
const REFUSED: &str = r#"wardset_connections_closed_total{port="webhook",reason="refused"}"#;
const OPEN: &str = r#"wardset_connections{port="webhook"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn closes_a_connection_if_its_first_request_does_not_arrive() {
    let server = server(|it| Options { limits: slow_headers(), ..it }).await;
    // No data at all, and half a handshake.
    let mut silent = TcpStream::connect(server.addresses.webhook).await.unwrap();
    let mut half = TcpStream::connect(server.addresses.webhook).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    // After the handshake: nothing, half a line, or headers byte by byte.
    let mut quiet = connect(&server).await;
    let mut line = connect(&server).await;
    line.write_all(b"POST /mut").await.unwrap();
    let mut dripping = connect(&server).await;
    let drip = |mut stream: TlsStream<TcpStream>| async move {
        let drops = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        };
        soon("the server did not close the connection", drops).await;
    };
    dripping.write_all(b"POST /mutate HTTP/1.1\r\nX-Long: ").await.unwrap();
    tokio::join!(
        ended(&mut silent),
        ended(&mut half),
        ended(&mut quiet),
        ended(&mut line),
        drip(dripping),
        async { assert!(is_served(&server).await) },
    );
    assert_eq!(metric(&server, SLOW).await, 5);
    assert!(is_served(&server).await);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_on_slow_headers_but_not_on_a_pause_between_requests() {
    let server = server(|it| Options { limits: slow_headers(), ..it }).await;
    let mut patient = connect(&server).await;
    let mut slow = connect(&server).await;
    for stream in [&mut patient, &mut slow] {
        stream.write_all(&review()).await.unwrap();
        assert!(answer(stream).await.starts_with("http/1.1 200"));
    }
    slow.write_all(b"POST /mutate HT").await.unwrap();
    // Meanwhile the other connection is idle for as long as the headers may take.
    ended(&mut slow).await;
    assert_eq!(metric(&server, SLOW).await, 1);
    patient.write_all(&review()).await.unwrap();
    assert!(answer(&mut patient).await.starts_with("http/1.1 200"));
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_idle_connections() {
    let server = server(|it| Options {
        limits: Limits { timeouts: Timeouts { idle: HEAD, ..NO_TIMEOUTS }, ..limits() },
        ..it
    })
    .await;
    let mut first = connect(&server).await;
    first.write_all(&review()).await.unwrap();
    assert!(answer(&mut first).await.starts_with("http/1.1 200"));
    ended(&mut first).await;
    assert_eq!(metric(&server, IDLE).await, 1);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evicts_idle_connections_but_never_an_open_request() {
    let server = server(|it| Options { max_connections: 4, ..it }).await;
    let body = admission_review(&daemonset(), None);
    let mut open = connect(&server).await;
    open.write_all(head(body.len()).as_bytes()).await.unwrap();
    let mut idle = connect(&server).await;
    idle.write_all(&review()).await.unwrap();
    assert!(answer(&mut idle).await.starts_with("http/1.1 200"));
    // The server evicts connections without any request first.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.addresses.webhook).await.unwrap());
    }
    metric_reaches(&server, EVICTED, 18).await;
    assert!(is_served(&server).await);
    assert!(metric(&server, OPEN).await <= 4);
    idle.write_all(&review()).await.unwrap();
    assert!(answer(&mut idle).await.starts_with("http/1.1 200"));
    // If every connection has an open request, the server refuses new connections. It accepts them again after an
    // answer.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = connect(&server).await;
        other.write_all(head(body.len()).as_bytes()).await.unwrap();
        others.push(other);
    }
    idle.write_all(head(body.len()).as_bytes()).await.unwrap();
    let url = server.url("/mutate");
    let refused = async {
        // Until the server has read the headers above, a new connection may evict one of these.
        while metric(&server, REFUSED).await == 0 {
            let _ = server.client().post(&url).send().await;
        }
    };
    soon("no connection was refused", refused).await;
    open.write_all(&body).await.unwrap();
    assert!(answer(&mut open).await.starts_with("http/1.1 200"));
    drop(open);
    let served = async { while server.client().post(&url).send().await.is_err() {} };
    soon("no new connection was accepted", served).await;
    drop((idle, others));
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_oversized_headers() {
    let server = server(|it| it).await;
    let mut flood = connect(&server).await;
    let (mut reads, mut writes) = tokio::io::split(&mut flood);
    let write = async {
        let _ = writes.write_all(b"POST /mutate HTTP/1.1\r\nHost: localhost\r\n").await;
        // Up to a million headers. The server closes the connection long before.
        for _ in 0..1_000_000 {
            if writes.write_all(b"X-Flood: 0123456789\r\n").await.is_err() {
                break;
            }
        }
    };
    let (said, ()) = tokio::join!(ended(&mut reads), write);
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&said));

    assert!(is_served(&server).await);
    server.shut_down().await;
}

/// kube-apiserver speaks HTTP/1.1 to webhooks. A client that insists on HTTP/2 learns so from the handshake.
#[tokio::test(flavor = "multi_thread")]
async fn refuses_http_2_in_the_handshake() {
    let server = server(|it| it).await;
    let error =
        handshake(server.addresses.webhook.port(), server.certificates.path(), b"h2").await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert!(is_served(&server).await);
    server.shut_down().await;
}
