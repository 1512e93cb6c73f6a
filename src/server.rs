//! The webhook: AdmissionReviews over TLS, and a plain port for probes and metrics.
//!
//! ```text
//! Options ──bind──► Bound ──open──► Open (probes answer) ──run──► (reviews answer until shutdown, drain) ──► Ok
//! ```
//!
//! What can fail fails in `bind`, before anybody waits for an answer. It owns the sockets and the drain; it never decides.

mod admin;
mod bodies;
mod connections;
pub mod development;
mod listener;
mod overload;
mod places;
mod policy_review;
pub mod tls;
mod webhook;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wardset_runtime::Snapshot;

use crate::cluster::Namespaces;
use crate::metrics::{Metrics, Port};
use crate::modules::Modules;

use bodies::Bodies;
use connections::Connections;
use listener::{Listener, Phase};
use overload::Overload;
use places::Places;

/// The most connections to the admin port. Its clients are a kubelet and a Prometheus or two.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// What the admin port gets for its last answers.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// What the server needs to start.
#[derive(Debug)]
pub struct Options {
    /// The webhook's address. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address of probes and metrics. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// The most reviews at once; what comes on top is answered 429 at once. `kube-system` and dry runs together have half.
    pub max_in_flight: usize,
    /// The most connections to the webhook at once. Beyond, a newcomer takes the place of an idle one, or is refused.
    pub max_connections: usize,
    /// How long open requests may go on after shutdown has begun.
    pub drain: Duration,
    /// The rest, with the values of `Limits::default()` for production.
    pub limits: Limits,
}

/// What a client may take, in time and memory. Nobody needs to set it but tests, which can't wait for so long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the accept to the end of the first request's head, with TCP, TLS and all: 10 s. A later head of HTTP/1.1 has as long
    /// from its first byte, a later one of HTTP/2 as long as `idle`.
    pub head: Duration,
    /// How long a connection may be without a request: 120 s. Go's clients keep one for 90 s, and must be the first to close.
    pub idle: Duration,
    /// From the head to the end of the body: 10 s, or the review's deadline where that comes first.
    pub body: Duration,
    /// All bodies that are read or decided on, with 16 KiB more for each: 64 MiB. Beyond, the one that has been under way for
    /// longest is answered 429.
    pub body_bytes: usize,
    /// After shutdown has begun, for how long connections are still accepted: 1 s, less where nobody is there, never more than
    /// the drain.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            body: Duration::from_secs(10),
            body_bytes: 64 << 20,
            closing: Duration::from_secs(1),
        }
    }
}

/// Why the server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address can't be taken.
    #[error("`{address}` can't be listened on")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A listener broke.
    #[error("the {what} listener failed")]
    Listener {
        /// `webhook` or `admin`.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server whose sockets are taken and that doesn't answer yet.
pub struct Bound {
    options: Options,
    webhook: TcpListener,
    admin: TcpListener,
    /// The addresses really taken.
    pub addresses: Addresses,
}

/// The addresses really taken.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The webhook's.
    pub webhook: SocketAddr,
    /// That of probes and metrics.
    pub admin: SocketAddr,
}

/// A server that answers probes, says that it isn't ready, and waits for what it decides by.
pub struct Open {
    options: Options,
    webhook: TcpListener,
    admin: JoinHandle<()>,
    admin_phase: watch::Sender<Phase>,
    status: Arc<Status>,
    /// The addresses really taken.
    pub addresses: Addresses,
}

/// What a review is decided by.
pub struct Desk {
    /// The policies in force; each review takes them once.
    pub policies: Arc<ArcSwap<Snapshot>>,
    /// By what `Policy` objects are checked.
    pub modules: Arc<Modules>,
    /// Labels of namespaces, where there is a cluster to know them from.
    pub namespaces: Option<Arc<Namespaces>>,
}

/// What the admin port tells.
pub(crate) struct Status {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: AtomicU8,
}

/// Whether reviews are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Readiness {
    /// Policies or a certificate are still waited for.
    Starting,
    /// They are.
    Ready,
    /// The open ones are finished, and then no more.
    Stopping,
}

