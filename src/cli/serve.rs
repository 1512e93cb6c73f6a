//! `wardset serve`: the composition root of the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use wardset_core::policy::NamespaceLabels;
use wardset_runtime::Evaluator;

use super::args::{self, LogFormat, Serve};
use super::setup::{self, SupplyOptions};
use super::signals::{Abort, signals};
use crate::admission::observers::LogLine;
use crate::admission::{Desk, Judge, NamespaceSource, NodeSource};
use crate::certificates::own::{self, Certificates};
use crate::certificates::{CertificateFolder, ServedCertificate, development};
use crate::cluster::{self, Cluster};
use crate::metrics::Metrics;
use crate::server::{Addresses, Limits, Options};
use crate::supply::store::{self, Store};
use crate::supply::{Followed, policy_files};
use crate::telemetry;

/// Folder of the development certificates. Git ignores it.
const DEVELOPMENT: &str = "certs/dev";

/// Files that the process needs besides the webhook's connections: for the admin port, the API server, certificates,
/// policies and modules. A reserve, not a measured number.
const OTHER_FILES: u64 = 256;

/// Interval at which the server polls the certificate's files for changes.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Serve) -> anyhow::Result<ExitCode> {
    let log = telemetry::for_server(args.log_format == LogFormat::Json);
    // Registered first, so that an early signal is not lost.
    let (mut stop, abort) = signals()?;
    let development = args.tls_dir.is_none() && !args.cluster.cluster;
    // Clients on the network cannot trust a development certificate, so the server listens on the loopback address.
    let everywhere = IpAddr::V4(if development { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED });
    let options = Options {
        listen: args.listen.unwrap_or(SocketAddr::new(everywhere, 8443)),
        admin: args.admin.unwrap_or(SocketAddr::new(everywhere, 8081)),
        max_connections: within_files(args.max_connections as usize),
        drain: Duration::from_secs(args.drain_seconds.into()),
        limits: Limits::default(),
    };
    let metrics = Arc::new(Metrics::new());
    metrics.watch_log(&log);
    // Bind before writing anything: if another server holds the ports, its development certificate must stay
    // unchanged.
    let open = options.bind()?.open(Arc::clone(&metrics))?;
    let addresses = open.addresses;
    let mut stop_early = stop.clone();
    let prepared = tokio::select! {
        prepared = prepare(args, &metrics) => prepared?,
        _ = stop_early.wait_for(|stop| *stop) => {
            tracing::info!("stopped before it was ready");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let Prepared { tls, desk, cluster, _tasks } = prepared;
    announce(&desk, addresses);
    if development {
        explain_development(addresses)?;
    }
    let shutdown = async {
        // If the sender is gone, the server stops as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let server = async {
        open.run(tls, desk, shutdown).await?;
        if let Some(cluster) = cluster {
            // If the release fails, the Lease expires after 15 s.
            let _ = tokio::time::timeout(Duration::from_secs(2), cluster.stop()).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        stopped = server => {
            stopped?;
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Abort { signal, code } = abort => {
            tracing::warn!(signal, "aborted the shutdown: a second signal arrived; open reviews get no answer");
            Ok(ExitCode::from(code))
        }
    }
}

/// Returns how many of `connections` the process may open files for. Raises the soft limit of open files if it is too
/// low, up to the hard limit.
fn within_files(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` means no limit.
    let Some(mut allowed) = current.filter(|current| *current < needed) else { return connections };
    let wanted = maximum.unwrap_or(needed).min(needed);
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        allowed = wanted;
    }
    if allowed >= needed {
        return connections;
    }
    let possible = usize::try_from(allowed.saturating_sub(OTHER_FILES)).unwrap_or(connections).max(16);
    tracing::warn!(
        max_connections = connections,
        files = allowed,
        possible,
        "lowered the connection limit below `--max-connections`: the process may open too few files; \
         hint: raise `ulimit -n`"
    );
    possible
}

/// Everything that a server needs to answer reviews.
struct Prepared {
    tls: Arc<rustls::ServerConfig>,
    desk: Desk,
    cluster: Option<Cluster>,
    /// Tasks that watch files. They end when this set is dropped.
    _tasks: JoinSet<()>,
}

async fn prepare(args: Serve, metrics: &Arc<Metrics>) -> anyhow::Result<Prepared> {
    let mut tasks = JoinSet::new();
    let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
    let tls = wardset_port::config(served.clone(), args.client_ca.as_deref())?;
    let tls_dir = match args.tls_dir {
        Some(folder) => Some(folder),
        None if args.cluster.cluster => None,
        None => {
            development::make(Path::new(DEVELOPMENT))
                .context("failed to make a development certificate (hint: pass your own with `--tls-dir`)")?;
            Some(Path::new(DEVELOPMENT).join("tls"))
        }
    };
    if let Some(folder) = &tls_dir {
        let folder = CertificateFolder::open(folder, Arc::clone(&served))?;
        tasks.spawn(folder.watch(CERTIFICATE_PERIOD));
    }
    let sources: SupplyOptions = args.policies.into();
    let modules = setup::served_modules(&sources, args.allowed_registries, metrics.pulls.clone())?;
    let store = Arc::new(Store::new(modules, Arc::clone(metrics))?);
    tasks.spawn(Arc::clone(&store).keep_retrying());
    if let Some(seconds) = args.tag_interval_seconds {
        tasks.spawn(Arc::clone(&store).keep_resolving(Duration::from_secs(seconds.into())));
    }
    if !sources.policies.is_empty() {
        tasks.spawn(Followed::start(sources.policies, Arc::clone(&store)).await?.follow());
    } else if !args.cluster.cluster {
        store
            .put(store::Source::Files, policy_files::defaults()?.into_iter().map(Into::into).collect())
            .await;
    }
    let cluster = match args.cluster {
        typed if typed.cluster => {
            let certificates = tls_dir.is_none().then_some(&served);
            Some(join(typed, &store, metrics, certificates, &mut tasks).await?)
        }
        _ => None,
    };
    served.loaded().await;
    let namespaces = cluster.as_ref().map(Cluster::namespaces);
    let namespaces =
        namespaces.map_or(NamespaceSource::Fixed(NamespaceLabels::Unknown), NamespaceSource::Cluster);
    let evaluator = Evaluator::new(Arc::clone(store.modules().engine()), args.max_in_flight as usize);
    let mut judge =
        Judge::new(store.live(), namespaces, evaluator).observed_by(Arc::clone(metrics)).observed_by(LogLine);
    if let Some(cluster) = &cluster {
        judge = judge.with_nodes(NodeSource::Cluster(cluster.nodes())).with_revisions(cluster.revisions());
    }
    let desk = Desk { judge, modules: store.modules() };
    Ok(Prepared { tls, desk, cluster, _tasks: tasks })
}

/// Joins a cluster and returns once its policies are active. If `certificates` is given, the server issues and renews
/// its own certificates there.
async fn join(
    typed: args::ClusterArgs,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    certificates: Option<&Arc<ServedCertificate>>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Cluster> {
    let lifetimes = typed.lifetimes()?;
    let (client, namespace) = cluster::client().await?;
    let namespace = typed.namespace.unwrap_or(namespace);
    let names = cluster::LeaseNames { namespace: namespace.clone(), lease: typed.lease };
    let cluster = Cluster::start(&client, &names, store, metrics);
    if let Some(served) = certificates {
        let names = own::Names {
            namespace,
            service: typed.service,
            secret: typed.secret,
            webhooks: typed.webhooks,
            extra: typed.tls_names,
        };
        let (leading, served) = (cluster.leading(), Arc::clone(served));
        let certificates = Certificates::new(client, names, lifetimes, leading, served, Arc::clone(metrics))?;
        tasks.spawn(async { match certificates.run().await {} });
    }
    cluster.heard(store).await;
    Ok(cluster)
}

fn announce(desk: &Desk, addresses: Addresses) {
    let policies = desk.judge.policies();
    let blind = desk.judge.lacks_namespaces();
    for plan in policies.plans().iter().filter(|plan| blind && plan.policy.scope.needs_namespace_labels()) {
        tracing::warn!(
            policy = &*plan.policy.name,
            "this policy selects namespaces by labels, which the server does not know without `--cluster`; \
             it handles each review that the policy could apply to as `onError` says"
        );
    }
    tracing::info!(webhook = %addresses.webhook, admin = %addresses.admin, policies = policies.plans().len(), "ready");
}

/// Prints where the development certificate is, with a command that works as printed.
fn explain_development(addresses: Addresses) -> anyhow::Result<()> {
    let file = Path::new(DEVELOPMENT).join("review.json");
    development::write(&file, &setup::review_of(&setup::example()?)?)?;
    super::say(&format!(
        "Wardset made a development CA and certificate in {DEVELOPMENT}. Use them to try it out, not in a cluster.\n\
         The folder also holds an AdmissionReview of examples/fluentd-ds.yaml. Try:\n\n  \
         curl --cacert {DEVELOPMENT}/ca.pem -H 'Content-Type: application/json' --data @{DEVELOPMENT}/review.json \
         https://localhost:{}/mutate\n",
        addresses.webhook.port()
    ));
    Ok(())
}
