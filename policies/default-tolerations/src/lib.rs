//! Adds the tolerations that no toleration of the DaemonSet covers, at the end of the author's list and in the
//! order of the settings.
//!
//! It never deletes, sorts or rewrites a toleration. It never writes a toleration that the DaemonSet
//! controller adds to every pod.

use serde::Deserialize;
use wardset_policy_sdk::{
    AUTOMATIC, AUTOMATIC_IN_HOST_NETWORK, Manifest, Patch, Policy, Review, SettingsError, Stop, Toleration,
    Verdict, add_tolerations, export_policy, settings::TolerationSetting,
};

/// The policy.
#[derive(Debug)]
pub struct DefaultTolerations;

/// The settings of the policy.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Tolerations of every DaemonSet; at least one.
    #[cfg_attr(test, schemars(length(min = 1)))]
    tolerations: Vec<TolerationSetting>,
}

const TOLERATIONS: &str = "/spec/template/spec/tolerations";

impl Policy for DefaultTolerations {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: &[TOLERATIONS],
        writes: &[TOLERATIONS],
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        if settings.tolerations.is_empty() {
            let message = "expected at least one toleration, found none";
            return Err(SettingsError::new("tolerations", message, "add one"));
        }
        for (i, setting) in settings.tolerations.iter().enumerate() {
            let field = format!("tolerations[{i}]");
            setting.check(&field)?;
            let wanted = setting.toleration();
            if AUTOMATIC.iter().any(|added| added.covers(&wanted)) {
                let message = format!("the DaemonSet controller adds `{wanted}` to every pod");
                return Err(SettingsError::new(field, message, "remove it"));
            }
            if AUTOMATIC_IN_HOST_NETWORK.covers(&wanted) {
                let message = format!(
                    "the DaemonSet controller adds `{wanted}` if `hostNetwork` is true; other pods can't run \
                     without the network"
                );
                return Err(SettingsError::new(field, message, "remove it"));
            }
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let mut patch = Patch::new(review);
        if review.template_is_open() {
            let present: Vec<Toleration<'_>> = review.object(TOLERATIONS)?.unwrap_or_default();
            let wanted = settings.tolerations.iter().map(TolerationSetting::toleration);
            add_tolerations(&mut patch, TOLERATIONS, &present, wanted)?;
        }
        Ok(patch.into())
    }
}

export_policy!(DefaultTolerations);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::DefaultTolerations);
