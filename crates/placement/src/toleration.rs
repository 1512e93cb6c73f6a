//! Tolerations: the taints that one tolerates, and the tolerations that it covers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Text;

/// A toleration of the document. An empty field has the meaning of a missing one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration<'a> {
    /// Empty, with `Exists`: every key.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub key: Text<'a>,
    /// `Equal`, which empty means too, `Exists`, or one of a newer API version (`Lt`, `Gt`).
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub operator: Text<'a>,
    /// The value to compare with the taint's.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub value: Text<'a>,
    /// Empty: every effect.
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    pub effect: Text<'a>,
    /// Seconds for which a pod stays after a `NoExecute` taint appears: for ever if it is none, 0 if it is negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Taint<'a> {
    /// The taint's key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// The taint's value, often empty.
    #[serde(borrow, default)]
    pub value: Text<'a>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(borrow)]
    pub effect: Text<'a>,
}

/// The tolerations that the DaemonSet controller adds to every pod (`AddOrUpdateDaemonPodTolerations` in
/// pkg/controller/daemon/util). A stored DaemonSet does not have them.
pub const AUTOMATIC: [Toleration<'static>; 6] = [
    Toleration::exists("node.kubernetes.io/not-ready", "NoExecute"),
    Toleration::exists("node.kubernetes.io/unreachable", "NoExecute"),
    Toleration::exists("node.kubernetes.io/disk-pressure", "NoSchedule"),
    Toleration::exists("node.kubernetes.io/memory-pressure", "NoSchedule"),
    Toleration::exists("node.kubernetes.io/pid-pressure", "NoSchedule"),
    Toleration::exists("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The toleration that the controller also adds to pods with `hostNetwork: true`.
pub const AUTOMATIC_IN_HOST_NETWORK: Toleration<'static> =
    Toleration::exists("node.kubernetes.io/network-unavailable", "NoSchedule");

impl<'a> Taint<'a> {
    /// Makes a taint.
    #[must_use]
    pub const fn new(key: &'a str, value: &'a str, effect: &'a str) -> Self {
        Self { key: Text::new(key), value: Text::new(value), effect: Text::new(effect) }
    }

    /// Whether pods that do not tolerate it leave the node. `NoSchedule` only stops new pods.
    #[must_use]
    pub fn evicts(&self) -> bool {
        &*self.effect == "NoExecute"
    }

    /// Whether pods that do not tolerate it stay off the node. Only the scheduler considers `PreferNoSchedule`.
    #[must_use]
    pub fn keeps_off(&self) -> bool {
        self.evicts() || &*self.effect == "NoSchedule"
    }
}

impl fmt::Display for Taint<'_> {
    /// As `kubectl taint` writes it: `key=value:Effect`, or `key:Effect` without a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{}", self.effect)
    }
}

impl<'a> Toleration<'a> {
    /// Makes the toleration `key Exists` for one effect.
    #[must_use]
    pub const fn exists(key: &'a str, effect: &'a str) -> Self {
        Self {
            key: Text::new(key),
            operator: Text::new("Exists"),
            value: Text::new(""),
            effect: Text::new(effect),
            toleration_seconds: None,
        }
    }

    /// Whether it tolerates `taint`, for however short a time, by `Equal` or `Exists`. Another operator tolerates no
    /// taint; for `Lt` and `Gt` see [`Toleration::tolerates_by_number`].
    #[must_use]
    pub fn tolerates(&self, taint: &Taint<'_>) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = (self.key.is_empty() && self.is_exists()) || self.key == taint.key;
        effect && key && (self.is_exists() || (self.is_equal() && self.value == taint.value))
    }

    /// Whether it tolerates `taint` by `Lt` or `Gt`: the taint's value is less or greater than the toleration's, and both
    /// are integers of 64 bits in their shortest form (`compareNumericValues` in k8s.io/api). Clusters need the feature
    /// gate `TaintTolerationComparisonOperators` for it.
    #[must_use]
    pub fn tolerates_by_number(&self, taint: &Taint<'_>) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        let Some((own, of_taint)) = number(&self.value).zip(number(&taint.value)) else { return false };
        let compares = match &*self.operator {
            "Lt" => of_taint < own,
            "Gt" => of_taint > own,
            _ => false,
        };
        effect && self.key == taint.key && compares
    }

    /// Whether it tolerates each taint that `other` tolerates, for at least as long.
    #[must_use]
    pub fn covers(&self, other: &Toleration<'_>) -> bool {
        if self == other {
            return true;
        }
        let effect = self.effect.is_empty() || self.effect == other.effect;
        let both_equal = self.is_equal() && other.is_equal() && self.value == other.value;
        let key = (self.key.is_empty() && self.is_exists())
            || (self.key == other.key && (self.is_exists() || both_equal));
        effect && key && (!other.reaches_no_execute() || self.seconds() >= other.seconds())
    }

    fn is_exists(&self) -> bool {
        &*self.operator == "Exists"
    }

    fn is_equal(&self) -> bool {
        matches!(&*self.operator, "" | "Equal")
    }

