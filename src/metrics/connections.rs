//! What is said of connections: how many there are, and why some were cut.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    port: &'static str,
    reason: &'static str,
}

/// A port of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Webhook,
    Admin,
}

/// Why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its handshake or the head of a request did not arrive in time.
    Slow,
    /// It was without a request for too long.
    Idle,
    /// It was idle, and a newcomer needed its place.
    GaveWay,
    /// There was no place for it.
    Refused,
    /// Its client reset requests by the hundred.
    Resets,
}

/// Gauges and counters of connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMetrics {
    open: Family<PortLabels, Gauge>,
    cut: Family<CutLabels, Counter>,
}

impl Port {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

impl Cut {
    fn label(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Idle => "idle",
            Self::GaveWay => "gave_way",
            Self::Refused => "refused",
            Self::Resets => "resets",
        }
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections that are open, by port", self.open.clone());
        registry.register(
            "connections_cut",
            "Connections that the server ended, by port and reason",
            self.cut.clone(),
        );
    }

    pub(super) fn open(&self, port: Port, open: usize) {
        let labels = PortLabels { port: port.label() };
        self.open.get_or_create(&labels).set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(super) fn cut(&self, port: Port, why: Cut) {
        self.cut.get_or_create(&CutLabels { port: port.label(), reason: why.label() }).inc();
    }
}
