//! Previews for programs, as JSON.

use serde::Serialize;
use wardset_placement::{NodeAnswer, ObjectChange, Obstacle, Pool, RolloutLimit, pools};

use super::{Preview, StatusCounters};

/// One DaemonSet, as `-o json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacementReport<'p> {
    namespace: &'p str,
    name: &'p str,
    /// The file; empty for an object of the cluster.
    file: &'p str,
    kubernetes_version: String,
    refused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusCounters>,
    nodes: Vec<NodeReport<'p>>,
    pools: Vec<PoolReport<'p>>,
    /// Null if a policy refuses the object.
    blast_radius: Option<RadiusReport>,
}

#[derive(Serialize)]
struct NodeReport<'p> {
    name: &'p str,
    before: AnswerReport<'p>,
    after: AnswerReport<'p>,
    /// The reason why its pod stays Pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<&'p str>,
}

#[derive(Serialize)]
struct PoolReport<'p> {
    group: Option<&'p str>,
    nodes: usize,
    before: AnswerReport<'p>,
    after: AnswerReport<'p>,
}

#[derive(Serialize)]
struct AnswerReport<'p> {
    runs: bool,
    continues: bool,
    reason: Option<&'p str>,
}

/// The counts of pods.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RadiusReport {
    change: &'static str,
    created: usize,
    deleted: usize,
    restarted: usize,
    replaced_at_once: usize,
    not_replaced: usize,
    strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    steps: usize,
    obstacle: Option<ObstacleReport>,
    lines: Vec<String>,
}

#[derive(Serialize)]
struct ObstacleReport {
    kind: &'static str,
    /// Whether the rollout gets stuck in each order of the controller.
    certain: bool,
    message: String,
}

/// Writes one preview as an object, several as an array.
#[must_use]
pub fn json(previews: &[Preview<'_>]) -> String {
    let reports: Vec<PlacementReport<'_>> = previews.iter().map(PlacementReport::from).collect();
    let json = match reports.as_slice() {
        [one] => serde_json::to_string_pretty(one),
        several => serde_json::to_string_pretty(several),
    };
    // Reports have strings, numbers and lists alone, so they can be written.
    json.unwrap_or_default() + "\n"
}

/// Returns one preview as a value, for another report.
#[must_use]
pub fn value(preview: &Preview<'_>) -> serde_json::Value {
    serde_json::to_value(PlacementReport::from(preview)).unwrap_or_default()
}

impl<'p> From<&'p Preview<'_>> for PlacementReport<'p> {
    fn from(preview: &'p Preview<'_>) -> Self {
        let (namespace, name) = preview.title.split_once('/').unwrap_or(("", &preview.title));
        let answers = preview.before.iter().zip(&preview.after);
        let nodes = preview.nodes.iter().zip(answers).zip(&preview.waits);
        let pools = pools(preview.nodes, Some(&preview.before), &preview.after);
        // The borrowed answers live in the preview, and pools have copies of them.
        let find = |answer: &NodeAnswer, among: &'p [NodeAnswer]| {
            among.iter().find(|other| *other == answer).map(AnswerReport::from)
        };
        let pool = |pool: Pool<'p>| {
            let before = pool.before.as_ref().and_then(|before| find(before, &preview.before))?;
            let after = find(&pool.after, &preview.after)?;
            Some(PoolReport { group: pool.group, nodes: pool.nodes.len(), before, after })
        };
        Self {
            namespace,
            name,
            file: &preview.origin,
            kubernetes_version: preview.version.to_string(),
            refused: preview.refused,
            status: preview.counters,
            nodes: nodes
                .map(|((node, (before, after)), pending)| NodeReport {
                    name: &node.name,
                    before: before.into(),
                    after: after.into(),
                    pending: pending.as_deref(),
                })
                .collect(),
            pools: pools.into_iter().filter_map(pool).collect(),
            blast_radius: preview.radius.as_ref().map(RadiusReport::from),
        }
    }
}

impl<'p> From<&'p NodeAnswer> for AnswerReport<'p> {
    fn from(answer: &'p NodeAnswer) -> Self {
        Self { runs: answer.runs, continues: answer.continues, reason: answer.reason.as_deref() }
    }
}

impl From<&wardset_placement::BlastRadius> for RadiusReport {
    fn from(radius: &wardset_placement::BlastRadius) -> Self {
        let (strategy, limit) = match radius.limit {
            RolloutLimit::OnDelete => ("OnDelete", None),
            RolloutLimit::MaxUnavailable(limit) => ("maxUnavailable", Some(limit)),
            RolloutLimit::MaxSurge(limit) => ("maxSurge", Some(limit)),
        };
        Self {
            change: match radius.change {
                ObjectChange::Nothing => "none",
                ObjectChange::Metadata => "metadata",
                ObjectChange::Specification => "spec",
                ObjectChange::Template => "template",
            },
            created: radius.created,
            deleted: radius.deleted,
            restarted: radius.restarted,
            replaced_at_once: radius.replaced_at_once,
            not_replaced: radius.not_replaced,
            strategy,
            limit,
            steps: radius.waves(),
            obstacle: radius.obstacle.as_ref().map(|obstacle| ObstacleReport {
                kind: match obstacle {
                    Obstacle::SurgePort { .. } => "surgePort",
                    Obstacle::SurgeUnavailable { .. } => "surgeUnavailableNodes",
                    Obstacle::SurgeRemoval { .. } => "surgeRemoval",
                    Obstacle::Unavailable { .. } => "unavailableNodes",
                    Obstacle::NoNodes => "noNodes",
                },
                certain: obstacle.is_certain(),
                message: obstacle.to_string(),
            }),
            lines: radius.lines(),
        }
    }
}
