//! Denies selectors that block the next upgrade or match the wrong pods.
//!
//! Kubernetes never lets a stored selector change, so this policy denies on create. If an update does not
//! touch the selector, a denial would come too late, and most findings only warn. The policy changes nothing.

use serde::Deserialize;
use wardset_policy_sdk::{
    Clause, Denial, LabelSelector, Labels, Manifest, Operator, Policy, Requirement, Review, SettingsError,
    Stop, Verdict, check_key, check_value, export_policy, pointer,
};

/// The policy.
#[derive(Debug)]
pub struct SelectorSafety;

/// The settings of the policy.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Keys whose values change from release to release: a key, `prefix*` or `*suffix`. A list here
    /// replaces the default list.
    #[serde(default = "volatile_keys")]
    volatile_keys: Vec<String>,
    /// Keys that selectors may have even if `volatileKeys` lists them.
    #[serde(default)]
    allow_keys: Vec<String>,
    /// The answer to a new selector that has only `NotIn` and `DoesNotExist`.
    #[serde(default)]
    negative_only: NegativeOnly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize), schemars(inline))]
#[serde(rename_all = "camelCase")]
enum NegativeOnly {
    /// Deny it.
    #[default]
    Deny,
    /// Allow it with a warning.
    Warn,
}

fn volatile_keys() -> Vec<String> {
    // Not `release` and `heritage`: these stay the same from one release of a chart to the next.
    let keys = [
        "version",
        "app.kubernetes.io/version",
        "appVersion",
        "app-version",
        // Helm 2 writes `chart: NAME-VERSION`, Helm 3 `helm.sh/chart`.
        "chart",
        "helm.sh/chart",
        "chartVersion",
        "chart-version",
        "imageTag",
        "image-tag",
        "pod-template-hash",
        "pod-template-generation",
        "controller-revision-hash",
        "checksum",
        "checksum/*",
        "*/checksum",
        "*-checksum",
        "*-hash",
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
                let message = format!("expected a key, `prefix*` or `*suffix`, found `{pattern}`");
                let fix = "put one `*` at the start or at the end, or none";
                return Err(SettingsError::new(format!("volatileKeys[{i}]"), message, fix));
            }
        }
        Ok(())
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let selector: LabelSelector<'_> = review.object(SELECTOR)?.unwrap_or_default();
        let mut verdict = Verdict::allow();
        let mut is_new = review.is_create();
        if !is_new {
            let old: LabelSelector<'_> = review.old_object(SELECTOR)?.unwrap_or_default();
            is_new = old != selector;
            if is_new {
                verdict = verdict.with_denial(changed(review, &old, &selector)?);
            }
        }
        if is_new || review.template_is_open() {
            verdict.denials.extend(faults(review, &selector)?);
        }
        for clause in selector.clauses().filter(|clause| settings.is_volatile(clause.requirement())) {
            let (pointer, key) = (pointer::of_clause(SELECTOR, &clause), &clause.requirement().key);
            verdict = if is_new {
                verdict.with_denial(Denial::forbidden(
                    pointer,
                    format!(
                        "`{key}` changes from release to release, and Kubernetes never lets a selector \
                         change"
                    ),
                    format!(
                        "remove `{key}` from the selector; it may stay a label of the pod template; if a \
                         vendor's chart has it, an administrator can exempt it: `allowKeys: [{key}]` in the \
                         settings, or `excludeNames` in `match`"
                    ),
                ))
            } else {
                verdict.with_warning(
                    pointer,
                    format!("the selector has `{key}`: Kubernetes will refuse a release that changes it"),
                )
            };
        }
        if selector.is_negative_only() {
            let message = "the selector has only `NotIn` and `DoesNotExist`, so it matches almost every pod";
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
    /// Returns whether the requirement names values of a volatile key. `Exists` and `DoesNotExist` name none.
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

/// Returns a denial for each reason why the selector does not match the pods of its own template.
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
            Denial::invalid(
                pointer::of_clause(SELECTOR, &clause),
                message,
                "remove one of the requirements on this key",
            )
        };
        return Ok(contradictions.into_iter().map(deny).collect());
    }
    let labels: Labels<'_> = review.object(TEMPLATE_LABELS)?.unwrap_or_default();
    let unmatched = selector.clauses().filter(|clause| !clause.holds(|key| labels.get(key)));
    Ok(unmatched
        .map(|clause| {
            let requirement = clause.requirement();
            let key = &requirement.key;
            let found = match labels.get(&**key) {
                Some(value) => format!("`{value}`"),
                None => "no such label".to_owned(),
            };
            Denial::invalid(
                pointer::of_clause(SELECTOR, &clause),
                format!("the selector requires `{requirement}`, found {found} in the pod template"),
                format!("change `{key}` in `spec.template.metadata.labels` so that the selector matches it"),
            )
        })
        .collect())
}

