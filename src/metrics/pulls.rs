//! Metrics of modules from registries: pulls, their duration and size, and tags that are resolved again.
//!
//! No label names a registry: whoever reaches the webhook can send a policy with a host of their choice for validation, so
//! the number of series would have no bound. The log line of a failure names the host.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Histogram bounds in seconds, from 20 ms to 328 s, each twice the one before. A pull takes at most 300 s, and the check of
/// its signatures as long.
const BUCKETS: [f64; 15] =
    [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PullLabels {
    result: &'static str,
}

/// The result of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullResult {
    /// The registry sent the module, or confirmed that the cached one is current.
    Pulled,
    /// The cache had the digest, so no request was sent.
    Cached,
    /// The registry did not answer, refused, or has no module there.
    Failed,
    /// The rules of `--trust` refuse the module.
    Untrusted,
}

/// The result of resolving a tag again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagResult {
    /// The tag leads to the active module of each policy that names it.
    Unchanged,
    /// The tag leads to another module than an active one.
    Moved,
    /// The registry did not answer or refused.
    Failed,
}

/// Metrics of modules from registries. All clones share the same values.
#[derive(Debug, Clone)]
pub struct PullMetrics {
    pulls: Family<PullLabels, Counter>,
    seconds: Histogram,
    bytes: Counter,
    tags: Family<PullLabels, Counter>,
}

impl Default for PullMetrics {
    fn default() -> Self {
        let (pulls, tags) = (Family::default(), Family::default());
        Self { pulls, seconds: Histogram::new(BUCKETS), bytes: Counter::default(), tags }
    }
}

impl PullMetrics {
    /// Registers the metrics. All results are present from the start, so that an alert sees the first increase.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("module_pulls", "Pulls of modules from registries, by result", self.pulls.clone());
        registry.register_with_unit(
            "module_pull_duration",
            "Duration of pulls that asked a registry, with the check of signatures",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "module_pull",
            "Size of the modules that registries sent",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register("tag_resolutions", "Tags resolved again, by result", self.tags.clone());
        for result in [PullResult::Pulled, PullResult::Cached, PullResult::Failed, PullResult::Untrusted] {
            // The lookup creates the counter.
            drop(self.pulls.get_or_create(&PullLabels { result: result.label() }));
        }
        for result in [TagResult::Unchanged, TagResult::Moved, TagResult::Failed] {
            drop(self.tags.get_or_create(&PullLabels { result: result.label() }));
        }
    }

    /// Counts a pull.
    pub fn pulled(&self, result: PullResult, elapsed: Duration) {
        self.pulls.get_or_create(&PullLabels { result: result.label() }).inc();
        if result != PullResult::Cached {
            self.seconds.observe(elapsed.as_secs_f64());
        }
    }

    /// Counts the bytes of a module that a registry sent.
    pub fn received(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    /// Counts a tag that was resolved again.
    pub fn resolved(&self, result: TagResult) {
        self.tags.get_or_create(&PullLabels { result: result.label() }).inc();
    }
}

impl PullResult {
    const fn label(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Untrusted => "untrusted",
        }
    }
}

impl TagResult {
    const fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Moved => "moved",
            Self::Failed => "failed",
        }
    }
}
