//! The two webhook configurations: `caBundle` is written by the replica that leads, and what is served verified by each.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use tokio::time::Instant;
use wardset_core::text;

use super::{CALL_TIMEOUT, Certificates, FIELD_MANAGER, LONGEST_WAIT, MAX_ERROR, Seen, Topic, WriteError};
use crate::certificate;
use crate::cluster::bundle::{Configuration, Kind, Service};

/// For how long a certificate may be untrusted before the log says so: a change takes a moment to be everywhere.
const UNTRUSTED_GRACE: Duration = Duration::from_secs(10);

impl Certificates {
    pub(super) fn configuration<K>(
        &mut self,
        kind: Kind,
        seen: Result<Option<K>, watcher::Error>,
        read: fn(&K, &Service) -> Configuration,
    ) {
        let Some(seen) = self.watched(Topic::WatchConfiguration(kind), seen) else { return };
        let seen = match seen {
            Some(configuration) => {
                self.is_over(Topic::Absent(kind), "the webhook configuration is there");
                Seen::Present(read(&configuration, &self.names.service()))
            }
            None => {
                if self.says(Topic::Absent(kind), "") {
                    tracing::warn!(
                        configuration = kind.label(),
                        name = self.names.webhooks,
                        "the webhook configuration is not there, so the API server doesn't ask"
                    );
                }
                Seen::Absent
            }
        };
        self.configurations.insert(kind, seen);
    }

    /// For how long every configuration has had every CA that the Secret trusts, as far as this replica has seen.
    pub(super) fn live_for(&mut self) -> Option<Duration> {
        let bundle = self.secret.contents.bundle()?;
        let cas = certificate::certificates(bundle.as_bytes()).ok()?;
        let live = self.configurations.values().all(|seen| match seen {
            Seen::Unknown => false,
            Seen::Absent => true,
            Seen::Present(configuration) => configuration.trusts(&cas),
        });
        if !live {
            self.live = None;
        } else if self.live.as_ref().is_none_or(|(before, _)| *before != bundle) {
            self.live = Some((bundle, Instant::now()));
        }
        self.live.as_ref().map(|(_, since)| since.elapsed())
    }

    /// Writes the bundle into the configurations that have another.
    pub(super) async fn keep_bundles(&mut self) -> Duration {
        let Some(bundle) = self.secret.contents.bundle() else { return LONGEST_WAIT };
        let mut wait = LONGEST_WAIT;
        for kind in [Kind::Mutating, Kind::Validating] {
            let Some(Seen::Present(configuration)) = self.configurations.get(&kind) else { continue };
            let Some(patch) = configuration.patch(&bundle) else { continue };
            match self.patch(kind, patch).await {
                Ok(Some(configuration)) => {
                    self.metrics.certificates.changed("ca-bundle");
                    self.is_over(Topic::WriteBundle(kind), "caBundle can be written again");
                    tracing::info!(
                        configuration = kind.label(),
                        name = self.names.webhooks,
                        "caBundle is written"
                    );
                    self.configurations.insert(kind, Seen::Present(configuration));
                }
                // Somebody else was first; the watch will tell what they wrote.
                Ok(None) => wait = wait.min(Duration::from_secs(1)),
                Err(error) => {
                    let error = text::with_causes(&error, MAX_ERROR);
                    if self.says(Topic::WriteBundle(kind), &error) {
                        tracing::error!(
                            configuration = kind.label(),
                            name = self.names.webhooks,
                            error,
                            "caBundle can't be written; it is tried again"
                        );
                    }
                    wait = wait.min(Duration::from_secs(5));
                }
            }
        }
        // A bundle that has just come everywhere sets the clock of the overlap.
        let overlap = self.lifetimes.overlap();
        match self.live_for() {
            Some(live_for) if live_for < overlap => wait.min(overlap - live_for),
            _ => wait,
        }
    }

    /// The configuration as it is after the patch; None where it has changed since it was read.
    async fn patch(&self, kind: Kind, patch: serde_json::Value) -> Result<Option<Configuration>, WriteError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let (name, service) = (&self.names.webhooks, self.names.service());
        let patch = Patch::Strategic(patch);
        let patched = match kind {
            Kind::Mutating => {
                let api = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
                let patched = tokio::time::timeout(CALL_TIMEOUT, api.patch(name, &params, &patch)).await?;
                patched.map(|found| Configuration::mutating(&found, &service))
            }
            Kind::Validating => {
                let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
                let patched = tokio::time::timeout(CALL_TIMEOUT, api.patch(name, &params, &patch)).await?;
                patched.map(|found| Configuration::validating(&found, &service))
            }
        };
        match patched {
            Ok(configuration) => Ok(Some(configuration)),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Verifies what is served as the API server would. Says in the log when that changes, and how long nothing has to be said.
    pub(super) fn check_trust(&mut self) -> Duration {
        let Some(served) = self.served.current() else { return LONGEST_WAIT };
        let now = SystemTime::now();
        let mut wait = LONGEST_WAIT;
        for (kind, seen) in &self.configurations {
            let verified = match seen {
                Seen::Present(configuration) => configuration.verify(served.chain(), now),
                Seen::Unknown | Seen::Absent => None,
            };
            self.metrics.certificates.trusted(kind.label(), verified.as_ref().map(Result::is_ok));
            match verified {
                Some(Err(error)) => {
                    let (since, said) = self.untrusted.entry(*kind).or_insert((Instant::now(), false));
                    let left = UNTRUSTED_GRACE.saturating_sub(since.elapsed());
                    if left.is_zero() && !*said {
                        *said = true;
                        tracing::warn!(
                            configuration = kind.label(),
                            name = self.names.webhooks,
                            error = text::with_causes(&error, MAX_ERROR),
                            "the API server can't trust this server"
                        );
                    }
                    if !*said {
                        wait = wait.min(left);
                    }
                }
                Some(Ok(())) => {
                    if let Some((_, true)) = self.untrusted.remove(kind) {
                        tracing::info!(
                            configuration = kind.label(),
                            name = self.names.webhooks,
                            "the API server can trust this server again"
                        );
                    }
                }
                None => {
                    self.untrusted.remove(kind);
                }
            }
        }
        wait
    }
}
