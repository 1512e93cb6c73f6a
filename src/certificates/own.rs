//! Certificates without cert-manager: a CA and a certificate in one Secret that all replicas share.
//!
//! ```text
//!   Secret ──watch──► contents ──► plan ──► apply ──► update (by resourceVersion; 409: read again)
//!                        │
//!                        ├──► ServedCertificate            each replica
//!                        └──► caBundle of both configurations   the leader only
//! ```
//!
//! Each replica loads the Secret, checks its certificate against the live `caBundle`s, and may fill an empty Secret.
//! If two replicas fill it at the same time, the API server accepts one of them. Only the leader renews certificates
//! and writes `caBundle`. While the API server is unreachable, the server keeps its certificate.
//!
//! This module never writes to a Secret with a certificate that Wardset did not issue. It never deletes anything and
//! never logs a key or a certificate.

mod authority;
pub mod ca_bundle;
mod configurations;
mod contents;
mod lifetimes;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, DefaultBackoff, watch_object};
use kube::{Api, Client};
use rustls::pki_types::DnsName;
use tokio::sync::watch;
use tokio::time::Instant;
use wardset_core::text;

use crate::certificates::ServedCertificate;
use crate::cluster::watching::backoff;
use crate::metrics::Metrics;
use ca_bundle::{Configuration, Kind, Service};

pub use authority::IssueError;
pub use contents::{Contents, Foreign, ISSUED, Own, RENEW, RETIRE};
pub use lifetimes::{CLOCK_SKEW, Lifetimes, LifetimesError};
pub use plan::{Action, ApplyError, CertificatePlan, plan};

/// Field manager of the server's writes.
const FIELD_MANAGER: &str = "wardset";
/// Timeout of one call to the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time between two plans. The clock may jump, and a timer does not notice that.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Minimum time between two plans.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// Maximum length of an error in the log, in bytes.
const MAX_ERROR: usize = 512;

/// The names of the resources that this module reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The namespace of the Secret and the Service.
    pub namespace: String,
    /// The Service through which the API server calls the webhook.
    pub service: String,
    /// The name of the Secret.
    pub secret: String,
    /// The name of both the MutatingWebhookConfiguration and the ValidatingWebhookConfiguration.
    pub webhooks: String,
    /// Additional DNS names of the certificate, which are also accepted as hosts in a configuration's URL. Default:
    /// none.
    pub extra: Vec<String>,
}

/// An error about a name that no certificate can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a DNS name for the certificate (no wildcard, no IP address), found `{0}`")]
pub struct NamesError(String);

impl Names {
    /// Returns the DNS names of the certificate. The API server requires the first one.
    fn dns(&self) -> Result<Vec<String>, NamesError> {
        let Self { namespace, service, .. } = self;
        let mut names = vec![
            self.service().host(),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
        ];
        for name in self.extra.iter().map(|name| name.to_ascii_lowercase()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in &names {
            if name.parse::<IpAddr>().is_ok() || DnsName::try_from(name.as_str()).is_err() {
                return Err(NamesError(name.clone()));
            }
        }
        Ok(names)
    }

    fn service(&self) -> Service {
        let hosts = self.extra.iter().map(|host| host.to_ascii_lowercase()).collect();
        Service { namespace: self.namespace.clone(), name: self.service.clone(), hosts }
    }
}

/// The task that maintains the certificate and the `caBundle`s. [`ServedCertificate::loaded`] completes when the task
/// has loaded its first certificate.
pub struct Certificates {
    names: Names,
    dns: Vec<String>,
    lifetimes: Lifetimes,
    leader: watch::Receiver<bool>,
    served: Arc<ServedCertificate>,
    metrics: Arc<Metrics>,
    client: Client,
    secret: Stored,
    configurations: BTreeMap<Kind, Seen<Configuration>>,
    /// The current bundle, and the time since which every configuration trusts all its CAs.
    live: Option<(String, Instant)>,
    /// The time since which a configuration has not trusted the served certificate, and whether the log already says
    /// so.
    untrusted: BTreeMap<Kind, (Instant, bool)>,
    said: BTreeMap<Topic, String>,
    /// The last action, until a plan has nothing to do. A repeated action would loop.
    last: Option<Action>,
    backoff: DefaultBackoff,
    /// Time before which nothing is written, because of a backoff.
    not_before: Option<Instant>,
}

/// The last state of an object that a watch reported.
#[derive(Debug, Clone)]
enum Seen<T> {
    Unknown,
    Absent,
    Present(T),
}

/// The last known Secret and its content.
struct Stored {
    seen: Seen<Secret>,
    contents: Contents,
    /// Whether the served certificate was issued by somebody else.
    foreign: bool,
}

/// A topic that the log mentions once at its start and once at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    WatchSecret,
    WatchConfiguration(Kind),
    Secret,
    Request,
    WriteSecret,
    WriteBundle(Kind),
    Absent(Kind),
}

