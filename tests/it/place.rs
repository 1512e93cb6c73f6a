//! `wardset place`, as people and scripts use it. The answers for single nodes are compared with the oracle in
//! `placement.rs`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::placement::oracle::reached;
use crate::support;

const NODES: &str = "examples/placement/nodes.yaml";
const EXPORTER: &str = "examples/placement/gpu-exporter.yaml";

/// Files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, object: &Value) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, object.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn place(arguments: &[&str]) -> (i32, String, String) {
    let output = support::wardset(&[&["place"], arguments].concat(), "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn node(name: &str, labels: Value, taints: Value, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": status}]}})
}

fn daemon_set(image: &str, pod: Value) -> Value {
    let mut pod = pod;
    pod["containers"] =
        json!([{"name": "agent", "image": image, "ports": [{"containerPort": 9100, "hostPort": 9100}]}]);
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "monitoring"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": pod}}})
}

fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A folder of policies that change nothing about placement.
fn no_policy(files: &Files) -> String {
    let policy = json!({"apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "label"},
        "spec": {"module": "builtin:default-labels", "settings": {"labels": {"team": "x"}}}});
    files.write("policy.json", &policy)
}

#[test]
fn a_new_user_goes_from_no_pods_to_the_toleration_that_helps() {
    let (code, table, errors) = place(&["-f", EXPORTER, "--nodes", NODES]);
    assert_eq!((code, &*errors), (0, ""));
    assert!(table.contains("runs on 0 of 12 nodes"), "{table}");
    assert!(table.contains("taint nvidia.com/gpu:NoSchedule"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let (code, explained, _) = place(&["-f", EXPORTER, "--nodes", NODES, "--node", "gpu-4"]);
    assert_eq!(code, 0);
    let (_, toleration) = explained.split_once("add to spec.template.spec:\n").unwrap();

    // The printed YAML is ready to paste.
    let pasted: String = toleration.lines().map(|line| format!("{line}\n")).collect();
    let manifest = std::fs::read_to_string(EXPORTER).unwrap() + &pasted;
    let files = Files::new();
    let path = files.0.path().join("fixed.yaml");
    std::fs::write(&path, manifest).unwrap();
    let (code, table, errors) = place(&["-f", path.to_str().unwrap(), "--nodes", NODES]);
    assert_eq!((code, &*errors), (0, ""), "{pasted}");
    assert!(table.contains("runs on 4 of 12 nodes"), "{table}");
}

#[test]
fn the_json_has_each_node_before_and_after_the_policies() {
    let files = Files::new();
    let policy = json!({"apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "gpu"},
        "spec": {"module": "builtin:default-tolerations",
            "settings": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}}});
    let policy = files.write("policy.json", &policy);
    let (code, text, _) = place(&["-f", EXPORTER, "--nodes", NODES, "--policies", &policy, "-o", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &found["namespace"], &found["name"]),
        (0, &json!("monitoring"), &json!("gpu-exporter"))
    );
    assert_eq!(found["kubernetesVersion"], "1.37");
    let gpu = found["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "gpu-1").unwrap();
    let taint = json!({"runs": false, "continues": true, "reason": "taint nvidia.com/gpu:NoSchedule"});
    assert_eq!(gpu["before"], taint);
    assert_eq!(gpu["after"], json!({"runs": true, "continues": true, "reason": null}));
    assert_eq!(found["blastRadius"]["created"], 4);
    assert_eq!(
        found["pools"].as_array().unwrap().iter().map(|pool| pool["nodes"].as_u64().unwrap()).sum::<u64>(),
        12
    );
}

#[test]
fn the_answers_are_those_of_the_oracle() {
    use crate::dice::Dice;
    use crate::placement::worlds;
    let files = Files::new();
    let policy = no_policy(&files);
    let mut dice = Dice::new(0x91ace, 7);
    let names: Vec<String> = (0..30).map(|n| format!("node-{n}")).collect();
    let nodes: Vec<Value> = names.iter().map(|name| worlds::node(&mut dice, name)).collect();
    let objects: Vec<Value> =
        (0..40).map(|n| worlds::daemonset(&mut dice, &format!("agent-{n:02}"), &names)).collect();
    let nodes_file = files.write("nodes.json", &list(nodes.clone()));
    let file = files.write("daemonsets.json", &list(objects.clone()));
    let (code, text, errors) =
        place(&["-f", &file, "--nodes", &nodes_file, "--policies", &policy, "-o", "json"]);
    assert_eq!((code, &*errors), (0, ""));
    let found: Value = serde_json::from_str(&text).unwrap();
    let mut runs = 0;
    for (object, found) in objects.iter().zip(found.as_array().unwrap()) {
        let expected = reached(object, &nodes);
        let nodes = found["nodes"].as_array().unwrap().iter();
        let there: std::collections::BTreeSet<String> = nodes
            .filter(|node| node["after"]["runs"] == true)
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(there, expected, "{object:#}");
        runs += there.len();
    }
    assert!(runs > 100, "{runs}");
}

#[test]
fn an_update_tells_the_pods_that_are_deleted_and_exits_1_if_asked() {
    let files = Files::new();
    let policy = no_policy(&files);
    let nodes: Vec<Value> = (0..6)
        .map(|n| node(&format!("n{n}"), json!({"disk": if n < 2 { "ssd" } else { "hdd" }}), json!([]), true))
        .collect();
    let stored = daemon_set("agent:1", json!({}));
    let cluster = files.write("cluster.json", &list([nodes, vec![stored.clone()]].concat()));
    let new = files.write("new.json", &daemon_set("agent:1", json!({"nodeSelector": {"disk": "ssd"}})));
    let arguments = ["-f", &new, "--nodes", &cluster, "--policies", &policy];
    let (code, table, _) = place(&arguments);
    assert_eq!(code, 0);
    assert!(table.contains("4 pods deleted at once, on nodes that no longer match"), "{table}");
    assert!(table.contains("rolling restart of 2 pods, 1 at a time (maxUnavailable), in 2 steps"), "{table}");
    assert_eq!(place(&[&arguments[..], &["--fail-on", "shrink"]].concat()).0, 1);
    assert_eq!(place(&[&arguments[..], &["--fail-on", "zero"]].concat()).0, 0);

    let nowhere =
        files.write("nowhere.json", &daemon_set("agent:1", json!({"nodeSelector": {"disk": "tape"}})));
    let arguments = ["-f", &nowhere, "--nodes", &cluster, "--policies", &policy, "--fail-on", "zero"];
    assert_eq!(place(&arguments).0, 1);

    let same = files.write("same.json", &stored);
    let (code, table, _) =
        place(&["-f", &same, "--nodes", &cluster, "--policies", &policy, "--fail-on", "zero,shrink"]);
    assert_eq!(code, 0);
    assert!(table.contains("metadata only: no pod restarts"), "{table}");
}

#[test]
fn pods_and_conditions_show_a_rollout_that_cannot_finish() {
    let files = Files::new();
    let policy = no_policy(&files);
    let nodes = (0..5).map(|n| node(&format!("n{n}"), json!({}), json!([]), n > 1));
    let pod = |n: usize, owner: &str, ready: bool| {
        let status = if ready { "True" } else { "False" };
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{owner}-{n}"), "namespace": "monitoring",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "controller": true}]},
            "spec": {"nodeName": format!("n{n}"), "containers": [{"name": "a"}]},
            "status": {"phase": "Running", "conditions":
                [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let pods = (0..5).map(|n| pod(n, "agent", n > 1));
    let mut items: Vec<Value> = nodes.chain(pods).chain([daemon_set("agent:1", json!({}))]).collect();
    let cluster = files.write("cluster.json", &list(items.clone()));
    let new = files.write("new.json", &daemon_set("agent:2", json!({})));
    let (code, table, _) = place(&["-f", &new, "--nodes", &cluster, "--policies", &policy]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert!(
        lines.contains(&"the rollout cannot finish: maxUnavailable (1) is used up by 2 nodes not Ready"),
        "{table}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("2 pods replaced at once, because they are not")),
        "{table}"
    );

    // All nodes are Ready. One pod is being deleted.
    for node in &mut items[..2] {
        node["status"]["conditions"][0]["status"] = "True".into();
    }
    for (ends, is_stuck) in [("2026-01-01T00:00:00Z", true), ("2999-01-01T00:00:00Z", false)] {
        items[5]["metadata"]["deletionTimestamp"] = ends.into();
        let cluster = files.write("cluster.json", &list(items.clone()));
        let table = place(&["-f", &new, "--nodes", &cluster, "--policies", &policy]).1;
        let words = "cannot finish: maxUnavailable (1) is used up by 1 node whose old pod does not end";
        let text = table.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text.contains(words), is_stuck, "{table}");
    }
}

#[test]
fn a_matrix_shows_the_pools_that_lack_a_daemon_set() {
    let (code, text, _) = place(&["--nodes", NODES, "--nodes", "examples/placement/daemonsets.yaml"]);
    assert_eq!(code, 0);
    let row = |name: &str| {
        text.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(row("kube-system/cni")[1..], ["runs", "runs", "runs"]);
    assert_eq!(row("logging/log-agent")[1..], ["runs", "taint", "runs"]);
    assert_eq!(row("monitoring/gpu-exporter")[1..], ["selector+taint", "taint", "selector"]);
    // The toleration is ready to paste. It is left out if the pods need another change as well.
    let pasted = "    to run there, append to spec.template.spec.tolerations:\n      - key: nvidia.com/gpu\n        \
                  operator: Exists\n        effect: NoSchedule\n";
    let (control_plane, gpu) = text.split_once("\ngpu").unwrap();
    assert!(gpu.contains(pasted), "{text}");
    assert!(!control_plane.contains("to run there"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn each_bad_input_has_an_error_that_names_it() {
    let files = Files::new();
    let nodes = files.write("nodes.json", &list(vec![node("n1", json!({}), json!([]), true)]));
    let twice = files.write(
        "twice.json",
        &list(vec![node("n1", json!({}), json!([]), true), node("n1", json!({}), json!([]), true)]),
    );
    let wrong = files.write(
        "wrong.json",
        &list(vec![node("n1", json!({}), json!([{"key": 5, "effect": "NoSchedule"}]), true)]),
    );
    let empty = files.write("empty.json", &list(vec![]));
    let unnamed = files.write("unnamed.json", &json!({"apiVersion": "v1", "kind": "Node", "metadata": {}}));
    let mistyped = files.write("mistyped.json", &daemon_set("a", json!({"hostNetwork": "yes"})));
    let policy = no_policy(&files);
    let mut odd = daemon_set("a", json!({}));
    odd["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": "5"}});
    let odd = files.write("odd.json", &odd);
    let text_item = files.write("text-item.json", &list(vec![json!("n1")]));
    let top_list = files.write("top-list.json", &json!([node("n1", json!({}), json!([]), true)]));
    let mut listed = node("n1", json!({}), json!([]), true);
    listed["spec"] = json!([true]);
    let listed = files.write("listed.json", &listed);
    let positional =
        files.write("positional.json", &daemon_set("a", json!({"tolerations": [["gpu", "Exists"]]})));
    for (arguments, expected) in [
        (
            vec!["-f", EXPORTER],
            "expected nodes, found neither `--nodes` nor `--cluster`; hint: `--cluster` reads those of the current \
             kubeconfig, and `--nodes FILE` those that `kubectl get nodes -o yaml` wrote",
        ),
        (vec![], "expected nodes, found neither `--nodes` nor `--cluster`"),
        (
            vec!["-f", EXPORTER, "--nodes", &text_item],
            "expected an object in `items[0]` of the List, found a single value",
        ),
        (vec!["-f", EXPORTER, "--nodes", &top_list], "expected a Kubernetes object, found a list"),
        (
            vec!["-f", EXPORTER, "--nodes", &listed],
            "failed to read Node `n1`: `spec`: expected a mapping, found a list",
        ),
        (
            vec!["-f", &positional, "--nodes", &nodes, "--policies", &policy],
            "`spec.template.spec.tolerations[0]`: expected a mapping, found a list",
        ),
        (vec!["-f", EXPORTER, "--nodes", "no/such/file"], "failed to read `no/such/file`"),
        (vec!["-f", EXPORTER, "--nodes", &empty], "expected objects of kind Node, found none"),
        (vec!["-f", EXPORTER, "--nodes", &twice], "Node `n1` occurs twice"),
        (
            vec!["-f", EXPORTER, "--nodes", &wrong],
            "failed to read Node `n1`: `spec.taints[0].key`: invalid type: integer `5`, expected a string",
        ),
        (vec!["-f", EXPORTER, "--nodes", &unnamed], "expected a name in `metadata.name` of the Node"),
        (
            vec!["-f", EXPORTER, "--nodes", &nodes, "--node", "n2"],
            "no node `n2`; hint: there are 1 nodes, such as n1",
        ),
        (
            vec!["-f", EXPORTER, "--nodes", &nodes, "--kubernetes-version", "1.99"],
            "expected a version from 1.34 to 1.37",
        ),
        (vec!["--nodes", &nodes], "expected DaemonSets, found none"),
        (vec!["-f", "-", "--nodes", "-"], "`-`, standard input, can be read once"),
        (
            vec!["-f", EXPORTER, "--nodes", &nodes, "--old-nodes", NODES],
            "`--old-nodes` has the node `control-1`, which `--nodes` lacks",
        ),
        (
            vec!["-f", &odd, "--nodes", &nodes, "--policies", &policy],
            "`spec.updateStrategy.rollingUpdate.maxUnavailable`: expected a whole number, 0 or more, or a percentage from `0%` to `100%`",
        ),
        (
            vec!["-f", &mistyped, "--nodes", &nodes, "--policies", &policy],
            "`spec.template.spec.hostNetwork`: invalid type: string \"yes\", expected a boolean",
        ),
    ] {
        let (code, out, errors) = place(&arguments);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: expected {expected}, found {errors}");
    }
}

#[test]
fn two_files_of_nodes_show_what_a_taint_does_to_running_pods() {
    let files = Files::new();
    let policy = no_policy(&files);
    let nodes = |effect: Option<&str>| {
        let taints = |n: usize| match effect {
            Some(effect) if n < 2 => json!([{"key": "maintenance", "effect": effect}]),
            _ => json!([]),
        };
        list((0..5).map(|n| node(&format!("n{n}"), json!({}), taints(n), true)).collect())
    };
    let agent = files.write("agent.json", &daemon_set("agent:1", json!({})));
    let before = files.write("before.json", &nodes(None));
    for (effect, deleted) in [("NoExecute", true), ("NoSchedule", false)] {
        let after = files.write("after.json", &nodes(Some(effect)));
        let arguments = ["-f", &agent, "--old-nodes", &before, "--nodes", &after, "--policies", &policy];
        let (code, table, errors) = place(&arguments);
        assert_eq!((code, &*errors), (0, ""));
        assert!(table.contains("runs on 3 of 5 nodes, 5 before the change of the nodes"), "{table}");
        assert_eq!(table.contains("2 pods deleted at once"), deleted, "{table}");
        assert_eq!(table.contains("keeps"), !deleted, "{table}");
        assert_eq!(table.contains("2 pods stay, but nothing replaces them"), !deleted, "{table}");
    }
}

#[test]
fn a_port_of_another_daemon_set_keeps_pods_pending_and_the_status_is_explained() {
    let files = Files::new();
    let policy = no_policy(&files);
    let nodes = (0..4).map(|n| {
        let taints = if n == 3 { json!([{"key": "t", "effect": "NoSchedule"}]) } else { json!([]) };
        node(&format!("n{n}"), json!({}), taints, true)
    });
    let pod = |n: usize, owner: &str, port: u32| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{owner}-{n}"), "namespace": "monitoring",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "controller": true}]},
            "spec": {"nodeName": format!("n{n}"), "hostNetwork": true,
                "containers": [{"name": "a", "ports": [{"containerPort": port}]}]}})
    };
    let pods = [pod(0, "node-exporter", 9100), pod(1, "agent", 9100), pod(3, "agent", 9100)];
    let cluster = files.write("cluster.json", &list(nodes.chain(pods).collect()));
    let agent = files.write("agent.json", &daemon_set("agent:1", json!({})));
    let arguments = ["-f", &agent, "--nodes", &cluster, "--policies", &policy];
    let (code, table, errors) = place(&arguments);
    assert_eq!((code, &*errors), (0, ""));
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert!(
        lines.contains(&"1 pod stays Pending: monitoring/node-exporter uses host port 9100/TCP on n0"),
        "{table}"
    );
    assert!(lines.contains(&"status now: desired 3, current 1, misscheduled 1"), "{table}");
    let (_, text, _) = place(&[&arguments[..], &["-o", "json"]].concat());
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["nodes"][0]["pending"], "monitoring/node-exporter uses host port 9100/TCP");
    assert_eq!(found["status"], json!({"desired": 3, "current": 1, "misscheduled": 1}));
}

#[test]
fn a_daemon_set_of_a_removed_version_is_named_and_a_check_of_nothing_fails() {
    let files = Files::new();
    let old = json!({"apiVersion": "extensions/v1beta1", "kind": "DaemonSet", "metadata": {"name": "old"}});
    let old = files.write("old.json", &old);
    let (code, _, errors) = place(&["-f", &old, "--nodes", NODES]);
    assert_eq!(code, 0);
    assert!(errors.contains("Kubernetes 1.16 removed it; hint: write `apiVersion: apps/v1`"), "{errors}");
    assert_eq!(place(&["-f", &old, "--nodes", NODES, "--fail-on", "zero"]).0, 2);
}

#[test]
fn a_refused_object_has_no_effect_and_one_line_with_the_reason() {
    let files = Files::new();
    let mut object = daemon_set("agent:1", json!({}));
    object["spec"]["selector"]["matchLabels"]["version"] = json!("1");
    object["spec"]["template"]["metadata"]["labels"]["version"] = json!("1");
    let file = files.write("agent.json", &object);
    let (code, table, errors) = place(&["-f", &file, "--nodes", NODES]);
    assert_eq!(code, 1);
    assert!(errors.starts_with("monitoring/agent: refused: policy `selector-safety`"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(table.contains("no effect: a policy refuses the object"), "{table}");
    let (_, explained, _) = place(&["-f", &file, "--nodes", NODES, "--node", "worker-1"]);
    assert!(explained.starts_with("A policy refuses the object. As written:\n"), "{explained}");
}
