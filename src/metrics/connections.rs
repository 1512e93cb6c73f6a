//! Metrics of connections: how many are open, and why the server closed some.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use wardset_port::{CloseReason, Counters};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloseLabels {
    port: &'static str,
    reason: &'static str,
}

/// The counters of both ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    pub(crate) webhook: Arc<Counters>,
    pub(crate) admin: Arc<Counters>,
}

impl Collector for Ports {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let ports = [(WEBHOOK, &self.webhook), (ADMIN, &self.admin)];
        let mut open =
            encoder.encode_descriptor("connections", "Open connections, by port", None, MetricType::Gauge)?;
        for (port, counters) in ports {
            let number = i64::try_from(counters.open()).unwrap_or(i64::MAX);
            ConstGauge::new(number).encode(open.encode_family(&PortLabels { port })?)?;
        }
        let mut closed = encoder.encode_descriptor(
            "connections_closed",
            "Connections that the server closed, by port and reason",
            None,
            MetricType::Counter,
        )?;
        for (port, counters) in ports {
            for reason in CloseReason::ALL {
                let labels = CloseLabels { port, reason: reason.label() };
                ConstCounter::new(counters.closed(reason)).encode(closed.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Names of the ports in metrics and log lines.
pub(crate) const WEBHOOK: &str = "webhook";
pub(crate) const ADMIN: &str = "admin";
