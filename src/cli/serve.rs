//! `wardset serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use wardset_runtime::Snapshot;

use super::args::{LogFormat, Serve};
use crate::review::{input::Source, request};
use crate::server::{Addresses, Options, development, tls};
use crate::{app, telemetry};

/// Where development certificates go. Git ignores it.
const DEVELOPMENT: &str = "certs/dev";

pub(super) async fn run(args: Serve) -> anyhow::Result<ExitCode> {
    telemetry::for_server(args.log_format == LogFormat::Json);
    // Before anything else, so that an early signal isn't lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let development = args.tls_dir.is_none();
    // A development certificate is nothing to show to a network.
    let everywhere = IpAddr::V4(if development { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED });
    let options = Options {
        listen: args.listen.unwrap_or(SocketAddr::new(everywhere, 8443)),
        admin: args.admin.unwrap_or(SocketAddr::new(everywhere, 8081)),
        max_in_flight: args.max_in_flight as usize,
        drain: Duration::from_secs(args.drain_seconds.into()),
    };
    // The sockets first: where another server has them, its development certificate must stay as it is.
    let bound = options.bind()?;
    let tls_dir = match args.tls_dir {
        Some(folder) => folder,
        None => {
            development::make(Path::new(DEVELOPMENT))
                .context("no development certificate; give one by --tls-dir")?;
            Path::new(DEVELOPMENT).join("tls")
        }
    };
    let tls = tls::from_folder(&tls_dir)?;
    if tls_dir.join("ca.crt").exists() {
        tracing::warn!(folder = %tls_dir.display(), "`ca.crt` is there: clients must show a certificate that it signed");
    }
    let snapshot = Arc::new(app::snapshot(&args.policies.into()).await?);
    announce(&snapshot, bound.addresses);
    if development {
        explain_development(bound.addresses)?;
    }
    bound.run(tls, snapshot, shutdown).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn announce(snapshot: &Snapshot, addresses: Addresses) {
    for plan in snapshot.plans().iter().filter(|plan| plan.policy.scope.needs_namespace_labels()) {
        tracing::warn!(
            policy = &*plan.policy.name,
            "this policy selects namespaces by labels, which are not known without a cluster: each review that it could \
             apply to is handled as its `onError` says"
        );
    }
    tracing::info!(webhook = %addresses.webhook, admin = %addresses.admin, policies = snapshot.plans().len(), "ready");
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
