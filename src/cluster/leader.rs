//! Which of the replicas writes: the one that holds the Lease.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// How long a Lease lasts that isn't renewed, in seconds: so long nobody writes after its holder died.
const LAST_S: u64 = 15;
/// How long before its end it is renewed, in seconds.
const GRACE_S: u64 = 5;
/// After a failure to get at the Lease at all.
const AGAIN: Duration = Duration::from_secs(5);

/// Stands for election until `stop` completes, then gives the Lease back. `leads` says who won.
pub(super) async fn stand(
    client: Client,
    namespace: String,
    lease: String,
    leads: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let identity = identity();
    loop {
        let builder = LeaseManagerBuilder::new(client.clone(), &lease)
            .with_namespace(&namespace)
            .with_identity(&identity)
            .with_duration(LAST_S)
            .with_grace(GRACE_S);
        let built = tokio::select! {
            built = builder.build() => built,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let manager = match built {
            Ok(manager) => manager,
            Err(error) => {
                tracing::warn!(lease, error = %error, "the Lease can't be had: this replica writes nothing");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => continue,
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        };
        let (mut won, election) = manager.watch().await;
        let stopped = loop {
            let now = *won.borrow_and_update();
            if *leads.borrow() != now {
                tracing::info!(lease, identity, leads = now, "leadership");
            }
            leads.send_replace(now);
            metrics.leader.set(i64::from(now));
            tokio::select! {
                changed = won.changed() => if changed.is_err() { break false },
                _ = stop.wait_for(|stop| *stop) => break true,
            }
        };
        // Without a listener the election ends and gives the Lease back.
        drop(won);
        leads.send_replace(false);
        let ended = election.await;
        if stopped {
            return;
        }
        tracing::warn!(lease, "the election ended ({ended:?}); standing again");
    }
}

/// The Pod's name, which nobody else has; else the process.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
    format!("{}-{}", if pod.is_empty() { "wardset" } else { &pod }, std::process::id())
}
