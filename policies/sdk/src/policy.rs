//! The trait of a policy, and its way to a module's three exports.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::{ClusterData, Denial, Request, Review, SettingsError, Verdict, settings, wit};

/// A pure function from a review and settings to a verdict, with a manifest.
pub trait Policy {
    /// The settings as the operator writes them. Give the type `#[serde(deny_unknown_fields)]`, so that a typing
    /// error is rejected.
    type Settings: DeserializeOwned;

    /// The module's name and version, and the places that it may read and write.
    const MANIFEST: Manifest;

    /// Whether the policy only adds values, and never replaces or removes one. The test harness checks it.
    const ONLY_ADDS: bool = true;

    /// Checks rules that the type of the settings cannot express.
    ///
    /// # Errors
    /// The wrong field, the problem and the fix.
    fn check(_settings: &Self::Settings) -> Result<(), SettingsError> {
        Ok(())
    }

    /// Decides on one review.
    ///
    /// # Errors
    /// [`Stop`], mostly by `?` on a read: a value of the object has another type than its kind, or the policy fails
    /// to decide.
    fn evaluate(review: &Review, settings: &Self::Settings) -> Result<Verdict, Stop>;
}

/// A module's description of itself; the fields are those of the contract's `manifest`.
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// Lower-case words joined by `-`.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// One sentence for a list of policies.
    pub description: &'static str,
    /// JSON Pointer prefixes that the policy reads; a read elsewhere traps.
    pub reads: &'static [&'static str],
    /// JSON Pointer prefixes that the policy changes. Without any, it is a validating policy.
    pub writes: &'static [&'static str],
    /// The cluster data that the policy asks for.
    pub cluster: &'static [ClusterData],
    /// The JSON Schema of the settings: `include_str!("../settings.schema.json")`.
    pub settings_schema: &'static str,
}

/// Why an evaluation ends early.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Refuses the object with this one denial, which replaces the verdict.
    Deny(Box<Denial>),
    /// The policy fails to decide: the operator's `onError` applies.
    Fail(String),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(Box::new(denial))
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::Fail(format!("could not write a value as JSON: {error}"))
    }
}

/// The three exports of a module, for any policy. [`export_policy!`](crate::export_policy) uses it.
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

impl<P: Policy> Exported<P> {
    pub(crate) fn judge(review: &Review, settings: &str) -> Result<Verdict, String> {
        let settings: P::Settings =
            settings::parse(settings).map_err(|error| format!("settings: {error}"))?;
        match P::evaluate(review, &settings) {
            Ok(verdict) => Ok(verdict),
            Err(Stop::Deny(denial)) => Ok(Verdict::allow().with_denial(*denial)),
            Err(Stop::Fail(message)) => Err(message),
        }
    }

    pub(crate) fn check_settings(settings: &str) -> Result<(), String> {
        settings::parse::<P::Settings>(settings)
            .and_then(|settings| P::check(&settings))
            .map_err(|error| error.to_string())
    }
}

impl<P: Policy> wit::Guest for Exported<P> {
    fn manifest() -> wit::Manifest {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
        wit::Manifest {
            name: P::MANIFEST.name.to_owned(),
            version: P::MANIFEST.version.to_owned(),
            description: P::MANIFEST.description.to_owned(),
            reads: owned(P::MANIFEST.reads),
            writes: owned(P::MANIFEST.writes),
            cluster: P::MANIFEST.cluster.to_vec(),
            settings_schema: P::MANIFEST.settings_schema.to_owned(),
        }
    }

    fn validate_settings(settings: String) -> Result<(), String> {
        Self::check_settings(&settings)
    }

    #[cfg(target_arch = "wasm32")]
    fn evaluate(request: Request, settings: String) -> Result<Verdict, String> {
        Self::judge(&Review::new(request, crate::host::Host), &settings)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn evaluate(_request: Request, _settings: String) -> Result<Verdict, String> {
        Err("only a module has a host; natively, use `wardset_policy_sdk::testing`".to_owned())
    }
}

/// Exports a [`Policy`] as this module. Use it once in a crate; natively it exports nothing.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: () = {
            type Export = $crate::Exported<$policy>;
            #[cfg(target_arch = "wasm32")]
    $crate::wit::export!(Export with_types_in $crate::wit);
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() -> $crate::wit::Manifest = <Export as $crate::wit::Guest>::manifest;
        };
    };
}