/// Denies a changed selector. The fix is a migration that leaves no old pod behind.
fn changed(review: &Review, old: &LabelSelector<'_>, new: &LabelSelector<'_>) -> Result<Denial, Stop> {
    let (name, namespace) = (&review.request().name, &review.request().namespace);
    let old_pods: Labels<'_> = review.old_object(TEMPLATE_LABELS)?.unwrap_or_default();
    let new_pods: Labels<'_> = review.object(TEMPLATE_LABELS)?.unwrap_or_default();
    let rest = match new.clauses().find(|clause| !clause.holds(|key| old_pods.get(key))) {
        None => "the new DaemonSet adopts the old pods, because their labels match its selector".to_owned(),
        Some(missed) => {
            let missed = missed.requirement();
            let command = match kubectl_selector(old, old.matches(|key| new_pods.get(key)).then_some(missed))
            {
                Some(pods) => format!(": `kubectl delete pods -n {namespace} -l '{pods}'`"),
                None => " by name".to_owned(),
            };
            format!("the old pods do not match `{missed}` and keep running, so delete them{command}")
        }
    };
    let fix = format!(
        "keep the old selector, or migrate: run `kubectl delete ds {name} -n {namespace} --cascade=orphan` \
         and create the DaemonSet again; {rest}"
    );
    Ok(Denial::invalid(SELECTOR, "the selector of a stored DaemonSet can't change", fix))
}

/// Returns the selector in the syntax of `kubectl -l`, without the pods that satisfy `but_not`.
///
/// It returns none if the selector is empty, because an empty one selects every pod of the namespace.
fn kubectl_selector(selector: &LabelSelector<'_>, but_not: Option<&Requirement<'_>>) -> Option<String> {
    let wanted = selector.clauses().map(|clause| kubectl_term(clause.requirement(), true));
    let unwanted = but_not.map(|requirement| kubectl_term(requirement, false));
    let terms: Vec<String> = wanted.chain(unwanted).collect::<Option<_>>()?;
    (!selector.is_empty()).then(|| terms.join(","))
}

/// Returns the requirement, or its negation unless `holds`, as one term of `kubectl -l`.
///
/// It returns none for an invalid key or value, because people paste the term into a shell. The API server
/// has not checked a new selector yet.
fn kubectl_term(requirement: &Requirement<'_>, holds: bool) -> Option<String> {
    let (key, values) = (&requirement.key, &requirement.values);
    check_key(key).ok()?;
    values.iter().try_for_each(|value| check_value(value)).ok()?;
    let compare = |equals: &str, list: &str| match values.as_slice() {
        [] => None,
        [value] => Some(format!("{key}{equals}{value}")),
        [..] => {
            let values: Vec<&str> = values.iter().map(|value| &**value).collect();
            Some(format!("{key} {list} ({})", values.join(",")))
        }
    };
    match (requirement.known_operator()?, holds) {
        (Operator::In, true) | (Operator::NotIn, false) => compare("=", "in"),
        (Operator::In, false) | (Operator::NotIn, true) => compare("!=", "notin"),
        (Operator::Exists, true) | (Operator::DoesNotExist, false) => Some(key.to_string()),
        (Operator::Exists, false) | (Operator::DoesNotExist, true) => Some(format!("!{key}")),
        (Operator::Gt | Operator::Lt, _) => None,
    }
}

export_policy!(SelectorSafety);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::SelectorSafety);
