//! Requires a team label: a new DaemonSet must have it, a stored one gets the fallback of the settings.

use serde::Deserialize;
use wardset_policy_sdk::{
    Denial, Labels, Manifest, Patch, Policy, Review, Stop, Verdict, export_policy, pointer,
};

/// The policy.
pub struct TeamLabel;

/// The operator's settings.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The label's key.
    key: String,
    /// The team of objects that were stored without one.
    fallback: String,
}

const LABELS: &str = "/metadata/labels";

impl Policy for TeamLabel {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: "team-label",
        version: "0.1.0",
        description: "Requires a team label on each DaemonSet",
        reads: &[LABELS],
        writes: &[LABELS],
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let labels: Labels<'_> = review.object(LABELS)?.unwrap_or_default();
        let Settings { key, fallback } = settings;
        if labels.contains_key(key.as_str()) {
            return Ok(Verdict::allow());
        }
        if review.is_create() {
            let message = format!("the label `{key}` is missing");
            let fix = format!("add `{key}` with the name of your team to `metadata.labels`");
            return Ok(Verdict::allow().with_denial(Denial::forbidden(LABELS, message, fix)));
        }
        let mut patch = Patch::new(review);
        patch.add_members(LABELS, [(key, fallback, format!("no team in `{key}`"))])?;
        let message = format!("the label `{key}` is missing, `{fallback}` was written");
        Ok(Verdict::from(patch).with_warning(pointer::join(LABELS, key), message))
    }
}

export_policy!(TeamLabel);
