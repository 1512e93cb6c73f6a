//! Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.

use serde::{Deserialize, Serialize};
use wardset_policy_sdk::{
    Denial, Labels, Manifest, Patch, Policy, Review, SettingsError, Stop, Verdict, export_policy,
};

/// The policy.
pub struct WorkersOnly;

/// The settings of the policy.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The team of objects whose authors name none.
    #[cfg_attr(test, schemars(length(min = 1)))]
    team: String,
}

const SELECTOR: &str = "/spec/selector/matchLabels";
const LABELS: &str = "/metadata/labels";
const AFFINITY: &str = "/spec/template/spec/affinity";
const REQUIRED: &str =
    "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";

impl Policy for WorkersOnly {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: "workers-only",
        version: "0.1.0",
        description: "Adds a team, keeps pods off the control plane, and denies `version` in selectors",
        reads: &[SELECTOR, LABELS, AFFINITY],
        writes: &[LABELS, AFFINITY],
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        if settings.team.is_empty() {
            return Err(SettingsError::new("team", "expected the name of a team, found an empty string", "write one"));
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let mut verdict = Verdict::allow();

        let selector: Labels<'_> = review.object(SELECTOR)?.unwrap_or_default();
        if selector.contains_key("version") {
            let pointer = format!("{SELECTOR}/version");
            let message = "the selector has the label `version`, which changes with each release";
            if review.is_create() {
                return Ok(verdict.with_denial(Denial::forbidden(pointer, message, "remove `version` from the selector")));
            }
            // The selector of a stored object cannot change: a denial would stop every update.
            verdict = verdict.with_warning(pointer, message);
        }

        let labels: Labels<'_> = review.object(LABELS)?.unwrap_or_default();
        let mut patch = Patch::new(review);
        if !labels.contains_key("team") {
            patch.add_members(LABELS, [("team", &settings.team, "the label `team` is missing".to_owned())])?;
        }
        // If the author does not touch the template, a change to it would restart every pod.
        if review.template_is_open() && !review.has(REQUIRED) {
            patch.add(REQUIRED, &NodeSelector::workers(), "the object does not choose its nodes")?;
        }
        Ok(verdict.with_changes(patch))
    }
}

/// The nodes that a pod requires.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelector {
    node_selector_terms: [Term; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    match_expressions: [Expression; 1],
}

#[derive(Serialize)]
struct Expression {
    key: &'static str,
    operator: &'static str,
}

impl NodeSelector {
    /// The nodes outside the control plane.
    fn workers() -> Self {
        let expression = Expression { key: "node-role.kubernetes.io/control-plane", operator: "DoesNotExist" };
        Self { node_selector_terms: [Term { match_expressions: [expression] }] }
    }
}

export_policy!(WorkersOnly);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::WorkersOnly);