impl Topic {
    /// Returns the topic's name in metrics and logs.
    fn label(self) -> &'static str {
        match self {
            Self::WatchSecret | Self::Secret | Self::WriteSecret | Self::Request => "secret",
            Self::WatchConfiguration(kind) | Self::WriteBundle(kind) | Self::Absent(kind) => kind.label(),
        }
    }
}

/// An error in a write to the API server.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the API server answered {code} {reason}: {message}")]
    Refused { code: u16, reason: String, message: String },
    #[error("failed to call the API server")]
    Api(#[source] kube::Error),
    #[error("the API server did not answer within 10s")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("`{0}` had no effect: the next plan asks for it again")]
    Repeated(&'static str),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Refused { code: status.code, reason: status.reason, message: status.message }
            }
            error => Self::Api(error),
        }
    }
}

impl Certificates {
    /// Prepares the task. `leader` says whether this replica leads; if its sender is gone, it does not.
    ///
    /// # Errors
    ///
    /// A name that no certificate can have.
    pub fn new(
        client: Client,
        names: Names,
        lifetimes: Lifetimes,
        leader: watch::Receiver<bool>,
        served: Arc<ServedCertificate>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, NamesError> {
        Ok(Self {
            dns: names.dns()?,
            names,
            lifetimes,
            leader,
            served,
            metrics,
            client,
            secret: Stored { seen: Seen::Unknown, contents: Contents::Empty, foreign: false },
            configurations: [Kind::Mutating, Kind::Validating].map(|kind| (kind, Seen::Unknown)).into(),
            live: None,
            untrusted: BTreeMap::new(),
            said: BTreeMap::new(),
            last: None,
            backoff: DefaultBackoff::default(),
            not_before: None,
        })
    }

    /// Maintains the certificate and the `caBundle`s until the future is dropped.
    pub async fn run(mut self) -> Infallible {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let mut secrets = pin!(watch_object(self.secrets(), &self.names.secret).backoff(backoff()));
        let mut mutating = pin!(watch_object(mutating, &self.names.webhooks).backoff(backoff()));
        let mut validating = pin!(watch_object(validating, &self.names.webhooks).backoff(backoff()));
        let mut leader = self.leader.clone();
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                Some(seen) = secrets.next() => {
                    if let Some(seen) = self.watched(Topic::WatchSecret, seen) {
                        self.take(seen);
                    }
                }
                Some(seen) = mutating.next() => self.configuration(Kind::Mutating, seen, Configuration::mutating),
                Some(seen) = validating.next() => {
                    self.configuration(Kind::Validating, seen, Configuration::validating);
                }
                Ok(()) = leader.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            wake = Instant::now() + self.step().await;
        }
    }

    /// Does everything that is due now. Returns the time until the next step.
    async fn step(&mut self) -> Duration {
        if matches!(self.secret.seen, Seen::Unknown) {
            return LONGEST_WAIT;
        }
        let mut wait = self.keep_secret().await;
        if self.leads() {
            wait = wait.min(self.keep_bundles().await);
        }
        wait = wait.min(self.check_trust());
        wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    fn leads(&self) -> bool {
        // If the sender is gone, its last value no longer counts.
        self.leader.has_changed().is_ok() && *self.leader.borrow()
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.names.namespace)
    }
}

