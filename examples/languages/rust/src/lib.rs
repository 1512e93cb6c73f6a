//! Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.

use serde::Deserialize;
use serde_json::json;
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

const NO_TEAM: &str = "the label `team` is missing";
const VERSION: &str = "the selector has the label `version`, which changes with each release";

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
            let message = "expected the name of a team, found an empty string";
            return Err(SettingsError::new("team", message, "write one"));
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let mut verdict = Verdict::allow();

        let selector: Labels<'_> = review.object(SELECTOR)?.unwrap_or_default();
        if selector.contains_key("version") {
            let pointer = format!("{SELECTOR}/version");
            // The selector of a stored object cannot change: a denial would stop every update.
            if review.is_create() {
                let fix = "remove `version` from the selector";
                return Ok(verdict.with_denial(Denial::forbidden(pointer, VERSION, fix)));
            }
            verdict = verdict.with_warning(pointer, VERSION);
        }

        let labels: Labels<'_> = review.object(LABELS)?.unwrap_or_default();
        let mut patch = Patch::new(review);
        if !labels.contains_key("team") {
            patch.add_members(LABELS, [("team", &settings.team, NO_TEAM.to_owned())])?;
        }
        // If the author does not touch the template, a change to it would restart every pod.
        if review.template_is_open() && !review.has(REQUIRED) {
            // The nodes outside the control plane.
            let workers = json!({"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"},
            ]}]});
            let why = "the object does not choose its nodes";
            patch.add(REQUIRED, &workers, why)?;
        }
        Ok(verdict.with_changes(patch))
    }
}

export_policy!(WorkersOnly);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::WorkersOnly);
