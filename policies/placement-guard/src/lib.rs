//! Denies a DaemonSet that runs on no node, and an update by which it loses many nodes.
//!
//! The controller immediately deletes the pods on nodes that no longer match: neither `maxUnavailable` nor `OnDelete`
//! stops it. So the policy answers before the update is stored. Its author can accept the effect by an annotation, for
//! this selection of nodes and these images.

mod acceptance;

use acceptance::Acceptance;
use serde::Deserialize;
use wardset_policy_sdk::{
    ClusterData, Denial, Manifest, NodeCounts, PodEffect, Policy, Review, SettingsError, Stop, Verdict,
    export_policy,
};

/// The policy.
#[derive(Debug)]
pub struct PlacementGuard;

/// The settings of the policy.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The answer to a new DaemonSet that runs on no node, and to an update that removes it from its last node.
    #[serde(default)]
    zero_nodes: Action,
    /// The answer to an update by which the DaemonSet loses many nodes. By default, there is none.
    shrink: Option<Shrink>,
    /// The answer to an update whose rollout cannot finish.
    #[serde(default)]
    stuck_rollout: StuckRollout,
}

/// Limits of the nodes that one update may lose. Set `nodes`, `percent` or both; an update exceeds the limits if it exceeds
/// either.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shrink {
    /// The largest number of nodes that one update may lose.
    nodes: Option<u32>,
    /// The same as a percentage of the nodes that run the stored object: 0 to 100.
    percent: Option<u32>,
    /// The answer to an update that exceeds a limit.
    #[serde(default)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum Action {
    /// Deny it.
    #[default]
    Deny,
    /// Allow it with a warning.
    Warn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum StuckRollout {
    /// Allow it with a warning. There is no `deny`, because an update that repairs a DaemonSet can look like one that
    /// gets stuck.
    #[default]
    Warn,
    /// Say nothing.
    Ignore,
}

const POD: &str = "/spec/template/spec";
const UPDATE_STRATEGY: &str = "/spec/updateStrategy";

impl Policy for PlacementGuard {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: acceptance::READS,
        writes: &[],
        cluster: &[ClusterData::Nodes],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        let Some(Shrink { nodes, percent, .. }) = &settings.shrink else { return Ok(()) };
        if nodes.is_none() && percent.is_none() {
            return Err(SettingsError::new("shrink", "found no limit", "set `nodes` or `percent`"));
        }
        if let Some(percent) = percent.filter(|percent| *percent > 100) {
            let message = format!("expected 0 to 100, found {percent}");
            return Err(SettingsError::new("shrink.percent", message, "write a percentage"));
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        // Without a change of the template, no pod moves.
        if !review.template_is_open() {
            return Ok(Verdict::allow());
        }
        let (Some(counts), Some(effect)) = (review.node_counts(), review.pod_effect()) else {
            return Ok(Verdict::allow().with_note(POD, "not checked: the nodes are unknown"));
        };
        let runs = review.old_node_counts().map_or(0, |counts| counts.runs);
        // A taint such as that of a node which is not Ready keeps new pods off, but the old pod is still there.
        let before = runs.max(effect.deleted.saturating_add(effect.restarted));
        let lost = effect.lost.max(effect.deleted);
        let acceptance = Acceptance::read(review)?;
        let mut verdict = Verdict::allow();
        let is_caused = review.is_create() || before > 0;
        let is_nowhere = counts.runs == 0 && counts.nodes > 0 && is_caused;
        let accepts_nowhere = is_nowhere && acceptance.covers(acceptance::ZERO_NODES);
        if is_nowhere && !accepts_nowhere {
            let found = Found { effect: zero_nodes(review, &counts, before), reasons: reasons(&counts) };
            verdict = answer(verdict, settings.zero_nodes, &found, acceptance::ZERO_NODES, &acceptance);
        }
        if let Some(shrink) = settings.shrink.as_ref().filter(|shrink| shrink.is_exceeded(lost, before))
            && verdict.denials.is_empty()
            && !accepts_nowhere
            && !acceptance.covers(acceptance::SHRINK)
        {
            let found = Found { effect: shrinks(&counts, &effect, lost, before), reasons: reasons(&counts) };
            verdict = answer(verdict, shrink.action, &found, acceptance::SHRINK, &acceptance);
        }
        if let Some(obstacle) = effect.obstacle.as_ref().filter(|_| !review.is_create())
            && settings.stuck_rollout == StuckRollout::Warn
            && !acceptance.covers(acceptance::STUCK_ROLLOUT)
        {
            let accept = acceptance.advice(acceptance::STUCK_ROLLOUT);
            let message = format!("{obstacle}; {accept}");
            verdict = verdict.with_warning(UPDATE_STRATEGY, message);
        }
        Ok(verdict)
    }
}

/// The findings of the policy.
struct Found {
    /// The nodes that the DaemonSet would have and lose.
    effect: String,
    /// Why nodes refuse it, to follow the effect.
    reasons: String,
}

impl Shrink {
    fn is_exceeded(&self, lost: u32, before: u32) -> bool {
        let lost = u64::from(lost);
        let over_nodes = self.nodes.is_some_and(|nodes| lost > u64::from(nodes));
        let over_percent =
            self.percent.is_some_and(|percent| lost * 100 > u64::from(percent) * u64::from(before));
        over_nodes || over_percent
    }
}

fn zero_nodes(review: &Review, counts: &NodeCounts, before: u32) -> String {
    if review.is_create() {
        format!("it runs on none of {}", nodes(counts.nodes))
    } else {
        format!("it would run on none of {} (now {before})", nodes(counts.nodes))
    }
}

fn shrinks(counts: &NodeCounts, effect: &PodEffect, lost: u32, before: u32) -> String {
    let deleted = match effect.deleted {
        0 => String::new(),
        1 => ", and Kubernetes deletes 1 pod at once".to_owned(),
        pods => format!(", and Kubernetes deletes {pods} pods at once"),
    };
    format!(
        "it would lose {lost} of {}{deleted}; it would run on {} of {}",
        nodes(before),
        counts.runs,
        nodes(counts.nodes)
    )
}

/// Returns the two most frequent reasons of nodes.
fn reasons(counts: &NodeCounts) -> String {
    let shown = counts.refusals.iter().take(2).map(|refusal| {
        let verb = if refusal.nodes == 1 { "refuses" } else { "refuse" };
        format!("{} {verb} it ({})", nodes(refusal.nodes), refusal.reason.replace("; ", ", "))
    });
    let mut lines: Vec<String> = shown.collect();
    let rest: u32 = counts.refusals.iter().skip(2).map(|refusal| refusal.nodes).sum();
    if rest > 0 {
        lines.push(format!("{rest} for other reasons"));
    }
    if lines.is_empty() { String::new() } else { format!("; {}", lines.join(", ")) }
}

fn nodes(count: u32) -> String {
    format!("{count} {}", if count == 1 { "node" } else { "nodes" })
}

fn answer(verdict: Verdict, action: Action, found: &Found, key: &str, acceptance: &Acceptance) -> Verdict {
    let (Found { effect, reasons }, accept) = (found, acceptance.advice(key));
    match action {
        // A warning has at most 256 bytes, and the API server cuts off the end of a longer one.
        Action::Warn => verdict.with_warning(POD, format!("{effect}; {accept}{reasons}")),
        Action::Deny => {
            let fix =
                format!("correct `nodeSelector`, `affinity` or `tolerations`; or, {accept} to the DaemonSet");
            verdict.with_denial(Denial::forbidden(POD, format!("{effect}{reasons}"), fix))
        }
    }
}

export_policy!(PlacementGuard);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::PlacementGuard);
