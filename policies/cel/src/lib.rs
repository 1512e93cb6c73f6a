//! Validates and changes DaemonSets with rules in CEL, the expression language of Kubernetes.
//!
//! ```text
//! settings ──► scope (variables) ──► verdict, mutation
//!                ▲ expression: CEL
//! ```
//!
//! The rules run in the policy's sandbox, so its limits bound their time and memory. A sandbox lives for one
//! evaluation, so each evaluation parses the expressions that it needs.

// A link to the sources of `crates/expression`: the host evaluates the conditions of policies by the same code. As a
// package outside this workspace, it would put the checkout's absolute path into the symbols of the module.
#[path = "expression/lib.rs"]
pub mod expression;
mod mutation;
mod scope;
mod settings;

use wardset_policy_sdk::{
    ClusterData, Denial, Manifest, Policy, Review, SettingsError, Stop, Verdict, export_policy,
};

use crate::{
    scope::{Place, Scope, Subject, short},
    settings::{Code, Existing, Settings, Validation, WRITES},
};

/// The policy.
#[derive(Debug)]
pub struct Cel;

impl Policy for Cel {
    type Settings = Settings;

    const MANIFEST: Manifest = Manifest {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        reads: &[""],
        writes: &WRITES,
        cluster: &[ClusterData::NamespaceLabels],
        settings_schema: include_str!("../settings.schema.json"),
    };

    const ONLY_ADDS: bool = false;

    fn check(settings: &Settings) -> Result<(), SettingsError> {
        settings.check()
    }

    fn evaluate(review: &Review, settings: &Settings) -> Result<Verdict, Stop> {
        let mut scope = Scope::new(review, &settings.variables, Subject::New);
        for (i, condition) in settings.match_conditions.iter().enumerate() {
            let field = format!("matchConditions[{i}].expression");
            if !scope.holds(Place { field: &field, text: &condition.expression })? {
                return Ok(Verdict::allow());
            }
        }
        let mut rules = Rules { review, settings, scope, stored: None };
        let mut verdict = Verdict::allow();
        for (i, validation) in settings.validations.iter().enumerate() {
            verdict = rules.validate(&format!("validations[{i}]"), validation, verdict)?;
        }
        if !verdict.denials.is_empty() {
            return Ok(verdict);
        }
        mutation::apply(review, &mut rules.scope, &settings.mutations, verdict)
    }
}

/// The rules of one review.
struct Rules<'r> {
    review: &'r Review,
    settings: &'r Settings,
    scope: Scope<'r>,
    /// The scope in which the stored object is the object.
    stored: Option<Scope<'r>>,
}

impl<'r> Rules<'r> {
    fn validate(&mut self, field: &str, validation: &Validation, verdict: Verdict) -> Result<Verdict, Stop> {
        let at = format!("{field}.expression");
        let place = Place { field: &at, text: &validation.expression };
        if self.scope.holds(place)? {
            return Ok(verdict);
        }
        let at = format!("{field}.messageExpression");
        let dynamic = validation.message_expression.as_ref();
        let dynamic = dynamic.and_then(|text| self.scope.text(Place { field: &at, text }));
        let message = dynamic.or_else(|| validation.message.clone());
        let message = message
            .unwrap_or_else(|| format!("the expression is false: `{}`", short(&validation.expression)));
        if validation.existing == Existing::Warn && self.stored_object_breaks(place) {
            let message =
                format!("{message}; the stored object has the same fault, so the update is allowed");
            return Ok(verdict.with_warning(&validation.pointer, message));
        }
        let default =
            || format!("change the object so that this is true: `{}`", short(&validation.expression));
        let fix = validation.fix.clone().unwrap_or_else(default);
        let pointer = &validation.pointer;
        Ok(verdict.with_denial(match validation.code {
            Code::Forbidden => Denial::forbidden(pointer, message, fix),
            Code::Invalid => Denial::invalid(pointer, message, fix),
        }))
    }

    /// Whether the stored object of an update breaks the rule. If the rule fails on it, the answer is no.
    fn stored_object_breaks(&mut self, place: Place<'_>) -> bool {
        if self.review.is_create() {
            return false;
        }
        let stored = self
            .stored
            .get_or_insert_with(|| Scope::new(self.review, &self.settings.variables, Subject::Stored));
        stored.holds(place) == Ok(false)
    }
}

export_policy!(Cel);

#[cfg(test)]
wardset_policy_sdk::test_policy!(crate::Cel);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wardset_policy_sdk::{settings, testing};

    use super::*;

    fn evaluate(review: &Review, rule: &str) -> Result<Verdict, Stop> {
        let text = json!({"validations": [{"expression": rule, "message": "denied"}]}).to_string();
        let settings: Settings = settings::parse(&text).expect("settings");
        Cel::check(&settings).expect("known names");
        Cel::evaluate(review, &settings)
    }

    #[test]
    fn rules_read_the_labels_and_the_name_of_the_namespace() {
        let object = json!({"metadata": {"name": "agent", "namespace": "ops"}});
        let review = testing::review_in_namespace(&object, json!({"tier": "prod"}));
        let rule = "namespaceObject.metadata.labels.tier == 'prod' && namespaceObject.metadata.name == 'ops'";
        assert_eq!(evaluate(&review, rule), Ok(Verdict::allow()));
        let denied = evaluate(&review, "!has(namespaceObject.metadata.labels.tier)").expect("a verdict");
        assert_eq!(denied.denials.len(), 1);
    }

    #[test]
    fn a_rule_that_reads_an_unknown_namespace_fails() {
        let review = testing::review(&json!({"metadata": {"name": "agent"}}));
        let Err(Stop::Fail(error)) = evaluate(&review, "has(namespaceObject.metadata)") else {
            panic!("expected a failure");
        };
        assert!(error.contains("does not know the namespace's labels"), "{error}");
    }

    #[test]
    fn the_library_passes_its_cases() {
        let library =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policies/library");
        let cases = testing::run_policy_files::<Cel>(&library);
        assert!(cases >= 100, "expected at least 100 cases, found {cases}");
    }

    #[test]
    fn a_chain_of_many_variables_is_read_without_recursion() {
        let mut variables = vec![json!({"name": "v0", "expression": "1"})];
        for n in 1..300 {
            let above = format!("variables.v{} + 1", n - 1);
            variables.push(json!({"name": format!("v{n}"), "expression": above}));
        }
        let rule = json!({"expression": "variables.v299 == 300"});
        let text = json!({"variables": variables, "validations": [rule]}).to_string();
        let settings: Settings = settings::parse(&text).expect("settings");
        let review = testing::review(&json!({}));
        assert_eq!(Cel::evaluate(&review, &settings), Ok(Verdict::allow()));
    }

    #[test]
    fn a_rule_that_explodes_fails_and_is_named() {
        let variables: Vec<_> = (0..2000).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
        let review = testing::review(&json!({"spec": {"env": variables}}));
        let env = "object.spec.env";
        let rule = format!("{env}.all(a, {env}.all(b, a.name != '' || b.name != ''))");
        let Err(Stop::Fail(error)) = evaluate(&review, &rule) else { panic!("expected a failure") };
        assert!(
            error.starts_with("`validations[0].expression` failed: needs more than 1000000 steps; "),
            "{error}"
        );
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_long_text() {
        let review = testing::review(&json!({"metadata": {"name": "agent"}}));
        let rule = format!("object.metadata.{} == 1", "x".repeat(3000));
        let Err(Stop::Fail(error)) = evaluate(&review, &rule) else { panic!("expected a failure") };
        assert!(error.len() < 1024 && error.contains('…'), "{error}");
    }
}
