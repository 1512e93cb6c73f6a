//! Settings: strict reading with clear errors, and the types that several policies share.
//!
//! The types here reject unknown fields and own their strings. The types of the document, [`Toleration`] and
//! [`Requirement`], skip unknown fields and borrow.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, de::DeserializeOwned};

use crate::mismatch::{advice, cut, short};
use crate::{InvalidLabel, Operator, Requirement, Toleration, check_key, check_value, shape};

/// Characters of a field's path that an error repeats.
const MAX_FIELD: usize = 256;
/// Characters of a message, which may repeat a value.
const MAX_MESSAGE: usize = 512;

/// A problem in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    field: String,
    message: String,
    fix: String,
}

impl SettingsError {
    /// Makes an error. `field` has the form `tolerations[0].key`, and is empty for the settings as a whole. `message`
    /// names the expected and the found value, and `fix` is the text to write or the step to take.
    pub fn new(field: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        let shorten = |mut text: String, most| {
            if let Cow::Owned(beginning) = cut(&text, most) {
                text = beginning;
            }
            text
        };
        let (field, message) = (shorten(field.into(), MAX_FIELD), shorten(message.into(), MAX_MESSAGE));
        Self { field, message, fix: fix.into() }
    }

    fn label(field: &str, expected: InvalidLabel, found: &str) -> Self {
        Self::new(field, format!("{expected}, found `{}`", short(found)), "change it")
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "`{}`: ", self.field)?;
        }
        write!(f, "{}; {}", self.message, self.fix)
    }
}

/// Reads settings as the module's exports do: null counts as absent, and a list is never a struct.
///
/// # Errors
/// The wrong field, the problem and the fix.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, SettingsError> {
    shape::read(text)
        .map_err(|error| SettingsError::new(error.field(), error.message(), error.fix("settings")))
}

/// Returns the advice to the author of an unknown name: the one of `known` that looks alike, or all of them.
#[must_use]
pub fn suggest(written: &str, known: &[&str]) -> String {
    advice(written, known)
}

/// Checks a map of labels in the settings.
///
/// # Errors
/// The wrong key or value.
pub fn check_labels<'a>(
    field: &str,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), SettingsError> {
    for (key, value) in labels {
        let at = format!("{field}.{key}");
        check_key(key).map_err(|error| SettingsError::label(&at, error, key))?;
        check_value(value).map_err(|error| SettingsError::label(&at, error, value))?;
    }
    Ok(())
}

/// A toleration in the settings.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationSetting {
    /// The taint's key; empty, with `Exists`, is every key.
    #[serde(default)]
    key: String,
    /// `Equal` if it is missing.
    operator: Option<TolerationOperator>,
    /// The taint's value; empty with `Exists`.
    #[serde(default)]
    value: String,
    /// Every effect if it is missing.
    effect: Option<Effect>,
    /// Seconds until a pod leaves after a `NoExecute` taint appears; for ever if it is missing.
    toleration_seconds: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(inline))]
enum TolerationOperator {
    Equal,
    Exists,
    Lt,
    Gt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(inline))]
enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TolerationSetting {
    /// Returns the toleration, with the fields that are set.
    #[must_use]
    pub fn toleration(&self) -> Toleration<'_> {
        let operator = self.operator.map_or("", |operator| match operator {
            TolerationOperator::Equal => "Equal",
            TolerationOperator::Exists => "Exists",
            TolerationOperator::Lt => "Lt",
            TolerationOperator::Gt => "Gt",
        });
        let effect = self.effect.map_or("", |effect| match effect {
            Effect::NoSchedule => "NoSchedule",
            Effect::PreferNoSchedule => "PreferNoSchedule",
            Effect::NoExecute => "NoExecute",
        });
        Toleration {
            key: self.key.as_str().into(),
            operator: operator.into(),
            value: self.value.as_str().into(),
            effect: effect.into(),
            toleration_seconds: self.toleration_seconds,
        }
    }

    /// Checks it as the API server does (`ValidateTolerations` in pkg/apis/core/validation).
    ///
    /// # Errors
    /// The field below `field` that is wrong.
    pub fn check(&self, field: &str) -> Result<(), SettingsError> {
        use TolerationOperator::{Equal, Exists, Gt, Lt};
        let at = |name: &str| format!("{field}.{name}");
        let operator = self.operator.unwrap_or(Equal);
        if self.key.is_empty() && operator != Exists {
            let message = "an empty key tolerates every taint, which only `operator: Exists` may";
            return Err(SettingsError::new(at("key"), message, "name the key, or write `operator: Exists`"));
        }
        if !self.key.is_empty() {
            check_key(&self.key).map_err(|error| SettingsError::label(&at("key"), error, &self.key))?;
        }
        if self.toleration_seconds.is_some() && self.effect != Some(Effect::NoExecute) {
            let message = "only a `NoExecute` taint removes pods after a time";
            let fix = "write `effect: NoExecute`, or leave out `tolerationSeconds`";
            return Err(SettingsError::new(at("tolerationSeconds"), message, fix));
        }
        match operator {
            Exists if !self.value.is_empty() => {
                let message = format!("`Exists` takes no value, found `{}`", short(&self.value));
                Err(SettingsError::new(at("value"), message, "leave out `value`, or write `operator: Equal`"))
            }
            Equal => check_value(&self.value)
                .map_err(|error| SettingsError::label(&at("value"), error, &self.value)),
            Lt | Gt
                if self.value.parse::<i64>().ok().map(|n| n.to_string()).as_ref() != Some(&self.value) =>
            {
                let message =
                    format!("`Lt` and `Gt` compare with an integer, found `{}`", short(&self.value));
                Err(SettingsError::new(at("value"), message, "write an integer without leading zeros"))
            }
            Exists | Lt | Gt => Ok(()),
        }
    }
}

