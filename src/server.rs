//! The webhook server: answers AdmissionReviews over TLS, and probes and metrics on a plain port.
//!
//! ```text
//! Options ──bind──► Bound ──open──► Open (probes answer) ──run──► (reviews answer until shutdown, drain) ──► Ok
//! ```
//!
//! Errors of configuration appear in `bind`, before a client waits for an answer. The server owns the sockets and the
//! drain; it never decides.

mod admin;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardset_port::{Bodies, Connections, Listener, PortPhase, Timeouts};

use crate::admission::Desk;
use crate::admission::webhook::{self, Webhook};
use crate::metrics::{self, Metrics};

/// Maximum connections to the admin port. Its clients are a kubelet and one or two Prometheus servers.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// Time for which the admin port finishes its last answers at shutdown.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// The addresses and limits of a server.
#[derive(Debug)]
pub struct Options {
    /// Address of the webhook. Port 0 picks a free port.
    pub listen: SocketAddr,
    /// Address of probes and metrics. Port 0 picks a free port.
    pub admin: SocketAddr,
    /// Maximum connections to the webhook. At the limit, a new connection evicts an idle one; if none is idle, the
    /// server refuses it.
    pub max_connections: usize,
    /// Time for open requests to finish after shutdown begins.
    pub drain: Duration,
    /// Limits that only tests change.
    pub limits: Limits,
}

/// Limits on the time and memory that clients may use. Production uses `Limits::default()`; tests set shorter times.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for a request's headers: 10 s. Time without a request: 120 s. Go's clients keep idle connections for 90 s
    /// and must be the first to close.
    pub timeouts: Timeouts,
    /// Time for a body, from the end of its headers: 10 s, or until the review's deadline if that is earlier.
    pub body: Duration,
    /// Maximum size of all bodies in memory, plus 16 KiB per request: 64 MiB. Above it, the server answers 429 to the
    /// request whose body has been arriving for the longest time.
    pub body_bytes: usize,
    /// Time for which the server still accepts connections after shutdown begins: 1 s. It is less if no client
    /// connects, and never more than the drain.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeouts: Timeouts { headers: Duration::from_secs(10), idle: Duration::from_secs(120) },
            body: Duration::from_secs(10),
            body_bytes: 64 << 20,
            closing: Duration::from_secs(1),
        }
    }
}

/// An error that stops the server or keeps it from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is in use or not available.
    #[error("failed to bind `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// A listener failed.
    #[error("the {what} listener failed")]
    Listener {
        /// `webhook` or `admin`.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A server with bound sockets that does not answer yet.
pub struct Bound {
    options: Options,
    webhook: TcpListener,
    admin: TcpListener,
    /// The bound addresses.
    pub addresses: Addresses,
}

/// The bound addresses, with the ports that the system picked.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Address of the webhook.
    pub webhook: SocketAddr,
    /// Address of probes and metrics.
    pub admin: SocketAddr,
}

/// A server that answers probes, reports that it is not ready, and does not answer reviews yet.
pub struct Open {
    options: Options,
    webhook: TcpListener,
    admin: JoinHandle<()>,
    admin_phase: watch::Sender<PortPhase>,
    status: Arc<ServerStatus>,
    /// The bound addresses.
    pub addresses: Addresses,
}

/// The state that the admin port reports.
pub(crate) struct ServerStatus {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: AtomicU8,
}

/// Whether the server answers reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Readiness {
    /// The server waits for policies or a certificate.
    Starting,
    /// The server answers reviews.
    Ready,
    /// The server finishes open reviews and then stops.
    Stopping,
}

impl Options {
    /// Binds the sockets.
    ///
    /// # Errors
    ///
    /// An address that is in use or that this machine does not have.
    pub fn bind(self) -> Result<Bound, ServeError> {
        let (webhook, webhook_address) = listen(self.listen)?;
        let (admin, admin_address) = listen(self.admin)?;
        let addresses = Addresses { webhook: webhook_address, admin: admin_address };
        Ok(Bound { options: self, webhook, admin, addresses })
    }
}

