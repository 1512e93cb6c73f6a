//! Adds the tolerations that nothing covers yet, at the end of the author's list and in the settings' order.
//!
//! It never deletes, sorts or rewrites a toleration, and never writes one that the DaemonSet controller
//! gives to every pod anyway.

use serde::Deserialize;
use wardset_policy_sdk::{
    Manifest, Patch, Policy, Review, SettingsError, Stop, Toleration, Verdict, add_tolerations,
    export_policy, settings::TolerationSetting,
};

/// The policy.
#[derive(Debug)]
pub struct DefaultTolerations;

/// What the operator sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// What each DaemonSet shall tolerate; at least one.
    #[cfg_attr(test, schemars(length(min = 1)))]
    tolerations: Vec<TolerationSetting>,
}

const TOLERATIONS: &str = "/spec/template/spec/tolerations";

/// What the controller adds to each pod (`AddOrUpdateDaemonPodTolerations` in pkg/controller/daemon/util).
const CONTROLLER_ADDS: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The same, for pods of the host network only.
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

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
            let message = "found none, expected at least one toleration";
            return Err(SettingsError::new("tolerations", message, "add one"));
        }
        for (i, setting) in settings.tolerations.iter().enumerate() {
            let field = format!("tolerations[{i}]");
            setting.check(&field)?;
            let wanted = setting.toleration();
            let adds = |(key, effect)| Toleration::exists(key, effect).covers(&wanted);
            if CONTROLLER_ADDS.into_iter().any(adds) {
                let message = format!("the DaemonSet controller adds `{wanted}` to each pod itself");
                return Err(SettingsError::new(field, message, "leave it out"));
            }
            if adds(NETWORK_UNAVAILABLE) {
                let message = format!(
                    "the DaemonSet controller adds `{wanted}` itself where `hostNetwork` is true, and other \
                     pods can't run there"
                );
                return Err(SettingsError::new(field, message, "leave it out"));
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
