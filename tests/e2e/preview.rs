//! Placement on a real control plane: the warnings of `kubectl apply`, and `wardset place --cluster`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::installed::Installed;
use crate::pods::{ALL, WORKERS};
use crate::support::{Namespace, Run, eventually};

fn daemon_set(pod: Value) -> Value {
    let mut pod = pod;
    pod["containers"] = json!([{ "name": "agent", "image": "registry.example.com/agent:1" }]);
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "agent" },
        "spec": { "selector": { "matchLabels": { "app": "agent" } },
            "template": { "metadata": { "labels": { "app": "agent" } }, "spec": pod } },
    })
}

/// Returns the warnings, as kubectl prints them.
fn warnings(run: &Run) -> Vec<String> {
    let lines = run.stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
    lines.map(str::to_owned).collect()
}

/// Runs `wardset place` with the kubeconfig of the test.
fn place(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wardset")).arg("place").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn authors_read_which_nodes_refuse_a_daemon_set_and_which_lose_it() {
    let installed = Installed::apply();
    let _server = installed.serve();
    installed.bundles_written("");
    installed
        .apply_policy(&json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": "placement" },
            "spec": { "module": "builtin:default-labels", "warnPlacement": true,
                "settings": { "labels": { "team": "agents" } } },
        }))
        .succeeded();
    installed.policy_is("placement", "True", "InForce");
    let namespace = Namespace::new("preview");
    installed.review_namespace(namespace.name());

    let on_workers = [
        "runs on 3 of 7 nodes; 2 control-plane nodes refuse it: taint node-role.kubernetes.io/control-plane:NoSchedule",
        "1 node: taint ",
        "1 for other reasons",
    ];
    let created = eventually(Duration::from_secs(30), "the warning of a create", || {
        let run = namespace.run_with_input(
            &["create", "--dry-run=server", "--filename=-"],
            &daemon_set(json!({})).to_string(),
        );
        let found = warnings(&run);
        if found.iter().any(|warning| warning.starts_with("runs on")) { Ok(found) } else { Err(run.stderr) }
    });
    assert_eq!(created.len(), 1, "{created:?}");
    for part in on_workers {
        assert!(created[0].contains(part), "expected {part} in {created:?}");
    }
    namespace.apply(&daemon_set(json!({})));
    namespace.settled("agent", &WORKERS);

    // An update that changes no node says nothing.
    let mut labelled = daemon_set(json!({}));
    labelled["metadata"]["annotations"] = json!({ "example.com/owner": "x" });
    assert_eq!(warnings(&namespace.apply(&labelled)), Vec::<String>::new());

    let everywhere = json!({ "tolerations": [{ "operator": "Exists" }] });
    assert_eq!(warnings(&namespace.apply(&daemon_set(everywhere))), ["runs on 7 of 7 nodes (before: 3)"]);
    namespace.settled("agent", &ALL);

    let only = json!({ "tolerations": [{ "operator": "Exists" }],
        "nodeSelector": { "kubernetes.io/hostname": "worker-1" } });
    let narrowed = warnings(&namespace.apply(&daemon_set(only.clone())));
    assert_eq!(narrowed.len(), 2, "{narrowed:?}");
    assert!(narrowed[0].starts_with("runs on 1 of 7 nodes (before: 7); "), "{narrowed:?}");
    assert_eq!(
        narrowed[1],
        "Kubernetes deletes the pods on 6 of these nodes at once; maxUnavailable does not limit it"
    );
    namespace.settled("agent", &["worker-1"]);

    // The command line reads the same cluster.
    let title = format!("{}/agent", namespace.name());
    let matrix = place(&["--cluster"]);
    assert!(matrix.lines().any(|line| line.starts_with(&title)), "{matrix}");
    let wider = namespace
        .file("wider.json", &daemon_set(json!({ "tolerations": [{ "operator": "Exists" }] })).to_string());
    let policy = json!({ "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": "labels" },
        "spec": { "module": "builtin:default-labels", "settings": { "labels": { "team": "agents" } } } });
    let policy = namespace.file("policy.json", &policy.to_string());
    let arguments =
        ["--filename", &wider, "--cluster", "--namespace", namespace.name(), "--policies", &policy];
    let table = place(&arguments);
    assert!(table.contains("runs on 7 of 7 nodes"), "{table}");
    assert!(table.contains("6 pods created at once"), "{table}");
    assert!(table.contains("rolling restart of 1 pod"), "{table}");
}
