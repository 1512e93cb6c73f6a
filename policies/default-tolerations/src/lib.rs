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
    /// Tolerations of every DaemonSet. At least one toleration or profile.
    #[serde(default)]
    tolerations: Vec<TolerationSetting>,
    /// Sets of tolerations for a purpose, which follow those above.
    #[serde(default)]
    profiles: Vec<Profile>,
}

/// A set of tolerations for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "kebab-case")]
enum Profile {
    /// GPU nodes of NVIDIA: `nvidia.com/gpu`.
    NvidiaGpu,
    /// Spot nodes of AKS: `kubernetes.azure.com/scalesetpriority=spot`.
    AksSpot,
    /// Nodes of the control plane: the taints of kubeadm, RKE1, RKE2 and K3s, and of clusters before Kubernetes 1.24.
    ControlPlane,
    /// Nodes that are not ready yet: the taints that are removed when a node has started.
    Readiness,
}

impl Profile {
    fn tolerations(self) -> Vec<Toleration<'static>> {
        let entries: &[(&str, &str, &str)] = match self {
            Self::NvidiaGpu => &[("nvidia.com/gpu", "", "NoSchedule")],
            Self::AksSpot => &[("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule")],
            Self::ControlPlane => &[
                ("node-role.kubernetes.io/control-plane", "", "NoSchedule"),
                ("node-role.kubernetes.io/master", "", "NoSchedule"),
                ("node-role.kubernetes.io/controlplane", "", "NoSchedule"),
                ("CriticalAddonsOnly", "", "NoExecute"),
            ],
            Self::Readiness => &[
                ("node.kubernetes.io/not-ready", "", "NoSchedule"),
                ("node.cloudprovider.kubernetes.io/uninitialized", "", "NoSchedule"),
                ("node.cilium.io/agent-not-ready", "", ""),
                ("ebs.csi.aws.com/agent-not-ready", "", "NoExecute"),
                ("efs.csi.aws.com/agent-not-ready", "", "NoExecute"),
                ("karpenter.sh/unregistered", "", "NoExecute"),
            ],
        };
        entries.iter().map(|&(key, value, effect)| toleration(key, value, effect)).collect()
    }
}

/// Makes a toleration of a taint with any value if `value` is empty, and with any effect if `effect` is.
fn toleration<'a>(key: &'a str, value: &'a str, effect: &'a str) -> Toleration<'a> {
    Toleration {
        key: key.into(),
        operator: if value.is_empty() { "Exists" } else { "Equal" }.into(),
        value: value.into(),
        effect: effect.into(),
        toleration_seconds: None,
    }
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
        if settings.tolerations.is_empty() && settings.profiles.is_empty() {
            let message = "expected at least one toleration, found none";
            return Err(SettingsError::new("tolerations", message, "add one, or add one of `profiles`"));
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
            let profiles = settings.profiles.iter().flat_map(|profile| profile.tolerations());
            let wanted = settings.tolerations.iter().map(TolerationSetting::toleration).chain(profiles);
            add_tolerations(&mut patch, TOLERATIONS, &present, wanted)?;
        }
        Ok(patch.into())
    }
}

export_policy!(DefaultTolerations);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::DefaultTolerations);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_profile_has_a_toleration_that_the_controller_adds() {
        for profile in [Profile::NvidiaGpu, Profile::AksSpot, Profile::ControlPlane, Profile::Readiness] {
            for wanted in profile.tolerations() {
                assert!(!AUTOMATIC.iter().any(|added| added.covers(&wanted)), "{wanted}");
                assert!(!AUTOMATIC_IN_HOST_NETWORK.covers(&wanted), "{wanted}");
            }
        }
    }
}
