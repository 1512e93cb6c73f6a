//! The webhook: AdmissionReviews over TLS, and a plain port for probes and metrics.
//!
//! ```text
//! Options ──bind──► Bound ──run──► (answers until shutdown, drains) ──► Ok
//! ```
//!
//! What can fail fails in `bind`, before anybody waits for an answer. It owns the sockets and the drain; it never decides.

mod admin;
pub mod development;
pub mod tls;
mod webhook;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::sync::Semaphore;
use wardset_runtime::Snapshot;

use crate::metrics::Metrics;

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

/// What requests share.
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) metrics: Metrics,
    pub(crate) places: Semaphore,
    pub(crate) ready: AtomicBool,
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
    /// Answers until `shutdown` completes, then says it isn't ready, finishes what is open and returns. `tls` has
    /// certificate, key and, where clients must show one, their CA.
    ///
    /// # Errors
    ///
    /// A listener that breaks.
    pub async fn run(
        self,
        tls: Arc<rustls::ServerConfig>,
        snapshot: Arc<Snapshot>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let metrics = Metrics::new();
        metrics.policies.set(i64::try_from(snapshot.plans().len()).unwrap_or(i64::MAX));
        let shared = Arc::new(Shared {
            snapshot,
            metrics,
            places: Semaphore::new(self.options.max_in_flight),
            ready: AtomicBool::new(true),
        });
        let (webhook_handle, admin_handle) = (Handle::new(), Handle::new());
        let tls = RustlsConfig::from_config(tls);
        // Without NoDelay the first answer of a fresh connection waits for the client's delayed acknowledgement, 40 ms.
        let tls = RustlsAcceptor::new(tls).handshake_timeout(HEAD_TIMEOUT).acceptor(NoDelayAcceptor::new());
        let failed = |what| move |source| ServeError::Listener { what, source };
        let mut webhook = axum_server::from_tcp(self.webhook).map_err(failed("webhook"))?.acceptor(tls);
        webhook
            .http_builder()
            .http1()
            .timer(hyper_util::rt::TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        webhook.http_builder().http2().timer(hyper_util::rt::TokioTimer::new()).max_concurrent_streams(256);
        let webhook = webhook
            .handle(webhook_handle.clone())
            .serve(webhook::router(Arc::clone(&shared)).into_make_service());
        let admin = axum_server::from_tcp(self.admin).map_err(failed("admin"))?.handle(admin_handle.clone());
        let admin = admin.serve(admin::router(Arc::clone(&shared)).into_make_service());
        let drain = self.options.drain;
        let stop = async {
            shutdown.await;
            shared.ready.store(false, Ordering::Relaxed);
            tracing::info!(
                connections = webhook_handle.connection_count(),
                "stopping: not ready any more, finishing open reviews"
            );
            webhook_handle.graceful_shutdown(Some(drain));
        };
        let webhook = async {
            let ended = webhook.await.map_err(failed("webhook"));
            // Probes and metrics are answered until the last review is.
            admin_handle.graceful_shutdown(Some(Duration::from_secs(1)));
            ended
        };
        let (webhook, admin, ()) =
            tokio::join!(webhook, async { admin.await.map_err(failed("admin")) }, stop);
        webhook.and(admin)
    }
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
