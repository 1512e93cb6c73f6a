//! What is said of certificates: when they end, whether they are trusted, how often they change.

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

/// What became of a certificate that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is being served.
    Loaded,
    /// It can't be served; the one before stays.
    Refused,
}

/// Gauges and counters of certificates. A clone counts into the same ones.
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
            "When the certificate that is served ends, and the CA that signed it, on the Unix clock",
            Unit::Seconds,
            self.not_after.clone(),
        );
        registry.register(
            "certificate_trusted",
            "1 where the certificate that is served verifies against every caBundle of the configuration, else 0",
            self.trusted.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Certificates that were found, by whether they could be served",
            self.reloads.clone(),
        );
        registry.register(
            "certificate_changes",
            "What this replica wrote to the Secret and to caBundle",
            self.changes.clone(),
        );
    }

    /// Says when the served certificate ends, and the CA that signed it where it is known; seconds of the Unix clock.
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

    /// Counts a certificate that was found.
    pub fn reloaded(&self, reload: Reload) {
        let result = match reload {
            Reload::Loaded => "loaded",
            Reload::Refused => "refused",
        };
        self.reloads.get_or_create(&ResultLabels { result }).inc();
    }

    /// Says whether what is served verifies against a configuration's bundles; None where it has none of ours.
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

    /// Counts something that was written.
    pub fn changed(&self, change: &'static str) {
        self.changes.get_or_create(&ChangeLabels { change }).inc();
    }
}
