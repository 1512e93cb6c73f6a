//! The control plane without a webhook: facts on which all other tests rely.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::nodes;
use crate::support::{Kubectl, Namespace, eventually, example};

#[test]
fn has_seven_ready_nodes() {
    let _nodes = nodes::steady();
    let nodes = Kubectl::new().json(&["get", "nodes"]);
    let ready: BTreeSet<&str> = nodes["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| {
            let conditions = node["status"]["conditions"].as_array().unwrap();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
        .map(|node| node["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        ready,
        BTreeSet::from(["cp-1", "cp-2", "gpu-1", "virtual-1", "worker-1", "worker-2", "worker-3"])
    );
}

#[test]
fn client_and_server_have_the_pinned_version() {
    let version = Kubectl::new().json(&["version"]);
    if std::env::var_os("KUBEBUILDER_ASSETS").is_some_and(|value| !value.is_empty()) {
        eprintln!("not compared: programs from `KUBEBUILDER_ASSETS` have their own version: {version:#}");
        return;
    }
    let minor = std::env::var("WARDSET_E2E_KUBERNETES").unwrap();
    let module = format!("{}/tests/cluster/kubernetes-{minor}/go.mod", env!("CARGO_MANIFEST_DIR"));
    let module = std::fs::read_to_string(module).unwrap();
    let pinned = module
        .lines()
        .find_map(|line| line.strip_prefix("require k8s.io/kubernetes "))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(version["clientVersion"]["gitVersion"], pinned);
    assert_eq!(version["serverVersion"]["gitVersion"], pinned);
}

#[test]
fn daemonset_without_tolerations_runs_only_on_workers() {
    let namespace = Namespace::new("plain");
    let daemonset = example();
    namespace.apply(&daemonset);

    let nodes = eventually(Duration::from_secs(60), "three pods run", || {
        let pods = namespace.json(&["get", "pods"]);
        let running: BTreeSet<String> = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
            .collect();
        if running.len() >= 3 { Ok(running) } else { Err(running) }
    });
    assert_eq!(nodes, BTreeSet::from(["worker-1", "worker-2", "worker-3"].map(str::to_owned)));

    let status = eventually(Duration::from_secs(60), "the DaemonSet counts them", || {
        let status = namespace.json(&["get", "daemonset", "fluentd-agent"])["status"].take();
        if status["numberAvailable"] == 3 { Ok(status) } else { Err(status) }
    });
    assert_eq!(status["desiredNumberScheduled"], 3);
    assert_eq!(status["numberMisscheduled"], 0);

    let table = namespace.succeed(&["get", "daemonset", "--output=wide"]);
    let columns =
        |number: usize| table.lines().nth(number).unwrap().split_whitespace().take(6).collect::<Vec<_>>();
    assert_eq!(columns(0), ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE"]);
    assert_eq!(columns(1), ["fluentd-agent", "3", "3", "3", "3", "3"]);
}

#[test]
fn deleted_pod_of_a_daemonset_is_recreated() {
    let namespace = Namespace::new("comes-back");
    namespace.apply(&example());
    let names = || {
        let pods = namespace.json(&["get", "pods"]);
        let running = pods["items"].as_array().unwrap().iter();
        running
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    let three = |names: BTreeSet<String>| if names.len() == 3 { Ok(names) } else { Err(names) };
    let before = eventually(Duration::from_secs(60), "three pods run", || three(names()));
    let gone = before.first().unwrap();
    namespace.succeed(&["delete", "pod", gone]);
    eventually(Duration::from_secs(60), "three pods run again", || {
        let now = names();
        if now.len() == 3 && !now.contains(gone) { Ok(()) } else { Err(now) }
    });
}

#[test]
fn api_server_refuses_a_selector_that_does_not_match_the_template() {
    let namespace = Namespace::new("refused");
    let mut daemonset = example();
    daemonset["spec"]["selector"]["matchLabels"] = json!({ "another": "label" });
    let words = namespace.refuse(&daemonset);
    assert!(words.contains("`selector` does not match template `labels`"), "{words}");
    let found = namespace.json(&["get", "daemonsets"]);
    assert_eq!(found["items"].as_array().unwrap().len(), 0, "{found:#}");
}
