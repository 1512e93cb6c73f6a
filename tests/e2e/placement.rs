//! DaemonSets of real clusters, exactly as their authors ship them. They are stored, and run on the intended nodes.
//! `WARDSET_CORPUS` names their folder.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::gate::{Gate, Isolation, Setup, workers_only};
use crate::life::words;
use crate::pods::{ALL, WORKERS, WORKERS_AND_GPU};
use crate::support::{Kubectl, Namespace};

/// All nodes on which a pod can run.
const REAL: [&str; 6] = ["cp-1", "cp-2", "gpu-1", "worker-1", "worker-2", "worker-3"];

/// Returns the DaemonSet of a manifest. If there is no folder, prints that and returns nothing.
fn real(file: &str) -> Option<Value> {
    let Some(folder) = std::env::var_os("WARDSET_CORPUS") else {
        // Bypasses the capture of the test runner, because a skipped test must be visible.
        let words = format!("WARDSET_CORPUS is not set: skipped `{file}`\n");
        let _ = std::io::stderr().write_all(words.as_bytes());
        return None;
    };
    let text = std::fs::read_to_string(Path::new(&folder).join(file)).unwrap();
    let mut documents = wardset::yaml::documents::<Value>(&text).unwrap();
    documents.retain(|document| document["kind"] == "DaemonSet");
    Some(documents.remove(0))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Creates an object in another namespace than its author chose. Its pods need their ServiceAccount there.
fn create(namespace: &Namespace, object: &Value) -> crate::support::Run {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.name().into();
    if let Some(account) = object["spec"]["template"]["spec"]["serviceAccountName"].as_str() {
        namespace.succeed(&["create", "serviceaccount", account]);
    }
    namespace.run_with_input(&["create", "--filename=-"], &object.to_string())
}

/// Checks a DaemonSet, such as a network agent, that must run on each node except virtual ones. Returns the original
/// and the stored object.
fn serves_each_node(file: &str) -> Option<(Value, Value)> {
    let object = real(file)?;
    let gate = Gate::shared();
    let namespace = gate.namespace("serves");
    let run = create(&namespace, &object).succeeded();
    // `workers-only` leaves it unchanged, without a warning. So does the exclusion of virtual nodes.
    let shown: Vec<String> = words(&run.stderr)
        .lines()
        .filter(|line| line.starts_with("Warning: workers-only: "))
        .map(str::to_owned)
        .collect();
    assert_eq!(shown, [""; 0], "{}", run.stderr);
    let stored = namespace.settled(name(&object), &REAL);
    assert_eq!(
        stored["spec"]["template"]["spec"]["affinity"]["nodeAffinity"],
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [
            { "key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"] },
            { "key": "type", "operator": "NotIn", "values": ["virtual-kubelet"] },
        ] }] } })
    );
    // They tolerate everything that a default toleration could add.
    let tolerations = |object: &Value| object["spec"]["template"]["spec"]["tolerations"].clone();
    assert_eq!(tolerations(&stored), tolerations(&object));
    Some((object, stored))
}

#[test]
fn kube_proxy_runs_on_each_node_except_virtual_ones() {
    serves_each_node("kube-proxy-kubeadm.yaml");
}

#[test]
fn calico_runs_on_each_node_except_virtual_ones() {
    serves_each_node("calico-node.yaml");
}

#[test]
fn cilium_runs_on_each_node_except_virtual_ones() {
    if let Some((object, stored)) = serves_each_node("cilium.yaml") {
        let anti = |object: &Value| object["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"].clone();
        assert!(anti(&object).is_object());
        assert_eq!(anti(&stored), anti(&object));
    }
}

#[test]
fn kube_proxy_is_unchanged_in_kube_system() {
    let Some(mut object) = real("kube-proxy-kubeadm.yaml") else { return };
    let elsewhere = Namespace::new("untouched");
    create(&elsewhere, &object).succeeded();
    let untouched = elsewhere.settled(name(&object), &ALL);

    let gate = Gate::start(Setup { files: workers_only(), isolation: Isolation::Objects });
    object["metadata"]["labels"][gate.label()] = json!("");
    let mut tried = object.clone();
    tried["metadata"]["namespace"] = json!("kube-system");
    // A stored object would disturb other tests of that namespace.
    let args = ["create", "--dry-run=server", "--output=json", "--filename=-"];
    let run = Kubectl::new().run_with_input(&args, &tried.to_string()).succeeded();
    assert_eq!(run.stderr, "");
    let tried: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(tried["spec"], untouched["spec"]);
    assert_eq!(tried["metadata"]["labels"], object["metadata"]["labels"]);
    let decided = gate.decisions("kube-system");
    assert_eq!(
        decided.iter().map(|one| one.short()).collect::<Vec<_>>(),
        ["mutate create allowed", "validate create allowed"]
    );
    assert!(decided.iter().all(|one| one.policies.is_empty()), "{decided:#?}");
}

#[test]
fn fluentd_is_refused_unless_its_version_selector_is_allowed() {
    let Some(object) = real("fluentd.yaml") else { return };
    assert_eq!(object["spec"]["selector"]["matchLabels"]["version"], "v1");
    let shared = Gate::shared();
    let namespace = shared.namespace("fluentd");
    let words = create(&namespace, &object).failed().stderr;
    assert!(words.contains("policy `selector-safety` at /spec/selector/matchLabels/version: "), "{words}");
    // It tolerates the taint of the old role, which current nodes do not have.
    let elsewhere = Namespace::new("fluentd");
    create(&elsewhere, &object).succeeded();
    elsewhere.settled(name(&object), &WORKERS);

    let mut files = workers_only();
    let safety = files.iter_mut().find(|(name, _)| name == "selector-safety.yaml").unwrap();
    safety.1.extend_from_slice(b"  settings: {allowKeys: [version]}\n");
    let gate = Gate::start(Setup { files, ..Setup::default() });
    let namespace = gate.namespace("fluentd");
    create(&namespace, &object).succeeded();
    let stored = namespace.settled(name(&object), &WORKERS_AND_GPU);
    let tolerations = &stored["spec"]["template"]["spec"]["tolerations"];
    assert_eq!(tolerations[0], object["spec"]["template"]["spec"]["tolerations"][0]);
    assert_eq!(tolerations.as_array().unwrap().len(), 2, "{tolerations:#}");
}
