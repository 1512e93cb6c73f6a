//! The two webhook configurations: writes their `caBundle` as the leader, and verifies the served certificate against
//! each.

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
use crate::certificates;
use crate::certificates::own::ca_bundle::{Configuration, Kind, Service};

/// Time for which a certificate may be untrusted before the log mentions it, because a change takes a moment to reach
/// every replica.
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
                self.is_over(Topic::Absent(kind), "found the webhook configuration");
                Seen::Present(read(&configuration, &self.names.service()))
            }
            None => {
                if self.says(Topic::Absent(kind), "") {
                    tracing::warn!(
                        configuration = kind.label(),
                        name = self.names.webhooks,
                        "failed to find the webhook configuration, so the API server sends no reviews; \
                         hint: install it, or pass its name by `--webhooks`"
                    );
                }
                Seen::Absent
            }
        };
        self.configurations.insert(kind, seen);
    }

    /// Returns how long every configuration has trusted every CA of the Secret, as far as this replica has seen.
    pub(super) fn live_for(&mut self) -> Option<Duration> {
        let bundle = self.secret.contents.bundle()?;
        let cas = certificates::certificates(bundle.as_bytes()).ok()?;
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

    /// Writes the bundle into each configuration that has another. Returns the time until the next check.
    pub(super) async fn keep_bundles(&mut self) -> Duration {
        let Some(bundle) = self.secret.contents.bundle() else { return LONGEST_WAIT };
        let mut wait = LONGEST_WAIT;
        for kind in [Kind::Mutating, Kind::Validating] {
            let Some(Seen::Present(configuration)) = self.configurations.get(&kind) else { continue };
            let Some(patch) = configuration.patch(&bundle) else { continue };
            match self.patch(kind, patch).await {
                Ok(Some(configuration)) => {
                    self.metrics.certificates.changed("ca-bundle");
                    self.is_over(Topic::WriteBundle(kind), "writing caBundle works again");
                    tracing::info!(
                        configuration = kind.label(),
                        name = self.names.webhooks,
                        "wrote caBundle"
                    );
                    self.configurations.insert(kind, Seen::Present(configuration));
                }
                // Another replica was faster; the watch will report its result.
                Ok(None) => wait = wait.min(Duration::from_secs(1)),
                Err(error) => {
                    let error = text::with_causes(&error, MAX_ERROR);
                    if self.says(Topic::WriteBundle(kind), &error) {
                        tracing::error!(
                            configuration = kind.label(),
                            name = self.names.webhooks,
                            error,
                            "failed to write caBundle; the server retries; \
                             hint: check the server's RBAC rules for webhook configurations"
                        );
                    }
                    wait = wait.min(Duration::from_secs(5));
                }
            }
        }
        // The overlap starts once every configuration has the bundle.
        let overlap = self.lifetimes.overlap();
        match self.live_for() {
            Some(live_for) if live_for < overlap => wait.min(overlap - live_for),
            _ => wait,
        }
    }

    /// Applies a patch and returns the new configuration. Returns `None` if it has changed in the meantime.
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

    /// Verifies the served certificate as the API server does, and logs a change of the result. Returns the time
    /// until the next check.
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
                            "the API server does not trust this server's certificate, so its calls to the webhook \
                             fail; hint: check the `caBundle` of the configuration"
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
                            "the API server trusts this server's certificate again"
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
