//! DaemonSets, with the fields that matter to placement and rollouts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::{PodSpec, Text};

/// The fields of a DaemonSet that decide where its pods run and how an update replaces them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct DaemonSet<'a> {
    /// The specification.
    #[serde(borrow)]
    pub spec: DaemonSetSpec<'a>,
}

/// A DaemonSet's `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetSpec<'a> {
    /// The template of its pods.
    #[serde(borrow)]
    pub template: PodTemplate<'a>,
    /// The way in which an update replaces pods.
    #[serde(borrow)]
    pub update_strategy: UpdateStrategy<'a>,
    /// Seconds for which a pod must be Ready until it counts as available.
    pub min_ready_seconds: i64,
}

/// A DaemonSet's `spec.template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct PodTemplate<'a> {
    /// The specification of the pods.
    #[serde(borrow)]
    pub spec: PodSpec<'a>,
}

/// A DaemonSet's `spec.updateStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateStrategy<'a> {
    /// `RollingUpdate` (the default if empty) or `OnDelete`.
    #[serde(borrow)]
    pub r#type: Text<'a>,
    /// The limits of a rolling update.
    #[serde(borrow)]
    pub rolling_update: Option<RollingUpdate<'a>>,
}

/// The limits of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RollingUpdate<'a> {
    /// Pods that may be unavailable. The default is 1.
    #[serde(borrow)]
    pub max_unavailable: Option<Amount<'a>>,
    /// Nodes that may have an old and a new pod. The default is 0.
    #[serde(borrow)]
    pub max_surge: Option<Amount<'a>>,
}

/// A number, or a percentage of the nodes (`IntOrString`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount<'a> {
    /// A number of pods.
    Number(i64),
    /// A percentage, such as `10%`.
    Percentage(Text<'a>),
}

/// The limit by which an update replaces pods, as a number for a certain number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutLimit {
    /// Pods are replaced only after a manual deletion.
    OnDelete,
    /// Old pods are deleted first, and at most this many pods are unavailable.
    MaxUnavailable(usize),
    /// New pods are created first, on at most this many nodes at a time.
    MaxSurge(usize),
}

impl UpdateStrategy<'_> {
    /// Returns the first field that the API server would refuse, with the expected value.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, &'static str)> {
        if !matches!(&*self.r#type, "" | "RollingUpdate" | "OnDelete") {
            return Some(("type", "expected `RollingUpdate` or `OnDelete`"));
        }
        let rolling = self.rolling_update.as_ref()?;
        let fields = [
            ("rollingUpdate.maxUnavailable", &rolling.max_unavailable),
            ("rollingUpdate.maxSurge", &rolling.max_surge),
        ];
        let is_wrong = |amount: &Amount<'_>| match amount {
            Amount::Number(number) => i32::try_from(*number).map_or(true, |number| number < 0),
            Amount::Percentage(_) => amount.of(100).is_none_or(|percent| percent > 100),
        };
        if let Some((field, _)) = fields.into_iter().find(|(_, amount)| amount.as_ref().is_some_and(is_wrong))
        {
            return Some((field, "expected a whole number, 0 or more, or a percentage from `0%` to `100%`"));
        }
        // The defaults are 1 and 0.
        let is_set = |amount: &Option<Amount<'_>>, default| {
            amount.as_ref().map_or(default, |amount| amount.of(100) != Some(0))
        };
        match (is_set(&rolling.max_unavailable, true), is_set(&rolling.max_surge, false)) {
            (true, true) => {
                Some(("rollingUpdate.maxSurge", "expected `maxUnavailable: 0` beside it; the default is 1"))
            }
            (false, false) => {
                Some(("rollingUpdate.maxUnavailable", "expected 1 or more, unless `maxSurge` is set"))
            }
            _ => None,
        }
    }

    /// Returns the limit for a DaemonSet that runs on `desired` nodes (`updatedDesiredNodeCounts` in
    /// pkg/controller/daemon/update.go). It is at least 1, except for a percentage of 0 nodes.
    #[must_use]
    pub fn limit(&self, desired: usize) -> RolloutLimit {
        if &*self.r#type == "OnDelete" {
            return RolloutLimit::OnDelete;
        }
        let rolling = self.rolling_update.as_ref();
        let scaled = |amount: Option<&Amount<'_>>| amount.and_then(|amount| amount.of(desired));
        match scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref())) {
            Some(surge) if surge > 0 => RolloutLimit::MaxSurge(surge),
            _ => {
                let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
                RolloutLimit::MaxUnavailable(unavailable.unwrap_or(1).max(desired.min(1)))
            }
        }
    }
}

