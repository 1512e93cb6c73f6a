//! The webhook: AdmissionReviews over TLS, and a plain port for probes and metrics.
//!
//! ```text
//! Options ──bind──► Bound ──open──► Open (probes answer) ──run──► (reviews answer until shutdown, drain) ──► Ok
//! ```
//!
//! What can fail fails in `bind`, before anybody waits for an answer. It owns the sockets and the drain; it never decides.

mod admin;
pub mod development;
mod policy_review;
pub mod tls;
mod webhook;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wardset_runtime::Snapshot;

use crate::cluster::Namespaces;
use crate::metrics::Metrics;
use crate::modules::Modules;

/// A client that takes longer for its TLS handshake, or for the head of a request, is cut.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server needs to start.
#[derive(Debug)]
pub struct Options {
    /// The webhook's address. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address of probes and metrics. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// The most reviews at once; what comes on top is answered 429 at once.
    pub max_in_flight: usize,
    /// How long open requests may go on after shutdown has begun.
    pub drain: Duration,
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
    admin: JoinHandle<Result<(), ServeError>>,
    admin_handle: Handle<SocketAddr>,
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
    pub(crate) places: Semaphore,
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
        let status = Arc::new(Status { metrics, readiness: AtomicU8::new(Readiness::Starting as u8) });
        let admin_handle = Handle::new();
        let admin = axum_server::from_tcp(admin)
            .map_err(failed("admin"))?
            .handle(admin_handle.clone())
            .serve(admin::router(Arc::clone(&status)).into_make_service());
        let admin = tokio::spawn(async move { admin.await.map_err(failed("admin")) });
        Ok(Open { options, webhook, admin, admin_handle, status, addresses })
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
        let shared = Arc::new(Shared {
            desk,
            metrics: Arc::clone(&self.status.metrics),
            places: Semaphore::new(self.options.max_in_flight),
        });
        let handle = Handle::new();
        let tls = RustlsConfig::from_config(tls);
        // Without NoDelay the first answer of a fresh connection waits for the client's delayed acknowledgement, 40 ms.
        let tls = RustlsAcceptor::new(tls).handshake_timeout(HEAD_TIMEOUT).acceptor(NoDelayAcceptor::new());
        let mut webhook = axum_server::from_tcp(self.webhook).map_err(failed("webhook"))?.acceptor(tls);
        webhook
            .http_builder()
            .http1()
            .timer(hyper_util::rt::TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        webhook.http_builder().http2().timer(hyper_util::rt::TokioTimer::new()).max_concurrent_streams(256);
        let webhook = webhook.handle(handle.clone()).serve(webhook::router(shared).into_make_service());
        self.status.set(Readiness::Ready);
        let stop = async {
            shutdown.await;
            self.status.set(Readiness::Stopping);
            tracing::info!(
                connections = handle.connection_count(),
                "stopping: not ready any more, finishing open reviews"
            );
            handle.graceful_shutdown(Some(self.options.drain));
        };
        let webhook = async {
            let ended = webhook.await.map_err(failed("webhook"));
            // Probes and metrics are answered until the last review is.
            self.admin_handle.graceful_shutdown(Some(Duration::from_secs(1)));
            ended
        };
        // A task that panicked was reported where it did; to stop is all that is left.
        let admin = async { self.admin.await.unwrap_or(Ok(())) };
        let (webhook, admin, ()) = tokio::join!(webhook, admin, stop);
        webhook.and(admin)
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
