//! The nodes of a DaemonSet after `node-affinity`, computed by an oracle that does not know the policy. The result must
//! be exactly those of the author's nodes that the settings allow. `tests/e2e/generated.rs` compares the oracle with
//! the real controller.

pub(crate) mod oracle;
pub(crate) mod worlds;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use wardset_core::decision::Outcome;
use wardset_placement::{KubernetesVersion, Node, PodSpec};

use crate::dice::Dice;
use crate::support::{self, patched};
use oracle::{name, reached};

const SEED: u64 = 0x91ace;

/// Counts of outcomes, which show that the generator covers all cases.
#[derive(Debug, Default)]
struct Seen {
    narrowed: usize,
    same: usize,
    conflict: usize,
    exempt: usize,
    nowhere: usize,
}

#[tokio::test]
async fn reaches_exactly_the_nodes_that_author_and_settings_allow() {
    let settings = json!({
        "workersOnly": true, "excludeVirtualNodes": true, "onConflict": "deny", "nodeInfrastructure": "restrict",
        "require": [{"key": "example.com/disk", "operator": "NotIn", "values": ["hdd"]}],
    });
    let patient = "  limits: {timeout: 10s}";
    let snapshot =
        support::snapshot(&support::policy("placement", "node-affinity", &settings, patient)).await;
    let mut seen = Seen::default();
    for world in 0..45 {
        let mut dice = Dice::new(SEED, world);
        let names: Vec<String> = (0..25).map(|n| format!("node-{n}")).collect();
        let nodes: Vec<Value> = names.iter().map(|name| worlds::node(&mut dice, name)).collect();
        for n in 0..12 {
            let object = worlds::daemonset(&mut dice, &format!("agent-{n}"), &names);
            let decision = support::decide(&snapshot, &object, None).await;
            let before = reached(&object, &nodes);
            let allowed = |workers: bool| -> BTreeSet<String> {
                let left =
                    nodes.iter().filter(|node| is_left(node, workers)).map(|node| name(node).to_owned());
                left.filter(|name| before.contains(name)).collect()
            };
            let said = |words: &str| decision.warnings.iter().any(|warning| warning.contains(words));
            let noted = |words: &str| {
                decision
                    .reports
                    .iter()
                    .flat_map(|report| report.notes())
                    .any(|note| note.message.contains(words))
            };
            let title = format!("world {world}: {object}\n{:?}", decision.warnings);
            if matches!(decision.outcome, Outcome::Denied { .. }) {
                assert_eq!(
                    allowed(true),
                    BTreeSet::new(),
                    "denied although the settings allow a node in {title}"
                );
                seen.conflict += 1;
                continue;
            }
            assert_eq!(decision.outcome, Outcome::Allowed, "{title}");
            let after = reached(&patched(&object, &decision), &nodes);
            if said("matches no node, so the policy left it alone") {
                assert_eq!((&before, decision.patch.len()), (&BTreeSet::new(), 0), "{title}");
                seen.nowhere += 1;
            } else if said("pins the pods to one node") {
                assert_eq!((&after, decision.patch.len()), (&before, 0), "{title}");
            } else if noted("left alone by `workersOnly`") {
                assert_eq!(after, allowed(false), "{title}");
                seen.exempt += 1;
            } else {
                assert_eq!(after, allowed(true), "{title}");
                if after == before { seen.same += 1 } else { seen.narrowed += 1 }
            }
        }
    }
    let Seen { narrowed, same, conflict, exempt, nowhere } = seen;
    assert!([narrowed, same, conflict, exempt, nowhere].iter().all(|count| *count >= 5), "{seen:?}");
}

/// The crate that the host and the policies share must agree with the oracle about each pair of DaemonSet and node.
#[test]
fn the_shared_crate_decides_as_the_oracle_does() {
    let (mut runs, mut stays_off) = (0, 0);
    for world in 0..300 {
        let mut dice = Dice::new(SEED, world);
        let names: Vec<String> = (0..12).map(|n| format!("node-{n}")).collect();
        let nodes: Vec<Value> = names.iter().map(|name| worlds::node(&mut dice, name)).collect();
        for n in 0..8 {
            let object = worlds::daemonset(&mut dice, &format!("agent-{n}"), &names);
            let pod = PodSpec::deserialize(&object["spec"]["template"]["spec"]).unwrap();
            let expected = reached(&object, &nodes);
            for node in &nodes {
                let typed = Node::deserialize(node).unwrap();
                let placement = pod.on(&typed, KubernetesVersion::NEWEST);
                let reasons = placement.reasons();
                assert_eq!(
                    placement.runs(),
                    expected.contains(name(node)),
                    "world {world}: {object} on {node}: {reasons:?}"
                );
                if placement.runs() { runs += 1 } else { stays_off += 1 }
            }
        }
    }
    assert!(runs > 1000 && stays_off > 1000, "{runs} pairs run, {stays_off} do not");
}

/// Returns whether the settings allow a node, as their documentation describes.
fn is_left(node: &Value, workers: bool) -> bool {
    let label = |key: &str| node["metadata"]["labels"].get(key).and_then(Value::as_str);
    let is_control_plane = label("node-role.kubernetes.io/control-plane").is_some()
        || label("node-role.kubernetes.io/master").is_some()
        || label("node-role.kubernetes.io/controlplane").is_some();
    let is_virtual = label("type") == Some("virtual-kubelet")
        || label("eks.amazonaws.com/compute-type") == Some("fargate");
    let excluded = is_virtual || (workers && is_control_plane) || label("example.com/disk") == Some("hdd");
    !excluded
}

#[test]
fn each_version_with_known_rules_has_programs_to_test_it_with() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    let pinned: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str()?.strip_prefix("kubernetes-").map(str::to_owned)
        })
        .collect();
    let known = (0..100).filter_map(|minor| format!("1.{minor}").parse::<KubernetesVersion>().ok());
    assert_eq!(pinned, known.map(|version| version.to_string()).collect());
}
