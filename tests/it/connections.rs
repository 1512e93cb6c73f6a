//! Clients that are slow, idle, many or rude, and a server that ends: others notice nothing of it.

mod ending;
mod load;

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

use crate::serve::Server;
use crate::support::{self, admission_review, daemonset};

/// No test waits longer, however slow the machine.
const SOON: Duration = Duration::from_secs(60);

/// What a client needs for a handshake on a busy machine, and a test can wait for.
const HEAD: Duration = Duration::from_secs(2);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

fn limits() -> Limits {
    Limits { head: NEVER, idle: NEVER, body: NEVER, ..Limits::default() }
}

async fn server(change: impl FnOnce(Options) -> Options) -> Server {
    Server::launch(support::defaults().await, |options| change(Options { limits: limits(), ..options }))
}

/// A client of TLS that speaks no HTTP of itself.
async fn connect(server: &Server, protocol: &str) -> TlsStream<TcpStream> {
    connect_to(server.addresses.webhook.port(), server.certificates.path(), protocol).await
}

async fn connect_to(port: u16, certificates: &Path, protocol: &str) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(certificates.join("ca.pem")).unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// The head of a review over HTTP/1.1 whose body has so many bytes.
fn head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=30s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A review as it goes over the wire.
fn review() -> Vec<u8> {
    let body = admission_review(&daemonset(), None);
    [head(body.len()).into_bytes(), body].concat()
}

/// The head of an answer; its body, whose length is said, is read and forgotten.
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

/// What comes of something that must not take for ever.
async fn soon<T>(otherwise: &str, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.unwrap_or_else(|_| panic!("{otherwise}"))
}

/// Waits until the server has ended a connection, and gives what it said before.
async fn ended(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    // However it ends: a reset, or the end of the stream with TLS's goodbye or without.
    let _ = soon("it was not cut", stream.read_to_end(&mut said)).await;
    said
}

/// Whether a review is decided, on a connection of its own.
async fn is_served(server: &Server) -> bool {
    server.post("/mutate", admission_review(&daemonset(), None)).await.status() == 200
}

