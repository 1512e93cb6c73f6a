{{#mutating}}
//! Adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.
{{/mutating}}
{{#validating}}
//! Requires the label `team`, and denies the label `version` in a new selector.
{{/validating}}

use serde::Deserialize;
{{#mutating}}
use serde_json::json;
use wardset_policy_sdk::{
    Denial, Labels, Manifest, Patch, Policy, Review, SettingsError, Stop, Verdict, export_policy,
};
{{/mutating}}
{{#validating}}
use wardset_policy_sdk::{
    Denial, Labels, Manifest, Policy, Review, SettingsError, Stop, Verdict, export_policy,
};
{{/validating}}

/// The policy.
pub struct {{Name}};

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
{{#mutating}}
const AFFINITY: &str = "/spec/template/spec/affinity";
const REQUIRED: &str =
    "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
{{/mutating}}

const NO_TEAM: &str = "the label `team` is missing";
const VERSION: &str = "the selector has the label `version`, which changes with each release";

impl Policy for {{Name}} {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: "{{name}}",
        version: "0.1.0",
{{#mutating}}
        description: "Adds a team, keeps pods off the control plane, and denies `version` in selectors",
        reads: &[SELECTOR, LABELS, AFFINITY],
        writes: &[LABELS, AFFINITY],
{{/mutating}}
{{#validating}}
        description: "Requires a team, and denies `version` in selectors",
        reads: &[SELECTOR, LABELS],
        writes: &[],
{{/validating}}
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
{{#mutating}}
                return Ok(verdict.with_denial(Denial::forbidden(pointer, VERSION, fix)));
            }
            verdict = verdict.with_warning(pointer, VERSION);
        }
{{/mutating}}
{{#validating}}
                verdict = verdict.with_denial(Denial::forbidden(pointer, VERSION, fix));
            } else {
                verdict = verdict.with_warning(pointer, VERSION);
            }
        }
{{/validating}}

        let labels: Labels<'_> = review.object(LABELS)?.unwrap_or_default();
{{#mutating}}
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
{{/mutating}}
{{#validating}}
        if !labels.contains_key("team") {
            if review.is_create() {
                let example = format!("`team: {}`", settings.team);
                let fix = format!("add the label `team`, such as {example}, to `metadata.labels`");
                verdict = verdict.with_denial(Denial::forbidden(LABELS, NO_TEAM, fix));
            } else {
                verdict = verdict.with_warning(LABELS, NO_TEAM);
            }
        }
        Ok(verdict)
    }
}
{{/validating}}

export_policy!({{Name}});

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::{{Name}});
