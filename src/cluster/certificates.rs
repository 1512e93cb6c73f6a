//! Certificates without cert-manager: a CA and a certificate in one Secret that all replicas share.
//!
//! ```text
//!   Secret ──watch──► contents ──► plan ──► apply ──► update (by resourceVersion; 409: read again)
//!                        │
//!                        ├──► ServedCertificate            each replica
//!                        └──► caBundle of both configurations   the one that leads
//! ```
//!
//! Each replica loads the Secret, checks the certificate that it serves against the live `caBundle`s, and may fill an empty
//! Secret: of two that do so at once, the API server takes one. All that has a time, and `caBundle`, is for the replica that
//! leads. While the API server is away, the server goes on with what it has.
//!
//! It never writes to a Secret whose certificate somebody else made, never deletes anything, and never puts a key or a
//! certificate into the log.

mod authority;
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

use crate::certificate::ServedCertificate;
use crate::cluster::bundle::{Configuration, Kind, Service};
use crate::metrics::Metrics;

pub use authority::IssueError;
pub use contents::{Contents, Foreign, ISSUED, Own, RENEW, RETIRE};
pub use lifetimes::{CLOCK_SKEW, Lifetimes, LifetimesError};
pub use plan::{Action, ApplyError, Plan, plan};

/// Who is said to have written a field.
const FIELD_MANAGER: &str = "wardset";
/// How long one call of the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The plan is made anew at least so often: clocks jump, and a timer that was set by one doesn't know.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// And at most so often.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// The most bytes of an error in the log.
const MAX_ERROR: usize = 512;

/// The names of what the certificates are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The namespace of Secret and Service.
    pub namespace: String,
    /// The Service by which the API server reaches the webhook.
    pub service: String,
    /// The Secret.
    pub secret: String,
    /// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration; both have this name.
    pub webhooks: String,
    /// Further DNS names that the certificate is to have, and hosts that a URL in a configuration may name. Default: none.
    pub extra: Vec<String>,
}

/// A name that no certificate can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no DNS name that a certificate can be made for; expected one without a wildcard, and no address"
)]
pub struct NamesError(String);

impl Names {
    /// The DNS names of the certificate. The first is the one that the API server asks for.
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

/// The task that keeps certificate and `caBundle`s in order. What [`ServedCertificate::loaded`] waits for is its first success.
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
    /// Since when every configuration has had every CA of this bundle.
    live: Option<(String, Instant)>,
    /// Since when a configuration has not trusted what is served, and whether the log says so.
    untrusted: BTreeMap<Kind, (Instant, bool)>,
    said: BTreeMap<Topic, String>,
    /// What was done last, until there was nothing to do.
    last: Option<Action>,
    backoff: DefaultBackoff,
    /// Nothing is written before.
    not_before: Option<Instant>,
}

/// Something that a watch tells.
#[derive(Debug, Clone)]
enum Seen<T> {
    Unknown,
    Absent,
    Present(T),
}

/// The Secret as the API server last gave it, and what it says.
struct Stored {
    seen: Seen<Secret>,
    contents: Contents,
    /// Whether what is served was made by somebody else.
    foreign: bool,
}

/// What the log says once, and once more when it is over.
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
    /// The word for metrics and logs.
    fn label(self) -> &'static str {
        match self {
            Self::WatchSecret | Self::Secret | Self::WriteSecret | Self::Request => "secret",
            Self::WatchConfiguration(kind) | Self::WriteBundle(kind) | Self::Absent(kind) => kind.label(),
        }
    }
}

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the API server answered {code} {reason}: {message}")]
    Refused { code: u16, reason: String, message: String },
    #[error("the API server can't be reached, or understood")]
    Api(#[source] kube::Error),
    #[error("the API server didn't answer within 10s")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("`{0}` was done, and is to be done again at once")]
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
    /// Prepares the task. `leader` says whether this replica leads; where its sender is gone, it doesn't.
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

    /// Keeps all in order until it is dropped.
    pub async fn run(mut self) -> Infallible {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let mut secrets = pin!(watch_object(self.secrets(), &self.names.secret).default_backoff());
        let mut mutating = pin!(watch_object(mutating, &self.names.webhooks).default_backoff());
        let mut validating = pin!(watch_object(validating, &self.names.webhooks).default_backoff());
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

    /// Does what is to be done now, and says how long nothing will have to be.
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
        // Where nobody says any more who leads, the last word doesn't count.
        self.leader.has_changed().is_ok() && *self.leader.borrow()
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.names.namespace)
    }
}