/// The part that reads and writes the Secret.
impl Certificates {
    /// Records the Secret as the API server returned it, and serves a new certificate.
    fn take(&mut self, secret: Option<Secret>) {
        let contents = Contents::read(secret.as_ref());
        let name = format!("{}/{}", self.names.namespace, self.names.secret);
        let wrong = match &contents {
            Contents::Foreign(Foreign { pair: Err(error), .. }) => {
                self.served.refuse();
                Some(text::with_causes(error, MAX_ERROR))
            }
            Contents::Own(own) if !own.damaged().is_empty() => {
                Some(format!("malformed or missing: `{}`", own.damaged().join("`, `")))
            }
            _ => None,
        };
        let foreign = matches!(contents, Contents::Foreign(_));
        match wrong {
            Some(error) if self.says(Topic::Secret, &error) => {
                let then = if foreign {
                    "Wardset did not issue this certificate and leaves it alone; the previous one stays active"
                } else {
                    "Wardset rewrites it"
                };
                tracing::error!(secret = name, error, then, "failed to load the certificate from the Secret");
            }
            Some(_) => {}
            None => self.is_over(Topic::Secret, "the Secret is usable again"),
        }
        self.heed_request(secret.as_ref(), foreign);

        if let Some(pair) = contents.pair() {
            if self.served.current().is_none_or(|served| served.chain() != pair.chain()) {
                self.served.replace(pair.clone());
                tracing::info!(
                    secret = name,
                    serial = pair.leaf.serial,
                    supplied = foreign,
                    "loaded a certificate for new connections"
                );
            }
            self.secret.foreign = foreign;
        }
        self.secret.contents = contents;
        self.secret.seen = secret.map_or(Seen::Absent, Seen::Present);
    }

    /// Logs a request to renew that cannot be fulfilled.
    fn heed_request(&mut self, secret: Option<&Secret>, foreign: bool) {
        let asked = secret.and_then(|secret| secret.metadata.annotations.as_ref()?.get(RENEW));
        match asked {
            Some(asked) if foreign || !["leaf", "ca"].contains(&asked.as_str()) => {
                if self.says(Topic::Request, asked) {
                    let error = if foreign {
                        "Wardset did not issue this certificate and cannot renew it"
                    } else {
                        "expected `leaf` or `ca`"
                    };
                    tracing::warn!(annotation = RENEW, found = asked, error, "ignored a request to renew");
                }
            }
            _ => {
                self.said.remove(&Topic::Request);
            }
        }
    }

    /// Runs plans until one has nothing to do. Returns the time until the next plan.
    async fn keep_secret(&mut self) -> Duration {
        loop {
            let now = SystemTime::now();
            let live_for = self.live_for();
            let plan = plan(now, &self.secret.contents, &self.dns, &self.lifetimes, live_for);
            match plan.action {
                Action::WaitUntil(until) => {
                    self.last = None;
                    return until.duration_since(now).unwrap_or_default();
                }
                Action::LeaveAlone => {
                    self.last = None;
                    return LONGEST_WAIT;
                }
                _ => {}
            }
            if !(plan.urgent || self.leads()) || self.is_being_replaced(now) {
                return LONGEST_WAIT;
            }
            if let Some(left) = self.not_before.map(|moment| moment.saturating_duration_since(Instant::now()))
                && !left.is_zero()
            {
                return left;
            }
            if let Err(error) = self.act(plan.action, now).await {
                let wait = self.backoff.next().unwrap_or(LONGEST_WAIT);
                self.not_before = Some(Instant::now() + wait);
                let error = text::with_causes(&error, MAX_ERROR);
                if self.says(Topic::WriteSecret, &error) {
                    let secret = format!("{}/{}", self.names.namespace, self.names.secret);
                    tracing::error!(
                        secret,
                        action = plan.action.label(),
                        error,
                        "failed to write the Secret; the current certificate stays active, and the server \
                         retries; hint: check the server's RBAC rules for the Secret"
                    );
                }
                return wait;
            }
            self.backoff.reset();
            self.not_before = None;
            self.is_over(Topic::WriteSecret, "writing the Secret works again");
        }
    }

