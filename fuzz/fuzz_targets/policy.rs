//! A policy file. Each policy is valid, or the parser rejects it with a message. Policies must stay the same if they
//! are written and read again. Their conditions must decide on a review without a crash.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Value, json};
use wardset_core::decision::PolicyResult;
use wardset_core::plan::Phase;
use wardset_core::policy::{Policy, Resource};
use wardset_core::review::Review;
use wardset_core::text;
use wardset_core::verdict::FailureClass;
use wardset_fuzz::chain::{add, assert_decision, daemonset, decide, of_policy, review};
use wardset_fuzz::yaml;

static REVIEWS: LazyLock<[Review; 2]> =
    LazyLock::new(|| [review(&daemonset(), None), review(&daemonset(), Some(&daemonset()))]);

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    // The product contains this panic of the YAML parser (`src/yaml/parse.rs`), but the fuzzer stops at any panic.
    if text
        .split('!')
        .skip(1)
        .any(|rest| rest.split(char::is_whitespace).next().is_some_and(|tag| tag.contains(',')))
    {
        return Corpus::Reject;
    }
    let resources = match yaml::documents::<Resource>(text) {
        Ok(resources) => resources,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty());
            return Corpus::Keep;
        }
    };
    for resource in resources {
        let typed = serde_json::to_value(&resource).expect("a policy is JSON");
        let written = yaml::to_string(&resource);
        let read: Vec<Resource> = yaml::documents(&written).expect("what was written can be read");
        assert_eq!(serde_json::to_value(&read).expect("policies are JSON"), json!([typed]), "{written}");
        match Policy::try_from(resource) {
            Err(error) => wardset_fuzz::assert_line(&text::with_causes(&error, 512), 512),
            Ok(policy) => {
                let scope = &typed["spec"]["match"];
                // The reviews come without the labels of their namespaces.
                let selects =
                    scope["namespaceSelector"] != json!({"matchLabels": {}, "matchExpressions": []});
                check(policy, selects || scope["conditions"] != json!([]));
            }
        }
    }
    Corpus::Keep
});

/// Checks a valid policy. Only `match` may fail, and only if it `can_fail`: a condition fails if the object lacks a key,
/// and `namespaceSelector` if it needs labels that are unknown.
fn check(policy: Policy, can_fail: bool) {
    assert!((1..=63).contains(&policy.name.len()));
    let limits = (&policy.limits.timeout, &policy.limits.memory);
    assert!((Duration::from_millis(1)..=Duration::from_secs(10)).contains(limits.0), "{limits:?}");
    assert!((1 << 20..=32 << 20).contains(limits.1), "{limits:?}");
    let settings: Value = serde_json::from_str(&policy.settings).expect("settings are JSON");
    assert!(settings.is_object());
    assert_eq!(policy.module.to_string().parse().ok(), Some(policy.module.clone()));
    let plans = [of_policy(policy, &["/metadata/labels"])];
    for review in &*REVIEWS {
        let decision = decide(review, &plans, Phase::Mutate, |_| Ok(add("/metadata/labels/l", &json!("v"))));
        assert_decision(review, &decision);
        if let Some(PolicyResult::Failed(failure)) = decision.reports.first().map(|report| &report.result) {
            assert!(can_fail && failure.class == FailureClass::Match, "{failure}");
        }
    }
}
