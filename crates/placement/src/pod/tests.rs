//! The oracle knows neither the types nor the text of requirements. Each part of a generated pod comes from a table,
//! which has its meaning beside its text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A node of the oracle: its name, the value of its label `k`, and its taints as key, value and effect.
#[derive(Clone, Debug)]
struct Spot {
    name: &'static str,
    label: Option<&'static str>,
    taints: Vec<TaintFacts>,
}

type TaintFacts = (&'static str, &'static str, &'static str);
type OfNode = (&'static str, fn(&Spot) -> bool);
type OfTaint = (&'static str, fn(TaintFacts) -> bool);

const NAMES: [OfNode; 3] = [("\"\"", |_| true), ("\"n1\"", |spot| spot.name == "n1"), ("\"n3\"", |_| false)];

const SELECTORS: [OfNode; 4] = [
    ("{}", |_| true),
    (r#"{"k":"x"}"#, |spot| spot.label == Some("x")),
    (r#"{"k":""}"#, |spot| spot.label == Some("")),
    (r#"{"k":"x","other":"x"}"#, |_| false),
];

const TERMS: [OfNode; 8] = [
    ("{}", |_| false),
    (r#"{"matchExpressions":[{"key":"k","operator":"In","values":["x","7"]}]}"#, |spot| {
        matches!(spot.label, Some("x" | "7"))
    }),
    (r#"{"matchExpressions":[{"key":"k","operator":"NotIn","values":["x"]}]}"#, |spot| {
        spot.label != Some("x")
    }),
    (r#"{"matchExpressions":[{"key":"k","operator":"Gt","values":["6"]}]}"#, |spot| spot.label == Some("7")),
    (r#"{"matchExpressions":[{"key":"k","operator":"Lt","values":["6"]}]}"#, |_| false),
    (r#"{"matchExpressions":[{"key":"k","operator":"DoesNotExist"}]}"#, |spot| spot.label.is_none()),
    (r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}"#, |spot| {
        spot.name == "n1"
    }),
    (
        r#"{"matchExpressions":[{"key":"k","operator":"Exists"}],
            "matchFields":[{"key":"metadata.name","operator":"NotIn","values":["n1"]}]}"#,
        |spot| spot.label.is_some() && spot.name == "n2",
    ),
];

const TOLERATIONS: [OfTaint; 8] = [
    (r#"{"operator":"Exists"}"#, |_| true),
    (r#"{"operator":"Exists","effect":"NoExecute"}"#, |(_, _, effect)| effect == "NoExecute"),
    (r#"{"key":"t","operator":"Exists"}"#, |(key, _, _)| key == "t"),
    (r#"{"key":"t","operator":"Exists","effect":"NoSchedule"}"#, |(key, _, effect)| {
        key == "t" && effect == "NoSchedule"
    }),
    (r#"{"key":"t","operator":"Equal","value":"v"}"#, |(key, value, _)| key == "t" && value == "v"),
    (r#"{"key":"t"}"#, |(key, value, _)| key == "t" && value.is_empty()),
    (r#"{"key":"t","value":"v","effect":"NoExecute","tolerationSeconds":0}"#, |taint| {
        taint == ("t", "v", "NoExecute")
    }),
    (r#"{"key":"t","operator":"Lt","value":"9"}"#, |_| false),
];

const TAINTS: [TaintFacts; 9] = [
    ("t", "v", "NoSchedule"),
    ("t", "v", "NoExecute"),
    ("t", "v", "PreferNoSchedule"),
    ("t", "", "NoSchedule"),
    ("u", "", "NoExecute"),
    ("node.kubernetes.io/not-ready", "", "NoExecute"),
    ("node.kubernetes.io/not-ready", "", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "", "NoSchedule"),
];

/// The taints that each pod tolerates, and those that pods in the host network tolerate too.
fn is_automatic(taint: TaintFacts, host_network: bool) -> bool {
    match taint {
        ("node.kubernetes.io/not-ready", _, "NoExecute")
        | ("node.kubernetes.io/unschedulable", _, "NoSchedule") => true,
        ("node.kubernetes.io/network-unavailable", _, "NoSchedule") => host_network,
        _ => false,
    }
}

fn spots() -> impl Strategy<Value = Spot> {
    (
        prop::sample::select(vec!["n1", "n2"]),
        prop::sample::select(vec![None, Some(""), Some("x"), Some("7")]),
        prop::collection::vec(prop::sample::select(TAINTS.to_vec()), 0..3),
    )
        .prop_map(|(name, label, taints)| Spot { name, label, taints })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn node(spot: &Spot) -> Value {
    let taints: Vec<Value> = spot
        .taints
        .iter()
        .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect, "timeAdded": "now"}))
        .collect();
    let labels = spot.label.map_or_else(|| json!({}), |label| json!({"k": label}));
    json!({"metadata": {"name": spot.name, "labels": labels}, "spec": {"taints": taints, "podCIDR": "10.0.0.0/24"}})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn runs_and_continues_exactly_as_the_parts_mean(
        spot in spots(),
        name in prop::sample::select(NAMES.to_vec()),
        selector in prop::sample::select(SELECTORS.to_vec()),
        terms in prop::option::of(prop::collection::vec(prop::sample::select(TERMS.to_vec()), 0..3)),
        tolerations in prop::collection::vec(prop::sample::select(TOLERATIONS.to_vec()), 0..3),
        host_network in any::<bool>(),
    ) {
        let mut pod = json!({
            "nodeName": parse(name.0), "nodeSelector": parse(selector.0), "hostNetwork": host_network,
            "tolerations": tolerations.iter().map(|(text, _)| parse(text)).collect::<Vec<_>>(),
            "containers": [{"name": "agent"}],
        });
        if let Some(terms) = &terms {
            let terms: Vec<Value> = terms.iter().map(|(text, _)| parse(text)).collect();
            pod["affinity"]["nodeAffinity"] =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        }
        let node = node(&spot);
        let is_selected = name.1(&spot)
            && selector.1(&spot)
            && terms.is_none_or(|terms| terms.iter().any(|(_, selects)| selects(&spot)));
        let tolerates_all = |effects: &[&str]| {
            spot.taints.iter().filter(|taint| effects.contains(&taint.2)).all(|taint| {
                is_automatic(*taint, host_network) || tolerations.iter().any(|(_, tolerates)| tolerates(*taint))
            })
        };

        let pod_spec = PodSpec::deserialize(&pod).expect("a pod spec");
        let typed = Node::deserialize(&node).expect("a node");
        let placement = pod_spec.on(&typed, KubernetesVersion::NEWEST);
        let context = format!("{pod}\non {node}: {:?}", placement.reasons());
        prop_assert_eq!(placement.runs(), is_selected && tolerates_all(&["NoSchedule", "NoExecute"]), "{}", context);
        prop_assert_eq!(placement.continues(), is_selected && tolerates_all(&["NoExecute"]), "{}", context);
        prop_assert_eq!(placement.runs(), placement.reasons().is_empty());
    }
}

#[test]
fn gives_every_reason_with_the_values_that_differ() {
    let pod = json!({
        "nodeName": "n2",
        "nodeSelector": {"disk": "ssd", "zone": "a"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [
                {"key": "disk", "operator": "In", "values": ["hdd"]},
                {"key": "gpu", "operator": "Exists"},
            ]},
            {},
        ]}}},
    });
    let node = json!({
        "metadata": {"name": "n1", "labels": {"disk": "hdd"}},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}, {"key": "soft", "effect": "PreferNoSchedule"}]},
    });
    let (pod, node) = (PodSpec::deserialize(&pod).unwrap(), Node::deserialize(&node).unwrap());
    let gpu = Requirement::new("gpu", super::super::Operator::Exists, &[]);
    let placement = pod.on(&node, KubernetesVersion::NEWEST);
    assert_eq!(
        placement.reasons(),
        [
            Reason::NodeName { wanted: "n2" },
            Reason::NodeSelector { key: "disk", wanted: "ssd", found: Some("hdd") },
            Reason::NodeSelector { key: "zone", wanted: "a", found: None },
            Reason::Affinity { unmet: vec![vec![&gpu], vec![]] },
            Reason::Taint(&Taint::new("gpu", "", "NoSchedule")),
        ]
    );
    assert!(!placement.continues());
}

