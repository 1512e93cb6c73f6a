//! The load: a fixed number of clients, each of which sends its next request when it has its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The address and the trusted CA.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

/// A client's own certificate and its key, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate.
    pub certificate: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
}

/// The request that clients repeat, and the expected answer.
#[derive(Debug, Clone)]
pub struct Call {
    /// The path, with its query.
    pub path: String,
    /// The body, as JSON.
    pub body: Bytes,
    /// The status of each answer.
    pub status: StatusCode,
    /// Tells whether an answer is as good as the first one.
    pub is_like: fn(&Bytes, &Bytes) -> bool,
}

impl Call {
    /// A review. Its answers are equal to the byte.
    #[must_use]
    pub fn review(body: &Bytes) -> Self {
        Self {
            path: "/mutate?timeout=10s".to_owned(),
            body: body.clone(),
            status: StatusCode::OK,
            is_like: |first, answer| first == answer,
        }
    }
}

/// The results of the clients.
#[derive(Debug)]
pub struct Seen {
    /// Nanoseconds from sending a request until its answer was there whole.
    pub times: Histogram<u64>,
    /// How long it went on.
    pub took: Duration,
}

impl Seen {
    /// Answers per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
}

/// A client's connection to the server.
#[derive(Debug)]
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Target {
    /// Connects to a server whose certificate is signed for `localhost` by one of `ca` (PEM).
    ///
    /// # Errors
    ///
    /// A malformed CA.
    pub fn new(address: SocketAddr, ca: &[u8]) -> Result<Self> {
        Self::with_identity(address, ca, None)
    }

    /// The same, as a client with its own certificate.
    ///
    /// # Errors
    ///
    /// A malformed CA, certificate or key.
    pub fn with_identity(address: SocketAddr, ca: &[u8], identity: Option<Identity<'_>>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
                config.with_client_auth_cert(chain?, PrivateKeyDer::from_pem_slice(key)?)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A server that is started anew has other keys; and each handshake shall be whole.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Returns the TLS connector, for callers that write to the connection themselves.
    #[must_use]
    pub fn connector(&self) -> &TlsConnector {
        &self.tls
    }

    /// Opens a connection; it lives as long as the returned value.
    ///
    /// # Errors
    ///
    /// A server that does not listen, or with an untrusted certificate.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address).await.context("no connection")?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::try_from("localhost")?, tcp).await.context("no TLS")?;
        let (send, connection) = http1::handshake(TokioIo::new(tls)).await?;
        // The request under way reports the error of its connection.
        tokio::spawn(connection);
        Ok(Connection(send))
    }
}

impl Connection {
    /// Sends one review and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// A connection that ends before the answer is whole.
    pub async fn post(&mut self, path: &str, body: &Bytes) -> Result<(StatusCode, Bytes), hyper::Error> {
        self.send(Method::POST, path, body).await
    }

    /// Sends one request with a body of JSON, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// As [`Connection::post`].
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: &Bytes,
    ) -> Result<(StatusCode, Bytes), hyper::Error> {
        self.0.ready().await?;
        let response = self.0.send_request(request(method, path, body)).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Whether a request can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }
}

fn request(method: Method, path: &str, body: &Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(CONTENT_TYPE, "application/json").header("Host", "localhost");
    // Callers in this crate send valid URIs and headers.
    request.body(Full::new(body.clone())).unwrap_or_default()
}

/// Has `clients` clients send the review `body` for `time`. Every answer must be a 200 and equal to the byte.
///
/// # Errors
///
/// A connection that fails, and an answer that differs from the first one.
pub async fn steady(target: &Target, clients: usize, body: &Bytes, time: Duration) -> Result<Seen> {
    Clients::connect(target, clients, Call::review(body)).await?.run(time).await
}

/// Clients whose connections are open, and whose first answers were as expected.
#[derive(Debug)]
pub struct Clients {
    connections: Vec<Connection>,
    call: Call,
    first: Bytes,
}

impl Clients {
    /// Opens the connections, and sends `call` once on each.
    ///
    /// # Errors
    ///
    /// A connection that fails, and an answer that is not like the first one.
    pub async fn connect(target: &Target, clients: usize, call: Call) -> Result<Self> {
        let mut connections = Vec::with_capacity(clients);
        for _ in 0..clients {
            connections.push(target.connect().await?);
        }
        let mut first = None;
        for connection in &mut connections {
            first = Some(expect(connection, &call, first.as_ref()).await?);
        }
        Ok(Self { connections, call, first: first.context("at least one client")? })
    }

    /// Repeats the call on each connection for `time`.
    ///
    /// # Errors
    ///
    /// As [`Clients::connect`].
    pub async fn run(self, time: Duration) -> Result<Seen> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections {
            let (call, first) = (self.call.clone(), self.first.clone());
            tasks.spawn(async move {
                let mut times = histogram()?;
                loop {
                    let sent = Instant::now();
                    if sent - started >= time {
                        return Ok::<_, anyhow::Error>(times);
                    }
                    expect(&mut connection, &call, Some(&first)).await?;
                    times.saturating_record(nanoseconds(sent.elapsed()));
                }
            });
        }
        let mut times = histogram()?;
        while let Some(one) = tasks.join_next().await {
            times.add(one??)?;
        }
        Ok(Seen { times, took: started.elapsed() })
    }
}

/// Opens `n` connections one after the other, sends one request on each, and times the request alone.
///
/// # Errors
///
/// As [`steady`].
pub async fn fresh(target: &Target, n: usize, body: &Bytes) -> Result<Seen> {
    let call = Call::review(body);
    let mut times = histogram()?;
    let started = Instant::now();
    let mut first = None;
    for _ in 0..n {
        let mut connection = target.connect().await?;
        let sent = Instant::now();
        first = Some(expect(&mut connection, &call, first.as_ref()).await?);
        times.saturating_record(nanoseconds(sent.elapsed()));
    }
    Ok(Seen { times, took: started.elapsed() })
}

async fn expect(connection: &mut Connection, call: &Call, first: Option<&Bytes>) -> Result<Bytes> {
    let (status, answer) = connection.post(&call.path, &call.body).await?;
    if status != call.status {
        bail!("{status}: {}", String::from_utf8_lossy(&answer));
    }
    if let Some(first) = first {
        ensure!(
            (call.is_like)(first, &answer),
            "another answer than before: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(answer)
}

/// From a microsecond to a minute, to three digits.
///
/// # Errors
///
/// None with these bounds.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// For a histogram.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
