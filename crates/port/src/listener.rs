//! A port: accepts connections, speaks TLS and HTTP on each in a task of its own, and shuts down without losing a
//! request.
//!
//! Shutdown has three phases. In `Closing`, the port still accepts and answers. It closes each connection after an
//! answer (`Connection: close`), so that clients leave while they still find a listener.
//!
//! In `Ending`, the port closes the listener, after it has taken all connections that the system had accepted. It
//! closes connections without a request, unless bytes of one have arrived. A new connection first gets time to send
//! its first request. In the last phase, the future of `serve` is dropped, which closes all connections.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::connections::{Connection, Connections, OpenConnection};

/// Maximum size of a request's headers, in bytes. The API server sends some hundred.
const MAX_HEAD: usize = 16 << 10;

/// Maximum size of the buffer per connection, in bytes. It bounds each read of a body.
const MAX_BUFFER: usize = 32 << 10;

/// The phase of a port's shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortPhase {
    /// The port is not shutting down.
    Serving,
    /// The port still accepts connections and answers.
    Closing,
    /// The port accepts no connections and finishes open requests.
    Ending,
}

/// A port whose requests a router answers.
pub struct Listener {
    tcp: TcpListener,
    /// The state that all connections share.
    shared: Arc<Port>,
}

struct Port {
    tls: Option<TlsAcceptor>,
    service: TowerToHyperService<Router>,
    http: http1::Builder,
    connections: Arc<Connections>,
    /// Time for a new connection to send its first request during `Ending`.
    young: Duration,
}

impl Listener {
    /// Creates a port. Without `tls`, it speaks plain HTTP/1.1. `young` is the time for a new connection to send its
    /// first request during `Ending`.
    pub fn new(
        tcp: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        router: Router,
        connections: Arc<Connections>,
        young: Duration,
    ) -> Self {
        let mut http = http1::Builder::new();
        // hyper's timeout for headers also runs between requests and would close a connection that the client keeps
        // for its next request. `Connections` enforces the timeout instead.
        http.header_read_timeout(None::<Duration>).max_header_size(MAX_HEAD).max_buf_size(MAX_BUFFER);
        let service = TowerToHyperService::new(router);
        let tls = tls.map(TlsAcceptor::from);
        Self { tcp, shared: Arc::new(Port { tls, service, http, connections, young }) }
    }

    /// Answers until `phase` is `Ending` and the last connection is closed. If the sender is gone, the port shuts
    /// down as well.
    pub async fn serve(self, phase: watch::Receiver<PortPhase>) {
        let Self { tcp, shared } = self;
        let mut tasks = JoinSet::new();
        let mut ending = phase.clone();
        let mut ending = pin!(async move {
            // If the sender is gone, the port shuts down as well.
            let _ = ending.wait_for(|phase| *phase >= PortPhase::Ending).await;
        });
        let mut next = Instant::now();
        loop {
            tokio::select! {
                accepted = tcp.accept() => match accepted {
                    Ok((stream, _)) => Port::welcome(&shared, stream, &phase, &mut tasks),
                    Err(error) => wait_for_files(&shared.connections, &error).await,
                },
                () = tokio::time::sleep_until(next.into()) => next = shared.connections.close_late(),
                Some(_) = tasks.join_next() => {}
                () = &mut ending => break,
            }
        }
        // The system resets connections that it has accepted if the listener closes before the server takes them.
        if let Ok(tcp) = tcp.into_std() {
            while let Ok((stream, _)) = tcp.accept() {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    Port::welcome(&shared, stream, &phase, &mut tasks);
                }
            }
        }
        while !tasks.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => next = shared.connections.close_late(),
                _ = tasks.join_next() => {}
            }
        }
    }
}

/// Waits after a failed accept. The usual cause is that the process may not open more files. As at the connection
/// limit, the server then evicts an idle connection.
async fn wait_for_files(connections: &Connections, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    let evicted = connections.evict_one();
    tracing::debug!(%error, evicted, "failed to accept a connection");
    tokio::time::sleep(Duration::from_millis(if evicted { 1 } else { 50 })).await;
}

impl Port {
    /// Starts the task of a new connection. If the table refuses the connection, dropping the stream closes it.
    fn welcome(
        shared: &Arc<Self>,
        stream: TcpStream,
        phase: &watch::Receiver<PortPhase>,
        tasks: &mut JoinSet<()>,
    ) {
        let Some(entry) = shared.connections.admit() else { return };
        let (shared, phase) = (Arc::clone(shared), phase.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = entry.closed() => {}
                // An error here only says why the client left.
                _ = shared.talk(stream, &entry, phase) => {}
            }
        });
    }

    async fn talk(
        &self,
        stream: TcpStream,
        entry: &OpenConnection,
        phase: watch::Receiver<PortPhase>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Without this option, the first answer on a new connection waits up to 40 ms for the client's delayed
        // acknowledgement.
        stream.set_nodelay(true)?;
        let connection = entry.connection();
        match &self.tls {
            None => self.http(stream, connection, phase).await?,
            Some(tls) => self.http(tls.accept(stream).await?, connection, phase).await?,
        }
        Ok(())
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        connection: &Arc<Connection>,
        mut phase: watch::Receiver<PortPhase>,
    ) -> hyper::Result<()> {
        let leaving = Arc::new(AtomicBool::new(false));
        let stream = Watched {
            stream,
            connection: Arc::clone(connection),
            leaving: Arc::clone(&leaving),
            unwritten: false,
        };
        let service = self.service(connection, phase.clone());
        let mut talk = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            talked = talk.as_mut() => return talked,
            () = self.end(&mut phase, connection) => leaving.store(true, Ordering::Relaxed),
        }
        talk.await
    }

    /// Returns when the connection need not wait for a further request.
    async fn end(&self, phase: &mut watch::Receiver<PortPhase>, connection: &Connection) {
        let _ = phase.wait_for(|phase| *phase >= PortPhase::Ending).await;
        if !connection.has_spoken() {
            tokio::time::sleep_until((connection.accepted + self.young).into()).await;
        }
    }

    fn service(
        &self,
        connection: &Arc<Connection>,
        phase: watch::Receiver<PortPhase>,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send + 'static,
    > + use<> {
        let (connection, service) = (Arc::clone(connection), self.service.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let open = connection.request();
            let (answer, phase) = (service.call(request), phase.clone());
            async move {
                let mut answer = answer.await?;
                if *phase.borrow() > PortPhase::Serving {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                drop(open);
                Ok::<_, Infallible>(answer)
            }
        })
    }
}

/// A stream that records the arrival of headers. Once it is `leaving` and nothing is pending, it reports
/// the end of the stream to hyper, as if the client had closed it.
struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
    leaving: Arc<AtomicBool>,
    /// Whether a part of an answer still waits to be sent.
    unwritten: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let connection = &self.connection;
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => connection.received(),
            Poll::Pending
                if self.leaving.load(Ordering::Relaxed)
                    && connection.is_idle()
                    && !connection.is_arriving()
                    && !self.unwritten =>
            {
                return Poll::Ready(Ok(()));
            }
            _ => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn written<T>(&mut self, written: Poll<T>) -> Poll<T> {
        self.unwritten = written.is_pending();
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(context);
        self.written(written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