/// What requests share.
pub(crate) struct Shared {
    pub(crate) desk: Desk,
    pub(crate) metrics: Arc<Metrics>,
    bodies: Bodies,
    /// How long a body may take.
    body: Duration,
    places: Places,
    overload: Overload,
}

impl Options {
    /// Takes the sockets.
    ///
    /// # Errors
    ///
    /// An address that is taken or that this machine doesn't have.
    pub fn bind(self) -> Result<Bound, ServeError> {
        let (webhook, webhook_address) = listen(self.listen)?;
        let (admin, admin_address) = listen(self.admin)?;
        let addresses = Addresses { webhook: webhook_address, admin: admin_address };
        Ok(Bound { options: self, webhook, admin, addresses })
    }
}

impl Bound {
    /// Answers probes and metrics from now on: alive, not ready.
    ///
    /// # Errors
    ///
    /// A listener that breaks.
    pub fn open(self, metrics: Arc<Metrics>) -> Result<Open, ServeError> {
        let Self { options, webhook, admin, addresses } = self;
        let Limits { head, idle, .. } = options.limits;
        let connections =
            Connections::new(Port::Admin, MAX_ADMIN_CONNECTIONS, head, idle, Arc::clone(&metrics));
        let status = Arc::new(Status { metrics, readiness: AtomicU8::new(Readiness::Starting as u8) });
        let admin = tokio::net::TcpListener::from_std(admin).map_err(failed("admin"))?;
        let router = admin::router(Arc::clone(&status));
        let admin = Listener::new(admin, None, router, connections, Duration::ZERO);
        let (admin_phase, phase) = watch::channel(Phase::Serving);
        let admin = tokio::spawn(admin.serve(phase));
        Ok(Open { options, webhook, admin, admin_phase, status, addresses })
    }
}

impl Open {
    /// Answers until `shutdown` completes, then says it isn't ready, finishes what is open and returns. `tls` has
    /// certificate, key and, where clients must show one, their CA.
    ///
    /// # Errors
    ///
    /// A listener that breaks.
    pub async fn run(
        self,
        tls: Arc<rustls::ServerConfig>,
        desk: Desk,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Options { max_in_flight, max_connections, drain, limits, .. } = self.options;
        let metrics = Arc::clone(&self.status.metrics);
        let connections =
            Connections::new(Port::Webhook, max_connections, limits.head, limits.idle, Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            desk,
            metrics,
            bodies: Bodies::new(limits.body_bytes),
            body: limits.body,
            places: Places::new(max_in_flight),
            overload: Overload::default(),
        });
        let webhook = tokio::net::TcpListener::from_std(self.webhook).map_err(failed("webhook"))?;
        let router = webhook::router(Arc::clone(&shared));
        let webhook = Listener::new(webhook, Some(tls), router, Arc::clone(&connections), limits.closing);
        let (phases, phase) = watch::channel(Phase::Serving);
        self.status.set(Readiness::Ready);
        let stop = async {
            shutdown.await;
            let end = Instant::now() + drain;
            self.status.set(Readiness::Stopping);
            tracing::info!(
                connections = connections.count(),
                "stopping: not ready any more, finishing open reviews"
            );
            phases.send_replace(Phase::Closing);
            // Who doesn't know yet still finds somebody; where nobody has come for a while, everybody does.
            let gone = connections.quiet(limits.closing / 4);
            let _ = tokio::time::timeout(limits.closing.min(drain), gone).await;
            phases.send_replace(Phase::Ending);
            tokio::time::sleep_until(end.into()).await;
            let left = connections.count();
            if left > 0 {
                tracing::warn!(connections = left, "stopped before the last answer: the drain is over");
            }
        };
        tokio::select! {
            () = webhook.serve(phase) => {}
            () = stop => {}
            () = shared.overload.report() => {}
        }
        // Probes and metrics were answered until the last review was.
        self.admin_phase.send_replace(Phase::Ending);
        let _ = tokio::time::timeout(ADMIN_DRAIN, self.admin).await;
        Ok(())
    }
}

impl Status {
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
