//! The signals that stop a server: the first one lets it finish, and the second one aborts it.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// The abort of a server by a second signal.
pub(super) struct Abort {
    pub(super) signal: &'static str,
    /// 128 and the signal's number, as a shell reports it.
    pub(super) code: u8,
}

/// Returns a receiver that becomes true at the first SIGTERM, SIGINT or SIGHUP, and a future that completes at the next
/// SIGTERM or SIGINT. A SIGHUP does not abort: it also comes from a terminal that closes during a shutdown.
pub(super) fn signals() -> anyhow::Result<(watch::Receiver<bool>, impl Future<Output = Abort>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, stopped) = watch::channel(false);
    let (abort, aborted) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        stop.send_replace(true);
        let second = tokio::select! {
            _ = terminate.recv() => Abort { signal: "SIGTERM", code: 143 },
            _ = interrupt.recv() => Abort { signal: "SIGINT", code: 130 },
        };
        // Fails if the server has stopped.
        let _ = abort.send(second);
    });
    let abort = async {
        match aborted.await {
            Ok(abort) => abort,
            Err(_) => pending().await,
        }
    };
    Ok((stopped, abort))
}