async fn metric(server: &Server, series: &str) -> u64 {
    let (_, metrics) = server.admin("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Waits until a metric is at least so high.
async fn metric_reaches(server: &Server, series: &str, value: u64) {
    let reached = async { while metric(server, series).await < value {} };
    soon(&format!("{series} stays below {value}"), reached).await;
}

const SLOW: &str = r#"wardset_connections_closed_total{port="webhook",reason="slow"}"#;
const IDLE: &str = r#"wardset_connections_closed_total{port="webhook",reason="idle"}"#;
const GAVE_WAY: &str = r#"wardset_connections_closed_total{port="webhook",reason="evicted"}"#;
const REFUSED: &str = r#"wardset_connections_closed_total{port="webhook",reason="refused"}"#;
const RESETS: &str = r#"wardset_connections_closed_total{port="webhook",reason="resets"}"#;
const OPEN: &str = r#"wardset_connections{port="webhook"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_first_request_does_not_come_is_cut() {
    let server = server(|it| Options { limits: Limits { head: HEAD, ..limits() }, ..it }).await;
    // Nothing at all, and half a handshake.
    let mut silent = TcpStream::connect(server.addresses.webhook).await.unwrap();
    let mut half = TcpStream::connect(server.addresses.webhook).await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    // After the handshake: nothing; half a line; each byte of a head for itself.
    let mut quiet = connect(&server, "http/1.1").await;
    let mut line = connect(&server, "http/1.1").await;
    line.write_all(b"POST /mut").await.unwrap();
    let mut dripping = connect(&server, "http/1.1").await;
    // HTTP/2: nothing but what belongs to the connection; a block of headers byte by byte.
    let mut hello = connect(&server, "h2").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    hello.write_all(preface).await.unwrap();
    let mut headers = connect(&server, "h2").await;
    headers.write_all(preface).await.unwrap();
    headers.write_all(b"\0\x01\0\x01\x04\0\0\0\x01").await.unwrap();
    let drip = |mut stream: TlsStream<TcpStream>| async move {
        let drops = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        };
        soon("it was not cut", drops).await;
    };
    dripping.write_all(b"POST /mutate HTTP/1.1\r\nX-Long: ").await.unwrap();
    tokio::join!(
        ended(&mut silent),
        ended(&mut half),
        ended(&mut quiet),
        ended(&mut line),
        ended(&mut hello),
        drip(dripping),
        drip(headers),
        async { assert!(is_served(&server).await) },
    );
    assert_eq!(metric(&server, SLOW).await, 7);
    assert!(is_served(&server).await);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_slowly_later_is_cut_and_a_pause_between_two_is_not() {
    let server = server(|it| Options { limits: Limits { head: HEAD, ..limits() }, ..it }).await;
    let mut patient = connect(&server, "http/1.1").await;
    let mut slow = connect(&server, "http/1.1").await;
    for stream in [&mut patient, &mut slow] {
        stream.write_all(&review()).await.unwrap();
        assert!(answer(stream).await.starts_with("http/1.1 200"));
    }
    slow.write_all(b"POST /mutate HT").await.unwrap();
    // Until then the other has been without a request for as long as a head may take.
    ended(&mut slow).await;
    assert_eq!(metric(&server, SLOW).await, 1);
    patient.write_all(&review()).await.unwrap();
    assert!(answer(&mut patient).await.starts_with("http/1.1 200"));
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_is_ended() {
    let server = server(|it| Options { limits: Limits { idle: HEAD, ..limits() }, ..it }).await;
    let mut first = connect(&server, "http/1.1").await;
    first.write_all(&review()).await.unwrap();
    assert!(answer(&mut first).await.starts_with("http/1.1 200"));
    let (mut requests, connection) = h2::client::handshake(connect(&server, "h2").await).await.unwrap();
    let second = tokio::spawn(connection);
    let get = axum::http::Request::get("https://localhost/mutate").body(()).unwrap();
    let (answered, _) = requests.send_request(get, true).unwrap();
    assert_eq!(answered.await.unwrap().status(), 405);
    ended(&mut first).await;
    let _ = soon("it was not cut", second).await.unwrap();
    assert_eq!(metric(&server, IDLE).await, 2);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_take_the_place_of_idle_connections_and_never_of_an_open_request() {
    let server = server(|it| Options { max_connections: 4, ..it }).await;
    let body = admission_review(&daemonset(), None);
    let mut open = connect(&server, "http/1.1").await;
    open.write_all(head(body.len()).as_bytes()).await.unwrap();
    let mut idle = connect(&server, "http/1.1").await;
    idle.write_all(&review()).await.unwrap();
    assert!(answer(&mut idle).await.starts_with("http/1.1 200"));
    // Those that never asked for anything go first.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.addresses.webhook).await.unwrap());
    }
    metric_reaches(&server, GAVE_WAY, 18).await;
    assert!(is_served(&server).await);
    assert!(metric(&server, OPEN).await <= 4);
    idle.write_all(&review()).await.unwrap();
    assert!(answer(&mut idle).await.starts_with("http/1.1 200"));
    // Where each connection has an open request, the newcomer is refused, and there is room again once one is answered.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = connect(&server, "http/1.1").await;
        other.write_all(head(body.len()).as_bytes()).await.unwrap();
        others.push(other);
    }
    idle.write_all(head(body.len()).as_bytes()).await.unwrap();
    let url = server.url("/mutate");
    let refused = async {
        // Until the heads above have been read, one of them may give way to the one that asks.
        while metric(&server, REFUSED).await == 0 {
            let _ = server.client().post(&url).send().await;
        }
    };
    soon("nobody is refused", refused).await;
    open.write_all(&body).await.unwrap();
    assert!(answer(&mut open).await.starts_with("http/1.1 200"));
    drop(open);
    let served = async { while server.client().post(&url).send().await.is_err() {} };
    soon("nobody is let in", served).await;
    drop((idle, others));
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_any_length_are_refused() {
    let server = server(|it| it).await;
    let mut flood = connect(&server, "http/1.1").await;
    let (mut reads, mut writes) = tokio::io::split(&mut flood);
    let write = async {
        let _ = writes.write_all(b"POST /mutate HTTP/1.1\r\nHost: localhost\r\n").await;
        // As much as a million; the server has hung up long before.
        for _ in 0..1_000_000 {
            if writes.write_all(b"X-Flood: 0123456789\r\n").await.is_err() {
                break;
            }
        }
    };
    let (said, ()) = tokio::join!(ended(&mut reads), write);
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&said));

    let (mut requests, connection) = h2::client::handshake(connect(&server, "h2").await).await.unwrap();
    let connection = tokio::spawn(connection);
    let many = (0..1000).fold(axum::http::Request::get("https://localhost/mutate"), |request, turn| {
        request.header(format!("x-flood-{turn}"), "0123456789")
    });
    let (answered, _) = requests.send_request(many.body(()).unwrap(), true).unwrap();
    if let Ok(answered) = answered.await {
        assert_eq!(answered.status(), 431);
    }
    connection.abort();
    assert!(is_served(&server).await);
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_what_it_asks_for_is_cut() {
    let server = server(|it| it).await;
    let (mut requests, connection) = h2::client::handshake(connect(&server, "h2").await).await.unwrap();
    let connection = tokio::spawn(connection);
    let storm = async {
        for _ in 0..100_000 {
            let Ok(ready) = requests.ready().await else { break };
            requests = ready;
            let request = axum::http::Request::post("https://localhost/mutate")
                .header("content-type", "application/json")
                .body(())
                .unwrap();
            let Ok((_, mut stream)) = requests.send_request(request, false) else { break };
            stream.send_reset(h2::Reason::CANCEL);
        }
    };
    let other = async {
        for _ in 0..10 {
            assert!(is_served(&server).await);
        }
    };
    let both = async { tokio::join!(storm, other) };
    soon("the storm goes on", both).await;
    let ended = soon("it was not cut", connection).await.unwrap();
    // By h2, where resets overtake their streams, or by the server's own count.
    let cut = metric(&server, RESETS).await;
    assert!(ended.is_err() && cut <= 1, "{ended:?}, {cut}");
    server.shut_down().await;
}
