//! Metrics of connections: how many are open, and why the server closed some.

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

/// The reason why the server closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The TLS handshake or a request's headers did not arrive in time.
    Slow,
    /// The connection had no request for too long.
    Idle,
    /// The connection was idle and was evicted in favour of a new one.
    GaveWay,
    /// The connection limit was reached and no connection was idle.
    Refused,
    /// The client reset too many requests.
    Resets,
}

/// Metrics of connections.
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
            Self::GaveWay => "evicted",
            Self::Refused => "refused",
            Self::Resets => "resets",
        }
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections, by port", self.open.clone());
        registry.register(
            "connections_closed",
            "Connections that the server closed, by port and reason",
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
