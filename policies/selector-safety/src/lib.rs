//! Refuses selectors that block the next upgrade or match the wrong pods.
//!
//! A selector can't be changed later, so its faults are worth most when the DaemonSet is created. On an
//! update that leaves the selector alone it is too late for most of them: those only warn. It changes
//! nothing.

use serde::Deserialize;
use wardset_policy_sdk::{
    Clause, Denial, LabelSelector, Labels, Manifest, Operator, Policy, Requirement, Review, SettingsError,
    Stop, Verdict, export_policy,
};

/// The policy.
#[derive(Debug)]
pub struct SelectorSafety;

/// What the operator sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Keys whose values change from release to release: a key, `prefix*` or `*suffix`. What is written
    /// here replaces the default.
    #[serde(default = "volatile_keys")]
    volatile_keys: Vec<String>,
    /// Keys that are no volatile ones after all.
    #[serde(default)]
    allow_keys: Vec<String>,
    /// What happens to a new selector of `NotIn` and `DoesNotExist` only.
    #[serde(default)]
    negative_only: NegativeOnly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum NegativeOnly {
    /// It is refused.
    #[default]
    Deny,
    /// It is allowed, with a warning.
    Warn,
}

fn volatile_keys() -> Vec<String> {
    let keys = [
        "version",
        "app.kubernetes.io/version",
        "helm.sh/chart",
        "pod-template-hash",
        "pod-template-generation",
        "controller-revision-hash",
        "checksum/*",
        "*-hash",
        "*-checksum",
    ];
    keys.map(str::to_owned).into()
}

const SELECTOR: &str = "/spec/selector";
const TEMPLATE_LABELS: &str = "/spec/template/metadata/labels";

impl Policy for SelectorSafety {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: &[SELECTOR, TEMPLATE_LABELS],
        writes: &[],
        cluster: &[],
        settings_schema: include_str!("../settings.schema.json"),
    };

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        let inner = |pattern: &str| pattern.trim_start_matches('*').trim_end_matches('*').len();
        for (i, pattern) in settings.volatile_keys.iter().enumerate() {
            let stars = pattern.matches('*').count();
            if inner(pattern) == 0 || stars > 1 || inner(pattern) + stars != pattern.len() {
                let message = format!("`{pattern}` is no pattern, expected a key, `prefix*` or `*suffix`");
                return Err(SettingsError::new(format!("volatileKeys[{i}]"), message, "rewrite it"));
            }
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let selector: LabelSelector<'_> = review.object(SELECTOR)?.unwrap_or_default();
        let is_changed = !review.is_create()
            && review.old_object::<LabelSelector<'_>>(SELECTOR)?.unwrap_or_default() != selector;
        let is_new = review.is_create() || is_changed;
        let mut verdict = Verdict::allow();
        if is_changed {
            verdict = verdict.with_denial(changed(review));
        }
        if is_new || review.template_is_open() {
            verdict.denials.extend(faults(review, &selector)?);
        }
        for clause in selector.clauses().filter(|clause| settings.is_volatile(clause.requirement())) {
            let (pointer, key) = (clause.pointer(SELECTOR), &clause.requirement().key);
            verdict = if is_new {
                verdict.with_denial(Denial::forbidden(
                    pointer,
                    format!("`{key}` changes from release to release, and a selector can never be changed"),
                    format!("remove `{key}` from the selector; it may stay a label of the pod template"),
                ))
            } else {
                verdict.with_warning(
                    pointer,
                    format!("the selector has `{key}`: a release that changes it will be refused"),
                )
            };
        }
        if selector.is_negative_only() {
            let message = "the selector has only `NotIn` and `DoesNotExist`: it matches almost all pods";
            verdict = if review.is_create() && settings.negative_only == NegativeOnly::Deny {
                let fix = "add `matchLabels` with a label that only these pods have";
                verdict.with_denial(Denial::forbidden(SELECTOR, message, fix))
            } else {
                verdict.with_warning(SELECTOR, message)
            };
        }
        Ok(verdict)
    }
}

impl Settings {
    /// Whether the requirement binds the pods to a value that changes. `Exists` and `DoesNotExist` don't.
    fn is_volatile(&self, requirement: &Requirement<'_>) -> bool {
        let key = &*requirement.key;
        let fits = |pattern: &String| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(suffix), _) => key.ends_with(suffix),
            (None, Some(prefix)) => key.starts_with(prefix),
            (None, None) => key == pattern,
        };
        matches!(requirement.known_operator(), Some(Operator::In | Operator::NotIn))
            && !self.allow_keys.iter().any(|allowed| allowed == key)
            && self.volatile_keys.iter().any(fits)
    }
}

/// What makes the selector match no pod, or not the pods of its own template.
fn faults(review: &Review, selector: &LabelSelector<'_>) -> Result<Vec<Denial>, Stop> {
    if selector.is_empty() {
        let fix = "write `matchLabels` with a label that only these pods have, as in `app: NAME`";
        return Ok(vec![Denial::invalid(SELECTOR, "the selector is empty", fix)]);
    }
    let contradictions = selector.contradictions();
    if !contradictions.is_empty() {
        let deny = |clause: Clause<'_>| {
            let requirement = clause.requirement();
            let message = format!("no pod can match: `{requirement}` contradicts the rest of the selector");
            Denial::invalid(clause.pointer(SELECTOR), message, "remove one of the requirements on this key")
        };
        return Ok(contradictions.into_iter().map(deny).collect());
    }
    let labels: Labels<'_> = review.object(TEMPLATE_LABELS)?.unwrap_or_default();
    let unmatched = selector.clauses().filter(|clause| !clause.holds(&labels));
    Ok(unmatched
        .map(|clause| {
            let requirement = clause.requirement();
            let key = &requirement.key;
            let found = match labels.get(&**key) {
                Some(value) => format!("`{value}`"),
                None => "no such label".to_owned(),
            };
            Denial::invalid(
                clause.pointer(SELECTOR),
                format!("the selector asks for `{requirement}`, the pod template has {found}"),
                format!("make `{key}` in `spec.template.metadata.labels` fit the selector"),
            )
        })
        .collect())
}

fn changed(review: &Review) -> Denial {
    let (name, namespace) = (&review.request().name, &review.request().namespace);
    Denial::invalid(
        SELECTOR,
        "the selector is changed, and that of a DaemonSet can never be",
        format!(
            "keep the old selector; or migrate with `kubectl delete ds {name} -n {namespace} --cascade=orphan` and \
             create it anew: its pods go on, and are adopted if their labels match the new selector"
        ),
    )
}

export_policy!(SelectorSafety);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::SelectorSafety);
