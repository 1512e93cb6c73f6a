//! The observers of decisions: metrics and the log.

use std::sync::Arc;

use wardset_core::decision::{self, Decision};
use wardset_core::plan::Phase;
use wardset_core::policy::Mode;
use wardset_core::text::{self, MAX_LOGGED};

use super::judge::{Decided, Observer};
use crate::metrics::Metrics;

/// Maximum length of the changed paths in a log line, in bytes. A policy may request 1,024 paths of a KiB each, and the
/// log's queue is limited by the number of lines.
const MAX_LOGGED_PATHS: usize = 4 << 10;

impl Observer for Arc<Metrics> {
    fn decided(&self, decided: &Decided<'_>) {
        let Decided { phase, review, decision, elapsed } = *decided;
        Metrics::decided(self, webhook(phase), review, decision, elapsed);
    }
}

/// Writes one log line per decision: who asked for what, the outcome, and the verdict of each policy. It holds paths
/// of changes, never values. A failed policy gets a line of its own.
pub struct LogLine;

impl Observer for LogLine {
    fn decided(&self, decided: &Decided<'_>) {
        let Decided { phase, review, decision, elapsed } = *decided;
        let short = |text: &str| text::one_line(text, MAX_LOGGED);
        let (policies, patch) = (policies(decision), paths(decision));
        tracing::info!(
            target: "wardset::decision",
            webhook = webhook(phase),
            uid = short(&review.uid),
            kind = review.kind,
            namespace = short(&review.namespace),
            name = short(&review.name),
            user = short(&review.user),
            operation = review.operation.label(),
            dry_run = review.dry_run,
            decision = decision.outcome.label(),
            policies,
            patch = text::one_line(&patch, MAX_LOGGED_PATHS),
            nodes = decision.audit.get("nodes"),
            effect = decision.audit.get("effect"),
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
        for report in &decision.reports {
            if let decision::PolicyResult::Failed(failure) = &report.result {
                tracing::error!(
                    uid = short(&review.uid),
                    policy = &*report.plan.policy.name,
                    module = report.plan.digest,
                    class = failure.class.label(),
                    detail = failure.detail,
                    "a policy failed to decide: `onError` applies if the policy's mode is `enforce`",
                );
            }
        }
    }
}

fn webhook(phase: Phase) -> &'static str {
    match phase {
        Phase::Mutate => "mutate",
        Phase::Validate => "validate",
    }
}

/// Returns the verdict of each policy, such as `labels=changed,selector=allowed(warn)`.
fn policies(decision: &Decision) -> String {
    let verdicts = decision.reports.iter().map(|report| {
        let policy = &report.plan.policy;
        // The suffix marks verdicts that do not count.
        let mode = match policy.mode {
            Mode::Enforce => "",
            Mode::Warn => "(warn)",
            Mode::Observe => "(observe)",
        };
        format!("{}={}{mode}", policy.name, report.verdict())
    });
    verdicts.collect::<Vec<_>>().join(",")
}

/// Returns the paths of the patch.
fn paths(decision: &Decision) -> String {
    decision.patch.iter().map(|operation| operation.path().as_str()).collect::<Vec<_>>().join(",")
}