impl Bound {
    /// Starts to answer probes and metrics: live, but not ready.
    ///
    /// # Errors
    ///
    /// A listener that fails.
    pub fn open(self, metrics: Arc<Metrics>) -> Result<Open, ServeError> {
        let Self { options, webhook, admin, addresses } = self;
        let connections = Connections::new(
            metrics::ADMIN,
            MAX_ADMIN_CONNECTIONS,
            options.limits.timeouts,
            Arc::clone(&metrics.ports.admin),
        );
        let status = Arc::new(ServerStatus { metrics, readiness: AtomicU8::new(Readiness::Starting as u8) });
        let admin = tokio::net::TcpListener::from_std(admin).map_err(failed("admin"))?;
        let router = admin::router(Arc::clone(&status));
        let admin = Listener::new(admin, None, router, connections, Duration::ZERO);
        let (admin_phase, phase) = watch::channel(PortPhase::Serving);
        let admin = tokio::spawn(admin.serve(phase));
        Ok(Open { options, webhook, admin, admin_phase, status, addresses })
    }
}

impl Open {
    /// Answers reviews until `shutdown` completes. Then it reports that it is not ready, finishes open requests, and
    /// returns. `tls` holds the certificate, its key, and the CA of client certificates if clients must present one.
    ///
    /// # Errors
    ///
    /// A listener that fails.
    pub async fn run(
        self,
        tls: Arc<rustls::ServerConfig>,
        desk: Desk,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Options { max_connections, drain, limits, .. } = self.options;
        let metrics = Arc::clone(&self.status.metrics);
        let connections = Connections::new(
            metrics::WEBHOOK,
            max_connections,
            limits.timeouts,
            Arc::clone(&metrics.ports.webhook),
        );
        let answering = Webhook::new(desk, metrics, Bodies::new(limits.body_bytes), limits.body);
        let webhook = tokio::net::TcpListener::from_std(self.webhook).map_err(failed("webhook"))?;
        let router = webhook::router(Arc::clone(&answering));
        let webhook = Listener::new(webhook, Some(tls), router, Arc::clone(&connections), limits.closing);
        let (phases, phase) = watch::channel(PortPhase::Serving);
        self.status.set(Readiness::Ready);
        let stop = async {
            shutdown.await;
            let end = Instant::now() + drain;
            self.status.set(Readiness::Stopping);
            tracing::info!(
                connections = connections.count(),
                "shutting down: not ready any more, finishing open reviews"
            );
            phases.send_replace(PortPhase::Closing);
            // Some clients do not know of the shutdown yet and must still reach a listener. If none has connected for
            // a while, all of them know.
            let gone = connections.quiet(limits.closing / 4);
            let _ = tokio::time::timeout(limits.closing.min(drain), gone).await;
            phases.send_replace(PortPhase::Ending);
            tokio::time::sleep_until(end.into()).await;
            let left = connections.count();
            if left > 0 {
                tracing::warn!(
                    connections = left,
                    "stopped with open connections: the drain time is over; hint: raise `--drain-seconds`"
                );
            }
        };
        tokio::select! {
            () = webhook.serve(phase) => {}
            () = stop => {}
            () = answering.report_overload() => {}
        }
        // The admin port stays up until the last review is answered.
        self.admin_phase.send_replace(PortPhase::Ending);
        let _ = tokio::time::timeout(ADMIN_DRAIN, self.admin).await;
        Ok(())
    }
}

impl ServerStatus {
    fn set(&self, readiness: Readiness) {
        self.readiness.store(readiness as u8, Ordering::Relaxed);
    }
}

fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::Listener { what, source }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let taken = listener.local_addr()?;
        Ok((listener, taken))
    };
    bind().map_err(|source| ServeError::Bind { address, source })
}