#[test]
fn a_pod_that_runs_survives_no_schedule_and_leaves_at_no_execute() {
    let pod = PodSpec::default();
    let tainted = |effect| Node { taints: vec![Taint::new("t", "", effect)], ..Node::default() };
    let answer = |effect| {
        let node = tainted(effect);
        let placement = pod.on(&node, KubernetesVersion::NEWEST);
        (placement.runs(), placement.continues())
    };
    assert_eq!(answer("PreferNoSchedule"), (true, true));
    assert_eq!(answer("NoSchedule"), (false, true));
    assert_eq!(answer("NoExecute"), (false, false));
}

#[test]
fn required_affinity_without_terms_matches_no_node() {
    let pod = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}});
    let (pod, node) = (PodSpec::deserialize(&pod).unwrap(), Node::default());
    assert_eq!(pod.on(&node, KubernetesVersion::NEWEST).reasons(), [Reason::Affinity { unmet: vec![] }]);
}

/// Pod templates of all parts above.
fn pods() -> impl Strategy<Value = Value> {
    (
        prop::sample::select(NAMES.to_vec()),
        prop::sample::select(SELECTORS.to_vec()),
        prop::option::of(prop::collection::vec(prop::sample::select(TERMS.to_vec()), 0..3)),
        prop::collection::vec(prop::sample::select(TOLERATIONS.to_vec()), 0..3),
    )
        .prop_map(|(name, selector, terms, tolerations)| {
            let mut pod = json!({
                "nodeName": parse(name.0), "nodeSelector": parse(selector.0),
                "tolerations": tolerations.iter().map(|(text, _)| parse(text)).collect::<Vec<_>>(),
            });
            if let Some(terms) = terms {
                let terms: Vec<Value> = terms.iter().map(|(text, _)| parse(text)).collect();
                pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!({"nodeSelectorTerms": terms});
            }
            pod
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_toleration_never_removes_a_node(pod in pods(), spot in spots(), added in prop::sample::select(TOLERATIONS.to_vec())) {
        let (node, pod) = (node(&spot), PodSpec::deserialize(&pod).expect("a pod spec"));
        let node = Node::deserialize(&node).expect("a node");
        let mut more = pod.clone();
        let added = parse(added.0);
        more.tolerations.push(Toleration::deserialize(&added).expect("a toleration"));
        for version in [KubernetesVersion::NEWEST, KubernetesVersion::NEWEST.with_numeric_tolerations()] {
            let (before, after) = (pod.on(&node, version), more.on(&node, version));
            prop_assert!(!before.runs() || after.runs());
            prop_assert!(!before.continues() || after.continues());
        }
    }

    #[test]
    fn a_requirement_in_each_term_never_adds_a_node(pod in pods(), spot in spots(), value in prop::sample::select(vec!["x", "7", ""])) {
        let (node, pod) = (node(&spot), PodSpec::deserialize(&pod).expect("a pod spec"));
        let node = Node::deserialize(&node).expect("a node");
        let mut narrower = pod.clone();
        let required = narrower.affinity.as_mut().and_then(|affinity| affinity.node_affinity.as_mut()?.required.as_mut());
        for term in required.into_iter().flat_map(|required| &mut required.node_selector_terms) {
            if !term.is_empty() {
                term.match_expressions.push(Requirement::new("k", super::super::Operator::In, &[value]));
            }
        }
        let version = KubernetesVersion::NEWEST;
        prop_assert!(pod.on(&node, version).runs() || !narrower.on(&node, version).runs());
    }

    #[test]
    fn the_remedy_brings_the_pods_to_the_node_and_is_empty_if_they_run(pod in pods(), spot in spots()) {
        let (node, pod) = (node(&spot), PodSpec::deserialize(&pod).expect("a pod spec"));
        let node = Node::deserialize(&node).expect("a node");
        let version = KubernetesVersion::NEWEST;
        let remedy = super::super::Remedy::find(&pod, &node, version);
        prop_assert_eq!(remedy.is_empty(), pod.on(&node, version).runs());
        prop_assert!(remedy.apply(&pod).on(&node, version).runs(), "{:?}", remedy);
    }
}

#[test]
fn numeric_tolerations_need_the_feature_gate() {
    let pod =
        json!({"tolerations": [{"key": "tier", "operator": "Gt", "value": "5", "effect": "NoSchedule"}]});
    let pod = PodSpec::deserialize(&pod).expect("a pod spec");
    let gated = KubernetesVersion::NEWEST.with_numeric_tolerations();
    for (value, expected) in
        [("6", true), ("5", false), ("-9", false), ("06", false), ("x", false), ("", false)]
    {
        let node = Node { taints: vec![Taint::new("tier", value, "NoSchedule")], ..Node::default() };
        assert!(!pod.on(&node, KubernetesVersion::NEWEST).runs(), "{value}");
        assert_eq!(pod.on(&node, gated).runs(), expected, "{value}");
    }
}

#[test]
fn a_reason_is_one_line_and_names_the_closest_term() {
    let pod = json!({
        "nodeSelector": {"gpu": "true"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x", "y"]}]},
        ]}}},
    });
    let pod = PodSpec::deserialize(&pod).expect("a pod spec");
    let node = Node { taints: vec![Taint::new("t", "v", "NoExecute")], ..Node::default() };
    let reason = pod.on(&node, KubernetesVersion::NEWEST).reason();
    assert_eq!(
        reason.as_deref(),
        Some("nodeSelector gpu=true; affinity zone In [x, y] (term 2 of 2); taint t=v:NoExecute")
    );
}

#[test]
fn the_line_of_reasons_is_short_for_a_template_of_any_size() {
    let requirement = |n| json!({"key": format!("key-{n:04}"), "operator": "Exists"});
    let terms = json!([{"matchExpressions": (0..1000).map(requirement).collect::<Vec<_>>()}]);
    let selector: serde_json::Map<_, _> = (0..1000).map(|n| (format!("label-{n:04}"), json!("x"))).collect();
    let required = json!({"nodeSelectorTerms": terms});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    let line = |pod: Value| {
        let node = Node::default();
        let pod = PodSpec::deserialize(&pod).expect("a pod");
        pod.on(&node, KubernetesVersion::NEWEST).reason().expect("a reason")
    };
    let long = line(json!({"affinity": affinity}));
    assert!(long.starts_with("affinity key-0000 Exists and key-0001") && long.ends_with('…'), "{long}");
    assert!(long.len() < 500, "{}", long.len());
    let many = line(json!({"nodeSelector": selector}));
    assert!(many.ends_with("nodeSelector label-0005=x; 994 more"), "{many}");
}
