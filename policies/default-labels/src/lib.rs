//! Adds missing labels to the DaemonSet and, if the settings name template labels, to its pod template.
//!
//! It never changes a label that is there, never touches the selector, and never adds a template label that
//! the selector names.

use std::collections::BTreeMap;

use serde::Deserialize;
use wardset_policy_sdk::{
    LabelSelector, Labels, Manifest, Patch, Policy, Review, SettingsError, Stop, Verdict, export_policy,
    settings::check_labels,
};

/// The policy.
#[derive(Debug)]
pub struct DefaultLabels;

/// The settings of the policy.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Labels of the DaemonSet itself; at least one.
    #[cfg_attr(test, schemars(extend("minProperties" = 1)))]
    labels: BTreeMap<String, String>,
    /// Labels of the pod template.
    #[serde(default)]
    template_labels: BTreeMap<String, String>,
}

const OBJECT: &str = "/metadata/labels";
const TEMPLATE: &str = "/spec/template/metadata/labels";
const SELECTOR: &str = "/spec/selector";

/// Keys without a prefix that are common in selectors. If pods get one of them, they can match the selector of
/// another workload.
const COMMON: [&str; 5] = ["app", "k8s-app", "name", "version", "component"];

impl Policy for DefaultLabels {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: &[OBJECT, TEMPLATE, SELECTOR],
        writes: &[OBJECT, TEMPLATE],
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        if settings.labels.is_empty() {
            return Err(SettingsError::new("labels", "expected at least one label, found none", "add one"));
        }
        check_labels("labels", &settings.labels)?;
        check_labels("templateLabels", &settings.template_labels)?;
        match settings.template_labels.keys().find(|key| COMMON.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(SettingsError::new(
                format!("templateLabels.{key}"),
                format!("`{key}` is common in selectors: pods with it could match another workload"),
                format!("add a prefix, as in `example.com/{key}`"),
            )),
        }
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let mut patch = Patch::new(review);
        let present: Labels<'_> = review.object(OBJECT)?.unwrap_or_default();
        patch.add_members(OBJECT, missing(&settings.labels, &present))?;
        if settings.template_labels.is_empty() || !review.template_is_open() {
            return Ok(patch.into());
        }
        let present: Labels<'_> = review.object(TEMPLATE)?.unwrap_or_default();
        let selector: LabelSelector<'_> = review.object(SELECTOR)?.unwrap_or_default();
        let (selected, free): (Vec<_>, Vec<_>) =
            missing(&settings.template_labels, &present).partition(|(key, ..)| selector.names(key));
        patch.add_members(TEMPLATE, free)?;
        let verdict = Verdict::from(patch);
        Ok(selected.into_iter().fold(verdict, |verdict, (key, ..)| {
            let message = format!("the pods do not get the label `{key}`, because the selector names it");
            verdict.with_warning(SELECTOR, message)
        }))
    }
}

/// Returns the labels whose keys are missing, each with its reason.
fn missing<'a>(
    wanted: &'a BTreeMap<String, String>,
    present: &Labels<'_>,
) -> impl Iterator<Item = (&'a str, &'a str, String)> {
    wanted
        .iter()
        .filter(|(key, _)| !present.contains_key(key.as_str()))
        .map(|(key, value)| (key.as_str(), value.as_str(), format!("label `{key}` was missing")))
}

export_policy!(DefaultLabels);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::DefaultLabels);