/// A requirement on the labels of nodes in the settings.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequirementSetting {
    /// The label's key.
    key: String,
    /// How the label is compared.
    operator: RequirementOperator,
    /// At least one with `In` and `NotIn`, one integer with `Gt` and `Lt`, none with the others.
    #[serde(default)]
    values: Vec<String>,
}

/// The names of [`Operator`], with their descriptions in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(inline))]
enum RequirementOperator {
    /// The label is there, with one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label is an integer greater than the one value.
    Gt,
    /// The label is an integer less than the one value.
    Lt,
}

impl RequirementOperator {
    fn known(self) -> Operator {
        match self {
            Self::In => Operator::In,
            Self::NotIn => Operator::NotIn,
            Self::Exists => Operator::Exists,
            Self::DoesNotExist => Operator::DoesNotExist,
            Self::Gt => Operator::Gt,
            Self::Lt => Operator::Lt,
        }
    }
}

impl RequirementSetting {
    /// Returns the requirement.
    #[must_use]
    pub fn requirement(&self) -> Requirement<'_> {
        Requirement {
            key: self.key.as_str().into(),
            operator: self.operator.known().name().into(),
            values: self.values.iter().map(|value| value.as_str().into()).collect(),
        }
    }

    /// Checks it as the API server does (`ValidateNodeSelectorRequirement` in pkg/apis/core/validation).
    ///
    /// # Errors
    /// The field below `field` that is wrong.
    pub fn check(&self, field: &str) -> Result<(), SettingsError> {
        let at = |name: &str| format!("{field}.{name}");
        check_key(&self.key).map_err(|error| SettingsError::label(&at("key"), error, &self.key))?;
        let operator = self.operator.known();
        if !self.requirement().is_valid() {
            let expected = match operator {
                Operator::In | Operator::NotIn => "at least one value",
                Operator::Exists | Operator::DoesNotExist => "no values",
                Operator::Gt | Operator::Lt => "one integer",
            };
            let (operator, found) = (operator.name(), self.values.join(", "));
            let message = format!("`{operator}` takes {expected}, found [{}]", short(&found));
            return Err(SettingsError::new(at("values"), message, format!("write {expected}")));
        }
        if matches!(operator, Operator::In | Operator::NotIn) {
            for (n, value) in self.values.iter().enumerate() {
                let at = at(&format!("values[{n}]"));
                check_value(value).map_err(|error| SettingsError::label(&at, error, value))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_error_names_the_field_the_expected_type_and_the_fix() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            #[serde(rename = "tolerations")]
            _tolerations: Vec<TolerationSetting>,
        }
        let error = |text: &str| parse::<Settings>(text).expect_err("is wrong").to_string();
        assert_eq!(
            error(r#"{"tolerations":[{"key":"a"},{"efect":"NoExecute"}]}"#),
            "`tolerations[1].efect`: unknown field `efect`; did you mean `effect`?"
        );
        assert_eq!(
            error(r#"{"tolerations":[{"effect":"NoExecut"}]}"#),
            "`tolerations[0].effect`: unknown value `NoExecut`; did you mean `NoExecute`?"
        );
        assert_eq!(error("{}"), "missing field `tolerations`; add `tolerations: …`");
        assert_eq!(
            error(r#"{"tolerations":7}"#),
            "`tolerations`: expected a list, found the number `7`; begin each entry of `tolerations` with `- `"
        );
    }

    #[test]
    fn suggests_the_known_name_that_looks_alike() {
        assert_eq!(suggest("objekt", &["object", "request"]), "did you mean `object`?");
        assert_eq!(suggest("pod", &["object", "request"]), "write one of `object`, `request`");
    }

    #[test]
    fn rejects_a_positional_list() {
        let error = parse::<BTreeMap<String, Vec<TolerationSetting>>>(
            r#"{"tolerations":[["a","Exists","","NoSchedule",null]]}"#,
        );
        assert!(error.is_err_and(|error| {
            error.to_string().starts_with("`tolerations[0]`: expected a mapping, found a list")
        }));
    }

    fn toleration(text: &str) -> Result<(), SettingsError> {
        serde_json::from_str::<TolerationSetting>(text).expect("a toleration").check("t")
    }

    #[test]
    fn checks_a_toleration_as_the_api_server_does() {
        for good in [
            r#"{"operator":"Exists"}"#,
            r#"{"key":"a.io/b","value":"x","effect":"NoSchedule"}"#,
            r#"{"key":"a","operator":"Exists","effect":"NoExecute","tolerationSeconds":30}"#,
            r#"{"key":"a","operator":"Lt","value":"-5"}"#,
        ] {
            assert_eq!(toleration(good), Ok(()), "{good}");
        }
        for (bad, field) in [
            (r#"{"value":"x"}"#, "t.key"),
            (r#"{"key":"a b"}"#, "t.key"),
            (r#"{"key":"a","operator":"Exists","value":"x"}"#, "t.value"),
            (r#"{"key":"a","value":"not a value"}"#, "t.value"),
            (r#"{"key":"a","operator":"Gt","value":"05"}"#, "t.value"),
            (r#"{"key":"a","effect":"NoSchedule","tolerationSeconds":3}"#, "t.tolerationSeconds"),
        ] {
            assert_eq!(toleration(bad).expect_err("is wrong").field, field, "{bad}");
        }
    }

    #[test]
    fn an_error_of_a_label_names_the_element_the_form_and_the_found_value() {
        let requirement = r#"{"key":"a","operator":"In","values":["x","a b"]}"#;
        let requirement: RequirementSetting = parse(requirement).expect("a requirement");
        let error = requirement.check("require[0]").expect_err("is wrong").to_string();
        let (start, end) =
            ("`require[0].values[1]`: expected nothing, or at most 63", "found `a b`; change it");
        assert!(error.starts_with(start) && error.ends_with(end), "{error}");
    }

    #[test]
    fn an_error_is_short_whatever_the_author_wrote() {
        let long = "k".repeat(500_000);
        let labels = [(long.clone(), "a".to_owned()), ("a".to_owned(), format!("{long}!"))];
        let mut errors = vec![SettingsError::new(format!("x.{long}.y"), "expected z", "write z")];
        for (key, value) in &labels {
            errors.push(check_labels("labels", [(key, value)]).expect_err("is too long"));
        }
        for text in [
            format!(r#"{{"key":"{long}"}}"#),
            format!(r#"{{"key":"a","value":"{long}"}}"#),
            format!(r#"{{"operator":"Exists","value":"{long}"}}"#),
            format!(r#"{{"key":"a","operator":"Gt","value":"{long}"}}"#),
        ] {
            errors.push(toleration(&text).expect_err("is too long"));
        }
        for text in [
            format!(r#"{{"key":"{long}","operator":"Exists"}}"#),
            format!(r#"{{"key":"a","operator":"In","values":["{long}"]}}"#),
            format!(r#"{{"key":"a","operator":"Exists","values":["{long}"]}}"#),
        ] {
            let requirement: RequirementSetting = parse(&text).expect("a requirement");
            errors.push(requirement.check("require[0]").expect_err("is too long"));
        }
        errors.push(parse::<RequirementSetting>(&format!(r#"{{"{long}":1}}"#)).expect_err("is unknown"));
        for error in errors {
            let text = error.to_string();
            assert!(text.len() < 1024 && text.contains('…'), "{}", text.len());
        }
    }

    #[test]
    fn checks_a_requirement_as_the_api_server_does() {
        let check = |text: &str| {
            serde_json::from_str::<RequirementSetting>(text).expect("a requirement").check("r").is_ok()
        };
        assert!(check(r#"{"key":"a","operator":"In","values":["x"]}"#));
        assert!(check(r#"{"key":"a","operator":"Exists"}"#));
        assert!(check(r#"{"key":"a","operator":"Gt","values":["7"]}"#));
        assert!(!check(r#"{"key":"a","operator":"In"}"#));
        assert!(!check(r#"{"key":"a","operator":"NotIn","values":["a b"]}"#));
        assert!(!check(r#"{"key":"a","operator":"Exists","values":["x"]}"#));
        assert!(!check(r#"{"key":"a","operator":"Lt","values":["x"]}"#));
        assert!(!check(r#"{"key":"","operator":"Exists"}"#));
    }
}
