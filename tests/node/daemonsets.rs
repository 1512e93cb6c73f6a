//! DaemonSets that Wardset reviews, and their pods on the node.

use serde_json::{Value, json};

use crate::installed::{Installed, LIMIT, NAMESPACE, example, ready};
use crate::kubectl::eventually;

#[test]
fn pod_of_a_changed_daemonset_runs() {
    let installed = Installed::get();
    let given = example();
    assert_eq!(given["spec"]["template"]["spec"].get("affinity"), None);
    installed.try_apply(&given, &[]).succeeded();
    let stored = installed.kubectl.json(&["-n", NAMESPACE, "get", "daemonset", "fluentd-agent"]);
    // The default policies enforce `exclude-virtual-nodes`.
    let affinity = &stored["spec"]["template"]["spec"]["affinity"]["nodeAffinity"];
    assert!(affinity.is_object(), "{stored:#}");
    let pod = eventually(LIMIT, "its pod is ready", || {
        let mut pods =
            installed.kubectl.json(&["-n", NAMESPACE, "get", "pods", "--selector=k8s-app=fluentd-agent"]);
        let pods: Vec<Value> = std::mem::take(pods["items"].as_array_mut().unwrap());
        match &pods[..] {
            [pod] if ready(pod) => Ok(pod.clone()),
            other => Err(other.iter().map(|pod| pod["status"].clone()).collect::<Vec<_>>()),
        }
    });
    assert_eq!(pod["spec"]["nodeName"], "real-1");
    assert!(pod["status"]["containerStatuses"][0]["state"]["running"].is_object(), "{pod:#}");
    installed.kubectl.succeed(&["-n", NAMESPACE, "delete", "daemonset", "fluentd-agent"]);
}

#[test]
fn api_server_refuses_a_daemonset_that_a_replica_denies() {
    let installed = Installed::get();
    let mut object = example();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        object.pointer_mut(labels).unwrap()["version"] = json!("v1");
    }
    let refused = installed.try_apply(&object, &[]).failed().stderr;
    assert!(
        refused.contains("admission webhook \"daemonsets.wardset.dev\" denied the request: ")
            && refused.contains("selector-safety"),
        "{refused}"
    );
}