/// The Secret.
impl Certificates {
    /// Takes the Secret as the API server gave it, and serves what is new.
    fn take(&mut self, secret: Option<Secret>) {
        let contents = Contents::read(secret.as_ref());
        let name = format!("{}/{}", self.names.namespace, self.names.secret);
        let wrong = match &contents {
            Contents::Foreign(Foreign { pair: Err(error), .. }) => {
                self.served.refuse();
                Some(text::with_causes(error, MAX_ERROR))
            }
            Contents::Own(own) if !own.damaged().is_empty() => {
                Some(format!("`{}` can't be used as it stands", own.damaged().join("`, `")))
            }
            _ => None,
        };
        let foreign = matches!(contents, Contents::Foreign(_));
        match wrong {
            Some(error) if self.says(Topic::Secret, &error) => {
                let then = if foreign {
                    "somebody else put it there, so it is left alone; the certificate before stays in force"
                } else {
                    "it is mended"
                };
                tracing::error!(secret = name, error, then, "the Secret has no usable content");
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
                    "a certificate is in force for new connections"
                );
            }
            self.secret.foreign = foreign;
        }
        self.secret.contents = contents;
        self.secret.seen = secret.map_or(Seen::Absent, Seen::Present);
    }

    /// Says where a request to renew can't be met.
    fn heed_request(&mut self, secret: Option<&Secret>, foreign: bool) {
        let asked = secret.and_then(|secret| secret.metadata.annotations.as_ref()?.get(RENEW));
        match asked {
            Some(asked) if foreign || !["leaf", "ca"].contains(&asked.as_str()) => {
                if self.says(Topic::Request, asked) {
                    let error = if foreign {
                        "somebody else made this certificate, so Wardset can't renew it"
                    } else {
                        "expected `leaf` or `ca`"
                    };
                    tracing::warn!(annotation = RENEW, found = asked, error, "nothing is renewed");
                }
            }
            _ => {
                self.said.remove(&Topic::Request);
            }
        }
    }

    /// Does what the plan says, as long as it says something.
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
                        "the Secret can't be written; it is tried again"
                    );
                }
                return wait;
            }
            self.backoff.reset();
            self.not_before = None;
            self.is_over(Topic::WriteSecret, "the Secret can be written again");
        }
    }

    /// Whether somebody who supplied the certificate has taken it away, which is how some people replace one. While
    /// what is served is good, nothing of ours stands in the way of theirs.
    fn is_being_replaced(&self, now: SystemTime) -> bool {
        let good = self.served.current().is_some_and(|served| now <= served.leaf.not_after);
        self.secret.foreign && good && self.secret.contents.pair().is_none()
    }

    /// Does one thing to the Secret. Where another replica was first, what it wrote is taken instead.
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
                let type_ = Some("kubernetes.io/tls".to_owned());
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
                    "the Secret is written"
                );
                self.take(Some(secret));
            }
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                let read = tokio::time::timeout(CALL_TIMEOUT, secrets.get_opt(&self.names.secret)).await??;
                tracing::info!(action = action.label(), "the Secret was changed meanwhile; it is read again");
                self.take(read);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The log.
impl Certificates {
    /// What a watch gave; an error is said once, since the watch is tried again by itself.
    fn watched<T>(&mut self, topic: Topic, seen: Result<T, watcher::Error>) -> Option<T> {
        match seen {
            Ok(seen) => {
                self.is_over(topic, "the watch goes on");
                Some(seen)
            }
            Err(error) => {
                self.metrics.watch_failed(topic.label());
                // Such an error repeats its causes by itself.
                let error = text::one_line(&error.to_string(), MAX_ERROR);
                if self.says(topic, &error) {
                    tracing::warn!(
                        what = topic.label(),
                        error,
                        "the API server can't be watched; the server goes on with what it has"
                    );
                }
                None
            }
        }
    }

    /// Whether this hasn't been said of the topic already.
    fn says(&mut self, topic: Topic, text: &str) -> bool {
        self.said.insert(topic, text.to_owned()).is_none_or(|before| before != text)
    }

    /// Says that what was said of the topic doesn't hold any more.
    fn is_over(&mut self, topic: Topic, text: &'static str) {
        if self.said.remove(&topic).is_some() {
            tracing::info!(what = topic.label(), "{text}");
        }
    }
}
