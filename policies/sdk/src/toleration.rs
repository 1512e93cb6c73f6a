//! Additions to a list of tolerations.

use crate::{Patch, Stop, Toleration};

/// Appends the tolerations of `wanted` that no other one covers, in their order. `present` is the content of the list
/// at `list`. It never deletes, sorts or rewrites.
///
/// # Errors
/// As [`Patch::append`].
pub fn add_tolerations<'a>(
    patch: &mut Patch<'_>,
    list: &str,
    present: &[Toleration<'_>],
    wanted: impl IntoIterator<Item = Toleration<'a>>,
) -> Result<(), Stop> {
    let mut added: Vec<Toleration<'a>> = Vec::new();
    for toleration in wanted {
        if !present.iter().any(|a| a.covers(&toleration)) && !added.iter().any(|a| a.covers(&toleration)) {
            added.push(toleration);
        }
    }
    let reason = |toleration: &Toleration<'_>| format!("no toleration covers `{toleration}`");
    patch.append(list, added.into_iter().map(|toleration| (toleration.clone(), reason(&toleration))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn tolerations() -> impl Strategy<Value = Toleration<'static>> {
        let select = |texts: &'static [&'static str]| prop::sample::select(texts);
        (
            select(&["", "a", "b"]),
            select(&["", "Equal", "Exists", "Lt", "Gt"]),
            select(&["", "x", "y"]),
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

    proptest! {
        // Two tolerations that have something in common are rare.
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn adding_keeps_the_prefix_tolerates_no_less_and_is_idempotent(
            present in prop::collection::vec(tolerations(), 0..4),
            wanted in prop::collection::vec(tolerations(), 0..4),
        ) {
            let add = |object: &serde_json::Value| {
                let review = testing::review(object);
                let present: Vec<Toleration<'_>> =
                    review.object("/t").expect("tolerations").unwrap_or_default();
                let mut patch = Patch::new(&review);
                add_tolerations(&mut patch, "/t", &present, wanted.iter().cloned()).expect("JSON");
                testing::apply(object, &patch.into_changes()).expect("the list is there")
            };
            let before = json!({"t": present});
            let after = add(&before);
            prop_assert_eq!(&add(&after), &after);
            let (before, after) = (before["t"].as_array().expect("list"), after["t"].as_array().expect("list"));
            prop_assert_eq!(&after[..before.len()], &before[..]);
            let after: Vec<Toleration<'_>> =
                after.iter().map(|value| Deserialize::deserialize(value).expect("a toleration")).collect();
            for b in &wanted {
                prop_assert!(after.iter().any(|a| a.covers(b)));
            }
        }
    }
}
