//! The name of a built-in policy, a blank, and settings as JSON. The policy either rejects them with a message, or
//! works with them on any DaemonSet. Its changes must apply, and it must not ask for them again.
#![no_main]

use std::sync::LazyLock;

use default_labels::DefaultLabels;
use default_tolerations::DefaultTolerations;
use libfuzzer_sys::{Corpus, fuzz_target};
use node_affinity::NodeAffinity;
use selector_safety::SelectorSafety;
use serde_json::{Value, json};
use wardset_fuzz::chain::daemonset;
use wardset_policy_sdk::wit::Guest as _;
use wardset_policy_sdk::{Edit, Exported, Policy, Verdict, pointer, testing};

static OBJECTS: LazyLock<[Value; 4]> = LazyLock::new(|| {
    let (mut bare, mut null, mut pinned) = (daemonset(), daemonset(), daemonset());
    bare["metadata"] = json!({"name": "bare"});
    bare["spec"]["template"]["spec"] = json!({"nodeSelector": {"disk": "ssd"}});
    bare["spec"]["template"]["metadata"] = json!({"labels": {"app": "agent"}});
    null["metadata"]["labels"] = Value::Null;
    null["spec"]["template"]["spec"] = json!({"affinity": null, "tolerations": null, "nodeSelector": null});
    pinned["spec"]["template"]["spec"]["nodeName"] = json!("n1");
    [daemonset(), bare, null, pinned]
});

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let Some((name, settings)) = text.split_once(' ') else { return Corpus::Reject };
    // The host reads settings as YAML and passes them to the module as one JSON object.
    let Ok(settings @ Value::Object(_)) = serde_json::from_str(settings) else { return Corpus::Reject };
    let settings = &settings.to_string();
    match name {
        "default-labels" => check::<DefaultLabels>(settings),
        "default-tolerations" => check::<DefaultTolerations>(settings),
        "node-affinity" => check::<NodeAffinity>(settings),
        "selector-safety" => check::<SelectorSafety>(settings),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

fn check<P: Policy>(text: &str) {
    let checked = Exported::<P>::validate_settings(text.to_owned());
    if let Err(words) = checked {
        assert!(words.contains('`') && words.contains("; "), "expected a name and a fix: {words}");
        return;
    }
    let settings: P::Settings = wardset_policy_sdk::settings::parse(text).expect("accepted settings");
    for object in &*OBJECTS {
        let verdict = evaluate::<P>(object, &settings);
        for change in &verdict.changes {
            let Edit::Add(placed) = &change.edit else { panic!("{change:?} does more than add") };
            let declared = P::MANIFEST.writes.iter().any(|prefix| pointer::is_within(&placed.path, prefix));
            assert!(declared, "a change at `{}`", placed.path);
            assert!(!change.reason.is_empty());
        }
        if verdict.denials.is_empty() {
            let after = testing::apply(object, &verdict.changes).expect("changes that can be applied");
            let again = evaluate::<P>(&after, &settings);
            assert!(again.changes.is_empty() && again.denials.is_empty(), "{again:?} after {verdict:?}");
        }
    }
}

fn evaluate<P: Policy>(object: &Value, settings: &P::Settings) -> Verdict {
    P::evaluate(&testing::review(object), settings)
        .expect("a verdict on a DaemonSet that nothing is wrong with")
}