impl Amount<'_> {
    /// Returns the number for `total` nodes, rounded up; `None` if the API server would refuse the text.
    #[must_use]
    pub fn of(&self, total: usize) -> Option<usize> {
        match self {
            Self::Number(number) => usize::try_from(*number).ok(),
            Self::Percentage(text) => {
                let digits =
                    text.strip_suffix('%').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
                let percent: usize = digits.parse().ok()?;
                Some(total.saturating_mul(percent).div_ceil(100))
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Amount<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntOrString;

        impl<'de> Visitor<'de> for IntOrString {
            type Value = Amount<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a percentage such as \"10%\"")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Amount::Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Amount::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Amount::Percentage(Text::new(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Amount::Percentage(text.to_owned().into()))
            }
        }

        deserializer.deserialize_any(IntOrString)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};

    use super::*;

    fn limit(strategy: &Value, desired: usize) -> RolloutLimit {
        UpdateStrategy::deserialize(strategy).expect("a strategy").limit(desired)
    }

    #[test]
    fn percentages_round_up_and_the_limit_is_at_least_one() {
        let rolling = |member: &str, amount: Value| json!({"rollingUpdate": {member: amount}});
        assert_eq!(limit(&json!({}), 9), RolloutLimit::MaxUnavailable(1));
        assert_eq!(limit(&rolling("maxUnavailable", json!(3)), 9), RolloutLimit::MaxUnavailable(3));
        assert_eq!(limit(&rolling("maxUnavailable", json!("10%")), 21), RolloutLimit::MaxUnavailable(3));
        assert_eq!(limit(&rolling("maxUnavailable", json!("0%")), 21), RolloutLimit::MaxUnavailable(1));
        assert_eq!(limit(&rolling("maxUnavailable", json!("10%")), 0), RolloutLimit::MaxUnavailable(0));
        assert_eq!(limit(&json!({}), 0), RolloutLimit::MaxUnavailable(1));
        assert_eq!(limit(&rolling("maxUnavailable", json!("x")), 21), RolloutLimit::MaxUnavailable(1));
        assert_eq!(limit(&rolling("maxSurge", json!("5%")), 288), RolloutLimit::MaxSurge(15));
        assert_eq!(limit(&json!({"type": "OnDelete", "rollingUpdate": null}), 9), RolloutLimit::OnDelete);
    }

    #[test]
    fn values_that_the_api_server_refuses_are_problems() {
        let problem = |strategy: Value| {
            let strategy = UpdateStrategy::deserialize(&strategy).expect("a strategy");
            strategy.problem().map(|(field, _)| field)
        };
        for amount in [
            json!("5"),
            json!("-5%"),
            json!("101%"),
            json!("1.5%"),
            json!("%"),
            json!("+10%"),
            json!(-1),
            json!(i64::MAX),
        ] {
            let field = Some("rollingUpdate.maxSurge");
            assert_eq!(problem(json!({"rollingUpdate": {"maxSurge": amount}})), field, "{amount}");
        }
        assert_eq!(problem(json!({"type": "Foo"})), Some("type"));
        let rolling = |unavailable: Value, surge: Value| json!({"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        let (unavailable, surge) = (Some("rollingUpdate.maxUnavailable"), Some("rollingUpdate.maxSurge"));
        assert_eq!(problem(rolling(json!(0), json!("0%"))), unavailable);
        assert_eq!(problem(rolling(json!(1), json!(1))), surge);
        assert_eq!(problem(json!({"rollingUpdate": {"maxSurge": 1}})), surge);
        for fine in [
            json!({}),
            json!({"type": "OnDelete"}),
            json!({"rollingUpdate": {"maxUnavailable": "100%"}}),
            rolling(json!(0), json!(1)),
        ] {
            assert_eq!(problem(fine), None);
        }
    }

    #[test]
    fn both_limits_as_the_api_server_stores_them() {
        let stored = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
        assert_eq!(limit(&stored, 5), RolloutLimit::MaxSurge(2));
        let stored = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}});
        assert_eq!(limit(&stored, 5), RolloutLimit::MaxUnavailable(2));
    }
}
