//! Elects the one replica that writes to the cluster. The holder of the Lease is elected.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Duration of the Lease, in seconds. If its holder dies, no replica writes for this time.
const LAST_S: u64 = 15;
/// Time before its expiry at which the Lease is renewed, in seconds.
const GRACE_S: u64 = 5;
/// Time until the next attempt after a failure to reach the Lease.
const AGAIN: Duration = Duration::from_secs(5);

/// Takes part in elections until `stop` becomes true, then releases the Lease. `leads` says whether this replica
/// leads.
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
                tracing::warn!(
                    lease,
                    error = %error,
                    "failed to acquire the Lease; this replica writes nothing and retries; \
                     hint: check the server's RBAC rules for Leases"
                );
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
                tracing::info!(lease, identity, leads = now, "leadership changed");
            }
            leads.send_replace(now);
            metrics.leader.set(i64::from(now));
            tokio::select! {
                changed = won.changed() => if changed.is_err() { break false },
                _ = stop.wait_for(|stop| *stop) => break true,
            }
        };
        // Without a receiver, the election ends and releases the Lease.
        drop(won);
        leads.send_replace(false);
        let ended = election.await;
        if stopped {
            return;
        }
        tracing::warn!(lease, "the election ended ({ended:?}); starting a new one");
    }
}

/// Returns the replica's identity: the Pod's name, which is unique, and the process id.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
    format!("{}-{}", if pod.is_empty() { "wardset" } else { &pod }, std::process::id())
}