    fn reaches_no_execute(&self) -> bool {
        matches!(&*self.effect, "" | "NoExecute")
    }

    fn seconds(&self) -> i64 {
        self.toleration_seconds.map_or(i64::MAX, |seconds| seconds.max(0))
    }
}

impl fmt::Display for Toleration<'_> {
    /// As `kubectl taint` writes taints: `key=value:Effect`, with `*` for every key and every effect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |text: &Text<'_>| if text.is_empty() { "*".to_owned() } else { text.to_string() };
        f.write_str(&any(&self.key))?;
        match &*self.operator {
            "Exists" => {}
            "" | "Equal" => write!(f, "={}", self.value)?,
            operator => write!(f, " {operator} {}", self.value)?,
        }
        write!(f, ":{}", any(&self.effect))
    }
}

fn is_empty(text: &Text<'_>) -> bool {
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEYS: [&str; 3] = ["a", "b", "c"];
    const VALUES: [&str; 3] = ["", "x", "y"];
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

    fn tolerations() -> impl Strategy<Value = Toleration<'static>> {
        let select = |texts: &'static [&'static str]| prop::sample::select(texts);
        (
            select(&["", "a", "b"]),
            select(&["", "Equal", "Exists", "Lt", "Gt"]),
            select(&VALUES),
            select(&["", "NoSchedule", "PreferNoSchedule", "NoExecute"]),
            prop::sample::select(vec![None, Some(-1), Some(0), Some(30), Some(60)]),
        )
            .prop_filter_map("valid in Kubernetes", |(key, operator, value, effect, seconds)| {
                let toleration = Toleration {
                    key: key.into(),
                    operator: operator.into(),
                    value: if operator == "Exists" { "".into() } else { value.into() },
                    effect: effect.into(),
                    toleration_seconds: seconds.filter(|_| effect == "NoExecute"),
                };
                (!key.is_empty() || operator == "Exists").then_some(toleration)
            })
    }

    /// Returns the seconds for which a pod with this one toleration stays: the slow, obvious meaning.
    fn stay(toleration: &Toleration<'_>, taint: &Taint<'_>) -> Option<i64> {
        let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
        let matches = match (&*toleration.operator, &*toleration.key) {
            ("Exists", "") => true,
            ("Exists", key) => key == &*taint.key,
            ("" | "Equal", key) => key == &*taint.key && toleration.value == taint.value,
            _ => false,
        };
        let seconds = if &*taint.effect == "NoExecute" { toleration.toleration_seconds } else { None };
        (effect && matches).then(|| seconds.map_or(i64::MAX, |seconds| seconds.max(0)))
    }

    fn all_taints() -> impl Iterator<Item = Taint<'static>> {
        KEYS.into_iter().flat_map(|key| {
            VALUES
                .into_iter()
                .flat_map(move |value| EFFECTS.into_iter().map(move |effect| Taint::new(key, value, effect)))
        })
    }

    fn is_known(toleration: &Toleration<'_>) -> bool {
        !matches!(&*toleration.operator, "Lt" | "Gt")
    }

    proptest! {
        // Two tolerations that have something in common are rare.
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn covers_another_if_it_stays_as_long_beside_each_taint(a in tolerations(), b in tolerations()) {
            // Compares over all taints of the universe. `Equal` over every value of the universe is not `Exists`,
            // so one value that no toleration names stands for the rest.
            let rest = KEYS.into_iter().flat_map(|key| EFFECTS.map(|effect| Taint::new(key, "z", effect)));
            let shown = all_taints().chain(rest).all(|taint| stay(&a, &taint) >= stay(&b, &taint));
            if is_known(&a) && is_known(&b) {
                prop_assert_eq!(a.covers(&b), shown, "{} covers {}", a, b);
            } else if a.covers(&b) {
                prop_assert!(a == b || &*a.operator == "Exists");
            }
        }

        #[test]
        fn tolerates_the_taints_that_the_controller_tolerates(a in tolerations()) {
            for taint in all_taints() {
                prop_assert_eq!(a.tolerates(&taint), stay(&a, &taint).is_some());
            }
        }
    }

    #[test]
    fn treats_negative_seconds_as_zero() {
        let stays = |seconds| Toleration {
            toleration_seconds: Some(seconds),
            ..Toleration::exists("a", "NoExecute")
        };
        assert!(stays(-5).covers(&stays(0)));
        assert!(stays(0).covers(&stays(-5)));
        assert!(!stays(-5).covers(&stays(1)));
    }

    #[test]
    fn writes_only_the_fields_that_are_set() {
        let written = serde_json::to_value(Toleration::exists("a", "")).expect("JSON");
        assert_eq!(written, json!({"key": "a", "operator": "Exists"}));
    }

    #[test]
    fn is_displayed_in_the_form_of_a_taint() {
        assert_eq!(Toleration::exists("a", "NoSchedule").to_string(), "a:NoSchedule");
        let equal = Toleration { key: "a".into(), value: "x".into(), ..Toleration::default() };
        assert_eq!(equal.to_string(), "a=x:*");
        assert_eq!(Toleration::exists("", "").to_string(), "*:*");
    }
}
