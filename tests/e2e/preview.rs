//! Placement on a real control plane: the warnings of `kubectl apply`, and `wardset place --cluster`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::installed::{Installed, Server};
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

    // An update that changes no node adds no warning.
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

fn daemon_set_of(image: &str, pod: Value) -> Value {
    let mut object = daemon_set(pod);
    object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    object
}

/// Installs Wardset with one policy, and returns a namespace that it reviews.
fn with_policy(installed: &Installed, name: &str, spec: Value) -> (Server, Namespace) {
    let server = installed.serve();
    installed.bundles_written("");
    let policy = json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": { "name": name }, "spec": spec,
    });
    installed.apply_policy(&policy).succeeded();
    installed.policy_is(name, "True", "InForce");
    let namespace = Namespace::new("guarded");
    installed.review_namespace(namespace.name());
    (server, namespace)
}

#[test]
fn the_guard_refuses_an_update_that_leaves_no_node_until_its_author_accepts_it() {
    let installed = Installed::apply();
    let spec = json!({ "module": "builtin:placement-guard", "clusterData": ["nodes"],
        "limits": { "timeout": "2s" }, "settings": { "shrink": { "percent": 50 } } });
    let (server, namespace) = with_policy(&installed, "guard", spec);
    let nowhere = daemon_set(json!({ "nodeSelector": { "disk": "ssd" } }));
    // Until the server knows the nodes and the API server asks it, the policy says nothing.
    let refused = eventually(Duration::from_secs(30), "the denial of a new object without nodes", || {
        let create = ["create", "--dry-run=server", "--filename=-"];
        let run = namespace.run_with_input(&create, &nowhere.to_string());
        if run.stderr.contains("none of 7 nodes") { Ok(run.stderr) } else { Err(run.stderr) }
    });
    assert!(
        refused.contains("policy `guard` at /spec/template/spec: it runs on none of 7 nodes; "),
        "{refused}"
    );

    namespace.apply(&daemon_set(json!({})));
    namespace.settled("agent", &WORKERS);
    let refused = namespace.refuse(&nowhere);
    eprintln!("{refused}");
    assert!(refused.contains("it would run on none of 7 nodes (now 3); "), "{refused}");
    let annotation = refused.split("add the annotation `").nth(1).and_then(|rest| rest.split('`').next());
    let (key, value) = annotation.and_then(|text| text.split_once(": ")).expect("an annotation");
    namespace.settled("agent", &WORKERS);

    // Two thirds of the nodes are more than the half.
    let one = daemon_set(json!({ "nodeSelector": { "kubernetes.io/hostname": "worker-1" } }));
    let refused = namespace.refuse(&one);
    assert!(
        refused.contains("it would lose 2 of 3 nodes, and Kubernetes deletes 2 pods at once"),
        "{refused}"
    );

    let mut accepted = nowhere.clone();
    accepted["metadata"]["annotations"] = json!({ key: value.trim_matches('"') });
    namespace.apply(&accepted);
    namespace.settled("agent", &[]);
    eventually(Duration::from_secs(30), "the metric of DaemonSets without nodes", || {
        let found = server.metric("wardset_daemonsets_without_nodes");
        if found.is_some_and(|found| found >= 1.0) { Ok(()) } else { Err(found) }
    });

    // The annotation accepts this selection of nodes only.
    namespace.apply(&daemon_set(json!({})));
    namespace.settled("agent", &WORKERS);
    let mut other = daemon_set(json!({ "nodeSelector": { "disk": "nvme" } }));
    other["metadata"]["annotations"] = accepted["metadata"]["annotations"].clone();
    assert!(namespace.refuse(&other).contains("it would run on none of 7 nodes"));
}

#[test]
fn node_affinity_never_removes_the_last_node() {
    let installed = Installed::apply();
    let spec = json!({ "module": "builtin:node-affinity", "clusterData": ["nodes"], "limits": { "timeout": "2s" },
        "settings": { "require": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] } });
    let (_server, namespace) = with_policy(&installed, "narrow", spec);
    let run = eventually(Duration::from_secs(30), "the warning about the last node", || {
        let create = ["create", "--dry-run=server", "--output=json", "--filename=-"];
        let run = namespace.run_with_input(&create, &daemon_set(json!({})).to_string());
        if run.stderr.contains("no node of this cluster would be left") { Ok(run) } else { Err(run) }
    });
    let stored: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(stored["spec"]["template"]["spec"]["affinity"], Value::Null);
}

#[test]
fn an_undo_to_a_revision_that_ran_passes_with_a_warning() {
    let installed = Installed::apply();
    let namespace = Namespace::new("undo");
    // The first revision is older than the rule.
    namespace.apply(&daemon_set_of("registry.example.com/agent:1", json!({})));
    namespace.settled("agent", &WORKERS);
    let image = "object.spec.template.spec.containers.all(c, !c.image.endsWith(':1'))";
    let spec = json!({ "module": "builtin:cel", "limits": { "timeout": "2s" },
        "settings": { "validations": [{ "expression": image, "message": "the image is too old" }] } });
    let (_server, other) = with_policy(&installed, "images", spec);
    installed.review_namespace(namespace.name());
    eventually(Duration::from_secs(30), "a review", || {
        let create = ["create", "--dry-run=server", "--filename=-"];
        let run = other.run_with_input(&create, &daemon_set(json!({})).to_string());
        if run.stderr.contains("the image is too old") { Ok(()) } else { Err(run.stderr) }
    });
    namespace.apply(&daemon_set_of("registry.example.com/agent:2", json!({})));
    namespace.settled("agent", &WORKERS);

    let edited = namespace.refuse(&daemon_set_of("registry.example.com/other:1", json!({})));
    assert!(edited.contains("the image is too old"), "{edited}");
    let undone = namespace.run(&["rollout", "undo", "ds", "agent"]).succeeded();
    assert_eq!(undone.stdout, "daemonset.apps/agent rolled back\n");
    let expected = "images: allowed as a rollback to revision 1: the image is too old";
    assert!(undone.stderr.contains(expected), "{}", undone.stderr);
    let stored = namespace.settled("agent", &WORKERS);
    assert_eq!(stored["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example.com/agent:1");
}
