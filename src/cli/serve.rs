//! `wardset serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::{self, LogFormat, Serve};
use crate::app::{self, Sources};
use crate::certificate::ServedCertificate;
use crate::cluster::certificates::{self, Certificates};
use crate::cluster::{self, Cluster};
use crate::metrics::Metrics;
use crate::policies::{self, Followed};
use crate::review::{input::Source, request};
use crate::server::tls::{self, CertificateFolder};
use crate::server::{Addresses, Desk, Limits, Options, development};
use crate::store::{self, Store};
use crate::telemetry;

/// Where development certificates go. Git ignores it.
const DEVELOPMENT: &str = "certs/dev";

/// Files that are none of the webhook's connections: the admin port's, those to the API server, certificates, policies,
/// modules.
const OTHER_FILES: u64 = 256;

/// How often the certificate's files are looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Serve) -> anyhow::Result<ExitCode> {
    let log = telemetry::for_server(args.log_format == LogFormat::Json)?;
    // Before anything else, so that an early signal isn't lost.
    let mut stop = stop_on_signal()?;
    let development = args.tls_dir.is_none() && !args.cluster.cluster;
    // A development certificate is nothing to show to a network.
    let everywhere = IpAddr::V4(if development { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED });
    let options = Options {
        listen: args.listen.unwrap_or(SocketAddr::new(everywhere, 8443)),
        admin: args.admin.unwrap_or(SocketAddr::new(everywhere, 8081)),
        max_in_flight: args.max_in_flight as usize,
        max_connections: within_files(args.max_connections as usize),
        drain: Duration::from_secs(args.drain_seconds.into()),
        limits: Limits::default(),
    };
    let metrics = Arc::new(Metrics::new());
    metrics.watch_log(&log);
    // The sockets first: where another server has them, its development certificate must stay as it is.
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
        // A sender that is gone is a reason to stop, too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    open.run(tls, desk, shutdown).await?;
    if let Some(cluster) = cluster {
        // A Lease that can't be given back ends by itself.
        let _ = tokio::time::timeout(Duration::from_secs(2), cluster.stop()).await;
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// As many of `connections` as the process may have files for. It asks for more files where it has too few, as each program
/// may up to its hard limit.
fn within_files(connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
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
        "fewer connections than `--max-connections`: the process may open no more files (`ulimit -n`)"
    );
    possible
}

/// All that a server needs to answer reviews.
struct Prepared {
    tls: Arc<rustls::ServerConfig>,
    desk: Desk,
    cluster: Option<Cluster>,
    /// What follows files; it ends with this.
    _tasks: JoinSet<()>,
}

async fn prepare(args: Serve, metrics: &Arc<Metrics>) -> anyhow::Result<Prepared> {
    let mut tasks = JoinSet::new();
    let served = Arc::new(ServedCertificate::new(metrics.certificates.clone()));
    let tls = tls::config(Arc::clone(&served), args.client_ca.as_deref())?;
    let tls_dir = match args.tls_dir {
        Some(folder) => Some(folder),
        None if args.cluster.cluster => None,
        None => {
            development::make(Path::new(DEVELOPMENT))
                .context("no development certificate; give one by --tls-dir")?;
            Some(Path::new(DEVELOPMENT).join("tls"))
        }
    };
    if let Some(folder) = &tls_dir {
        let folder = CertificateFolder::open(folder, Arc::clone(&served))?;
        tasks.spawn(folder.watch(CERTIFICATE_PERIOD));
    }
    let sources: Sources = args.policies.into();
    let store = Arc::new(Store::new(app::modules(&sources)?, Arc::clone(metrics))?);
    if !sources.policies.is_empty() {
        tasks.spawn(Followed::start(sources.policies, Arc::clone(&store)).await?.follow());
    } else if !args.cluster.cluster {
        store.put(store::Source::Files, policies::defaults()?.into_iter().map(Into::into).collect()).await;
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
    let desk = Desk { policies: store.live(), modules: store.modules(), namespaces };
    Ok(Prepared { tls, desk, cluster, _tasks: tasks })
}

/// Becomes a server of a cluster: returns once its policies are in force. With `certificates` it keeps its own there.
async fn join(
    typed: args::Cluster,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    certificates: Option<&Arc<ServedCertificate>>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Cluster> {
    let lifetimes = typed.lifetimes()?;
    let (client, namespace) = cluster::client().await?;
    let namespace = typed.namespace.unwrap_or(namespace);
    let names = cluster::Names { namespace: namespace.clone(), lease: typed.lease };
    let cluster = Cluster::start(&client, &names, store, metrics);
    if let Some(served) = certificates {
        let names = certificates::Names {
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

/// True from the first SIGTERM, SIGINT or SIGHUP on.
fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        stop.send_replace(true);
        // Later signals change nothing; the receivers learn of the end by this value.
        stop.closed().await;
    });
    Ok(stopped)
}

fn announce(desk: &Desk, addresses: Addresses) {
    let policies = desk.policies.load();
    let blind = desk.namespaces.is_none();
    for plan in policies.plans().iter().filter(|plan| blind && plan.policy.scope.needs_namespace_labels()) {
        tracing::warn!(
            policy = &*plan.policy.name,
            "this policy selects namespaces by labels, which are not known without --cluster: each review that it could \
             apply to is handled as its `onError` says"
        );
    }
    tracing::info!(webhook = %addresses.webhook, admin = %addresses.admin, policies = policies.plans().len(), "ready");
}

/// Says what was made, with a command that works as it stands.
fn explain_development(addresses: Addresses) -> anyhow::Result<()> {
    let manifest: serde_json::Value =
        crate::yaml::documents(include_str!("../../examples/fluentd-ds.yaml"))?.remove(0);
    let source = Source { origin: String::new(), json: manifest.to_string() };
    let sample = request::build(&source, &request::Settings::default())?;
    let file = Path::new(DEVELOPMENT).join("review.json");
    development::write(&file, &String::from_utf8(sample.bytes)?)?;
    super::say(&format!(
        "A development CA and certificate were made under {DEVELOPMENT}; they are for trying out, not for a cluster.\n\
         An AdmissionReview of examples/fluentd-ds.yaml is beside them. Try:\n\n  \
         curl --cacert {DEVELOPMENT}/ca.pem -H 'Content-Type: application/json' --data @{DEVELOPMENT}/review.json \
         https://localhost:{}/mutate\n",
        addresses.webhook.port()
    ));
    Ok(())
}