    /// Returns whether the person who supplied the certificate has removed it, perhaps to replace it. While the
    /// served certificate is valid, Wardset waits for the new one and writes nothing.
    fn is_being_replaced(&self, now: SystemTime) -> bool {
        let good = self.served.current().is_some_and(|served| now <= served.leaf.not_after);
        self.secret.foreign && good && self.secret.contents.pair().is_none()
    }

    /// Executes one action on the Secret. If another replica was faster, its result is loaded instead.
    async fn act(&mut self, action: Action, now: SystemTime) -> Result<(), WriteError> {
        if self.last.take() == Some(action) {
            return Err(WriteError::Repeated(action.label()));
        }
        let own = match &self.secret.contents {
            Contents::Own(own) => Own::clone(own),
            Contents::Empty | Contents::Foreign(_) => Own::default(),
        };
        let own = plan::apply(action, now, own, &self.dns, &self.lifetimes)?;
        let secrets = self.secrets();
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = match &self.secret.seen {
            Seen::Present(secret) => {
                let mut secret = secret.clone();
                own.write(&mut secret);
                tokio::time::timeout(CALL_TIMEOUT, secrets.replace(&self.names.secret, &params, &secret))
                    .await?
            }
            Seen::Absent | Seen::Unknown => {
                let metadata = ObjectMeta { name: Some(self.names.secret.clone()), ..ObjectMeta::default() };
                let type_ = Some("Opaque".to_owned());
                let mut secret = Secret { metadata, type_, ..Secret::default() };
                own.write(&mut secret);
                tokio::time::timeout(CALL_TIMEOUT, secrets.create(&params, &secret)).await?
            }
        };
        match written {
            Ok(secret) => {
                self.metrics.certificates.changed(action.label());
                self.last = Some(action);
                tracing::info!(
                    secret = format!("{}/{}", self.names.namespace, self.names.secret),
                    action = action.label(),
                    "wrote the Secret"
                );
                self.take(Some(secret));
            }
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                let read = tokio::time::timeout(CALL_TIMEOUT, secrets.get_opt(&self.names.secret)).await??;
                tracing::info!(
                    action = action.label(),
                    "another client changed the Secret; reading it again"
                );
                self.take(read);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The part that logs.
impl Certificates {
    /// Returns the object that a watch reported. A repeated error is logged once, because the watch retries
    /// automatically.
    fn watched<T>(&mut self, topic: Topic, seen: Result<T, watcher::Error>) -> Option<T> {
        match seen {
            Ok(seen) => {
                self.is_over(topic, "the watch works again");
                Some(seen)
            }
            Err(error) => {
                self.metrics.watch_failed(topic.label());
                // The text of such an error already includes its causes.
                let error = text::one_line(&error.to_string(), MAX_ERROR);
                if self.says(topic, &error) {
                    tracing::warn!(
                        what = topic.label(),
                        error,
                        "failed to watch the API server; the server keeps its certificate and retries; \
                         hint: check the network and the server's RBAC rules"
                    );
                }
                None
            }
        }
    }

    /// Records `text` as the topic's last message. Returns whether it is new.
    fn says(&mut self, topic: Topic, text: &str) -> bool {
        self.said.insert(topic, text.to_owned()).is_none_or(|before| before != text)
    }

    /// Logs that a topic's last message no longer applies.
    fn is_over(&mut self, topic: Topic, text: &'static str) {
        if self.said.remove(&topic).is_some() {
            tracing::info!(what = topic.label(), "{text}");
        }
    }
}
