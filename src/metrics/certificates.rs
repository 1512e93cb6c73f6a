//! Metrics of certificates: when they expire, whether they are trusted, how often they change.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigurationLabels {
    configuration: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    change: &'static str,
}

/// The result of loading a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The server serves the certificate.
    Loaded,
    /// The certificate is unusable, so the server keeps the previous one.
    Refused,
}

/// Metrics of certificates. All clones share the same values.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    not_after: Family<CertificateLabels, Gauge>,
    trusted: Family<ConfigurationLabels, Gauge>,
    reloads: Family<ResultLabels, Counter>,
    changes: Family<ChangeLabels, Counter>,
}

impl CertificateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "certificate_not_after",
            "End of validity of the served certificate and of the CA that signed it, as Unix time",
            Unit::Seconds,
            self.not_after.clone(),
        );
        registry.register(
            "certificate_trusted",
            "1 if the served certificate verifies against every caBundle of the configuration, else 0",
            self.trusted.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Attempts to load a new certificate, by result",
            self.reloads.clone(),
        );
        registry.register(
            "certificate_changes",
            "Writes of this replica to the Secret and to caBundle",
            self.changes.clone(),
        );
    }

    /// Records when the served certificate and its CA expire, in seconds of Unix time. `ca` is `None` if the CA is
    /// unknown.
    pub fn ends(&self, leaf: i64, ca: Option<i64>) {
        self.not_after.get_or_create(&CertificateLabels { certificate: "leaf" }).set(leaf);
        let labels = CertificateLabels { certificate: "ca" };
        match ca {
            Some(ca) => {
                self.not_after.get_or_create(&labels).set(ca);
            }
            None => {
                self.not_after.remove(&labels);
            }
        }
    }

    /// Counts an attempt to load a certificate.
    pub fn reloaded(&self, reload: Reload) {
        let result = match reload {
            Reload::Loaded => "loaded",
            Reload::Refused => "refused",
        };
        self.reloads.get_or_create(&ResultLabels { result }).inc();
    }

    /// Records whether the served certificate verifies against a configuration. `None` means that the configuration
    /// has no entry for this server.
    pub fn trusted(&self, configuration: &'static str, trusted: Option<bool>) {
        let labels = ConfigurationLabels { configuration };
        match trusted {
            Some(trusted) => {
                self.trusted.get_or_create(&labels).set(trusted.into());
            }
            None => {
                self.trusted.remove(&labels);
            }
        }
    }

    /// Counts a write to the Secret or to `caBundle`.
    pub fn changed(&self, change: &'static str) {
        self.changes.get_or_create(&ChangeLabels { change }).inc();
    }
}
