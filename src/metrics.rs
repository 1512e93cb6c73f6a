//! The server's metrics. Every label has a bounded set of values: names of active policies or fixed words.

mod certificates;
mod connections;
mod pulls;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_appender::non_blocking::ErrorCounter;
use wardset_core::decision::{Decision, PolicyResult};
use wardset_core::review::Review;
use wardset_core::verdict::FailureClass;

use crate::telemetry::Log;

pub use certificates::{CertificateMetrics, Reload};
pub(crate) use connections::{ADMIN, Ports, WEBHOOK};
pub use pulls::{PullMetrics, PullResult, TagResult};

/// Histogram bounds in seconds, from 25 µs to 3.3 s, each twice the one before. A review without policies takes tens
/// of microseconds; deadlines are in seconds.
const BUCKETS: [f64; 18] = [
    25e-6, 50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 25.6e-3, 51.2e-3,
    102.4e-3, 204.8e-3, 409.6e-3, 819.2e-3, 1.6384, 3.2768,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    webhook: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvaluationLabels {
    policy: PolicyName,
    mode: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    policy: PolicyName,
}

/// A policy's name. It is shared with the policy, so that no review copies it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PolicyName(Arc<str>);

impl EncodeLabelValue for PolicyName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        (&*self.0).encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    class: &'static str,
    blame: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    what: &'static str,
}

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    reviews: Family<ReviewLabels, Counter>,
    passed_over: Counter,
    refused: Family<RefusalLabels, Counter>,
    evaluations: Family<EvaluationLabels, Counter>,
    held_back: Family<PolicyLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    review_seconds: Histogram,
    evaluation_seconds: Family<PolicyLabels, Histogram, fn() -> Histogram>,
    policy_ready: Family<PolicyLabels, Gauge>,
    /// Number of active policies.
    pub policies: Gauge,
    /// Metrics of the served certificates.
    pub certificates: CertificateMetrics,
    /// Metrics of modules from registries.
    pub pulls: PullMetrics,
    /// Connections.
    pub(crate) ports: Ports,
    /// Watches of the cluster that failed and were restarted.
    watch_errors: Family<WatchLabels, Counter>,
    /// 1 if this replica writes status, certificates and `caBundle`, else 0.
    pub leader: Gauge,
    /// DaemonSets whose status has `desiredNumberScheduled: 0`.
    pub(crate) daemon_sets_without_nodes: Gauge,
    lost_lines: Gauge,
    log: OnceLock<ErrorCounter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns metrics at zero. All classes of errors are present from the start, so that an alert sees the first
    /// increase.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("wardset"),
            reviews: Family::default(),
            passed_over: Counter::default(),
            refused: Family::default(),
            evaluations: Family::default(),
            held_back: Family::default(),
            errors: Family::default(),
            review_seconds: histogram(),
            evaluation_seconds: Family::new_with_constructor(histogram),
            policy_ready: Family::default(),
            policies: Gauge::default(),
            certificates: CertificateMetrics::default(),
            pulls: PullMetrics::default(),
            ports: Ports::default(),
            watch_errors: Family::default(),
            leader: Gauge::default(),
            daemon_sets_without_nodes: Gauge::default(),
            lost_lines: Gauge::default(),
            log: OnceLock::new(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "reviews",
            "Reviews decided, by webhook, operation and outcome",
            metrics.reviews.clone(),
        );
        registry.register("skipped", "Requests allowed without a review", metrics.passed_over.clone());
        registry.register(
            "refused",
            "Requests rejected as invalid or because of overload, by HTTP status",
            metrics.refused.clone(),
        );
        registry.register("evaluations", "Evaluations of policies, by verdict", metrics.evaluations.clone());
        registry.register(
            "template_held_back",
            "Changes to the Pod template that the template gate held back",
            metrics.held_back.clone(),
        );
        registry.register(
            "errors",
            "Evaluations that failed, by class of error and by who has to act",
            metrics.errors.clone(),
        );
        registry.register_with_unit(
            "review_duration",
            "Duration of a review",
            Unit::Seconds,
            metrics.review_seconds.clone(),
        );
        registry.register_with_unit(
            "evaluation_duration",
            "Duration of one policy's evaluation in a review",
            Unit::Seconds,
            metrics.evaluation_seconds.clone(),
        );
        registry.register("policies", "Active policies", metrics.policies.clone());
        registry.register(
            "policy_ready",
            "1 if the desired revision of the policy is active, 0 if an older one is, or none",
            metrics.policy_ready.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed watches of the cluster, each of which was restarted",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "leader",
            "1 if this replica writes status, certificates and caBundle, else 0",
            metrics.leader.clone(),
        );
        registry.register(
            "daemonsets_without_nodes",
            "DaemonSets whose status has desiredNumberScheduled 0; always 0 without --cluster",
            metrics.daemon_sets_without_nodes.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines dropped because standard error was blocked for too long",
            metrics.lost_lines.clone(),
        );
        metrics.certificates.register(registry);
        metrics.pulls.register(registry);
        registry.register_collector(Box::new(metrics.ports.clone()));
        for class in FailureClass::ALL {
            // The lookup creates the counter.
            drop(metrics.errors.get_or_create(&error_labels(class)));
        }
        metrics
    }

    /// Counts a decision and the results of its policies.
    pub fn decided(&self, webhook: &'static str, review: &Review, decision: &Decision, elapsed: Duration) {
        let operation = review.operation.label();
        let outcome = decision.outcome.label();
        self.reviews.get_or_create(&ReviewLabels { webhook, operation, outcome }).inc();
        self.review_seconds.observe(elapsed.as_secs_f64());
        for report in &decision.reports {
            let policy = PolicyName(Arc::clone(&report.plan.policy.name));
            let mode = report.plan.policy.mode.label();
            let labels = PolicyLabels { policy: policy.clone() };
            self.evaluations
                .get_or_create(&EvaluationLabels { policy, mode, verdict: report.verdict() })
                .inc();
            self.evaluation_seconds.get_or_create(&labels).observe(report.elapsed.as_secs_f64());
            match &report.result {
                PolicyResult::Allowed { held_back, .. } if *held_back > 0 => {
                    self.held_back.get_or_create(&labels).inc_by(*held_back as u64);
                }
                PolicyResult::Failed(failure) => {
                    self.errors.get_or_create(&error_labels(failure.class)).inc();
                }
                _ => {}
            }
        }
    }

    /// Records whether the desired revision of a policy is active.
    pub fn policy_ready(&self, policy: &str, ready: bool) {
        let labels = PolicyLabels { policy: PolicyName(policy.into()) };
        self.policy_ready.get_or_create(&labels).set(i64::from(ready));
    }

    /// Removes the metrics of a deleted policy.
    pub fn policy_gone(&self, policy: &str) {
        self.policy_ready.remove(&PolicyLabels { policy: PolicyName(policy.into()) });
    }

    /// Counts a failed watch of the cluster.
    pub fn watch_failed(&self, what: &'static str) {
        self.watch_errors.get_or_create(&WatchLabels { what }).inc();
    }

    /// Counts a request that was allowed without a review.
    pub fn passed_over(&self) {
        self.passed_over.inc();
    }

    /// Counts a request that was rejected with an HTTP status.
    pub fn refused(&self, status: u16) {
        self.refused.get_or_create(&RefusalLabels { status }).inc();
    }

    /// Exports the number of lines that `log` drops.
    pub fn watch_log(&self, log: &Log) {
        // A second log would belong to a second server, which has metrics of its own.
        let _ = self.log.set(log.lost_lines.clone());
    }

    /// Returns all metrics in the OpenMetrics text format.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lost = self.log.get().map_or(0, ErrorCounter::dropped_lines);
        self.lost_lines.set(i64::try_from(lost).unwrap_or(i64::MAX));
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

fn error_labels(class: FailureClass) -> ErrorLabels {
    ErrorLabels { class: class.label(), blame: class.blame().label() }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}
