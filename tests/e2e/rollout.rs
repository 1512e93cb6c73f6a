//! Updates that restart a DaemonSet's pods, and updates that do not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::gate::Gate;
use crate::life::{ADDED, affinity, tolerations, words};
use crate::pods::{WORKERS, WORKERS_AND_GPU, generation};
use crate::support::{Namespace, eventually};

const NEW_IMAGE: &str = "quay.io/fluentd_elasticsearch/fluentd:v4.6.2";

fn image(stored: &Value) -> &str {
    stored["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

fn history(namespace: &Namespace, args: &[&str]) -> String {
    namespace.succeed(&[&["rollout", "history", "ds", "fluentd-agent"], args].concat())
}

#[test]
fn set_image_and_undo_restart_the_pods_and_keep_the_additions() {
    let gate = Gate::shared();
    let namespace = gate.namespace("rollout");
    namespace.succeed(&["apply", "--filename", &namespace.example_file(), "--record"]);
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let first_pods = namespace.pod_names(&first);

    let new = format!("fluentd={NEW_IMAGE}");
    let run = namespace.run(&["set", "image", "ds", "fluentd-agent", &new, "--record"]).succeeded();
    assert_eq!((&*run.stdout, &*words(&run.stderr)), ("daemonset.apps/fluentd-agent image updated\n", ""));
    let status = namespace.succeed(&["rollout", "status", "ds", "fluentd-agent", "--timeout=60s"]);
    assert!(status.ends_with("daemon set \"fluentd-agent\" successfully rolled out\n"), "{status}");
    let second = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!((generation(&second), image(&second)), (2, NEW_IMAGE));
    assert!(namespace.pod_names(&second).is_disjoint(&first_pods));
    assert_eq!(namespace.revisions(), [1, 2]);
    let shown = history(&namespace, &[]);
    let causes: Vec<&str> = shown.lines().skip(2).map(|line| line.trim()).collect();
    assert!(causes[0].starts_with("1         kubectl apply "), "{shown}");
    assert!(
        causes[1].starts_with(&format!("2         kubectl set image ds fluentd-agent {new} ")),
        "{shown}"
    );
    let shown = history(&namespace, &["--revision=2"]);
    assert!(shown.contains(&format!("Image:\t{NEW_IMAGE}\n")), "{shown}");
    assert!(shown.contains("Tolerations:\tnvidia.com/gpu:NoSchedule op=Exists\n"), "{shown}");

    let run = namespace.run(&["rollout", "undo", "ds", "fluentd-agent", "--to-revision=1"]).succeeded();
    assert_eq!(run.stdout, "daemonset.apps/fluentd-agent rolled back\n");
    let third = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!((generation(&third), &third["spec"]["template"]), (3, &first["spec"]["template"]));
    // The revision is the first one under a new number, because the templates are equal byte for byte.
    assert_eq!(namespace.revisions(), [2, 3]);

    let updates: Vec<String> =
        gate.decisions(namespace.name())[2..].iter().map(|decided| decided.short()).collect();
    let update = ["mutate update allowed", "validate update allowed"];
    assert_eq!(updates, [update, update].concat());
}

#[test]
fn restart_replaces_each_pod_and_keeps_the_additions() {
    let gate = Gate::shared();
    let namespace = gate.namespace("restart");
    namespace.succeed(&["create", "--filename", &namespace.example_file()]);
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let first_pods = namespace.pod_names(&first);
    let restarted = namespace.succeed(&["rollout", "restart", "ds", "fluentd-agent"]);
    assert_eq!(restarted, "daemonset.apps/fluentd-agent restarted\n");
    let mut second = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(generation(&second), 2);
    assert!(namespace.pod_names(&second).is_disjoint(&first_pods));
    let annotations =
        second["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations").unwrap();
    assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string(), "{annotations:#}");
    assert_eq!(second["spec"]["template"]["spec"], first["spec"]["template"]["spec"]);
}

#[test]
fn labels_and_annotations_of_the_object_restart_no_pods() {
    let gate = Gate::shared();
    let namespace = gate.namespace("metadata");
    namespace.succeed(&["create", "--filename", &namespace.example_file()]);
    let first = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    let pods = namespace.pod_names(&first);
    let labelled = namespace.succeed(&["label", "ds", "fluentd-agent", "team=platform"]);
    assert_eq!(labelled, "daemonset.apps/fluentd-agent labeled\n");
    let annotated = namespace.succeed(&["annotate", "ds", "fluentd-agent", "note=x"]);
    assert_eq!(annotated, "daemonset.apps/fluentd-agent annotated\n");
    // If the author removes a policy's addition, the policy adds it again.
    namespace.succeed(&["label", "ds", "fluentd-agent", "app.kubernetes.io/component-"]);
    let second = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(
        second["metadata"]["labels"],
        json!({ "k8s-app": "fluentd-agent", "app.kubernetes.io/component": "node-agent", "team": "platform" })
    );
    assert_eq!(second["metadata"]["annotations"]["note"], "x");
    assert_eq!((generation(&second), namespace.revisions()), (1, vec![1]));
    assert_eq!(namespace.pod_names(&second), pods);
}

#[test]
fn older_object_keeps_its_template_until_its_author_changes_it() {
    let gate = Gate::shared();
    let namespace = Namespace::new("before");
    namespace.succeed(&["create", "--filename", &namespace.example_file()]);
    let first = namespace.settled("fluentd-agent", &WORKERS);
    let pods = namespace.pod_names(&first);
    namespace.succeed(&["label", "namespace", namespace.name(), &format!("{}=", gate.label())]);
    eventually(Duration::from_secs(30), "Wardset reviews the namespace", || {
        namespace.succeed(&["annotate", "ds", "fluentd-agent", "now=yes", "--dry-run=server"]);
        let decided = gate.decisions(namespace.name());
        if decided.is_empty() { Err(decided) } else { Ok(()) }
    });

    let held_back = gate.metric("wardset_template_held_back_total");
    namespace.succeed(&["annotate", "ds", "fluentd-agent", "now=yes"]);
    let second = namespace.settled("fluentd-agent", &WORKERS);
    assert_eq!(second["metadata"]["labels"]["app.kubernetes.io/component"], "node-agent");
    assert_eq!(second["spec"], first["spec"]);
    assert_eq!((generation(&second), namespace.revisions()), (1, vec![1]));
    assert_eq!(namespace.pod_names(&second), pods);
    let decided = gate.decisions(namespace.name());
    let last = decided.iter().rfind(|decided| decided.webhook == "mutate").unwrap();
    assert_eq!(last.short(), "mutate update allowed /metadata/labels/app.kubernetes.io~1component");
    // The built-in policies do not request changes that the gate would drop.
    assert_eq!(gate.metric("wardset_template_held_back_total"), held_back);

    // After the first change of the template, the object is treated as a new one.
    namespace.succeed(&["set", "image", "ds", "fluentd-agent", &format!("fluentd={NEW_IMAGE}")]);
    let third = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(third["spec"]["template"]["spec"]["affinity"], affinity());
    assert_eq!(third["spec"]["template"]["spec"]["tolerations"], tolerations());
    let decided = gate.decisions(namespace.name());
    let last = decided.iter().rfind(|decided| decided.webhook == "mutate").unwrap();
    assert_eq!(last.patch, ADDED.split_once(',').unwrap().1);

    // An undo to a revision without the additions changes the template too.
    namespace.succeed(&["rollout", "undo", "ds", "fluentd-agent", "--to-revision=1"]);
    let fourth = namespace.settled("fluentd-agent", &WORKERS_AND_GPU);
    assert_eq!(image(&fourth), image(&first));
    assert_eq!(fourth["spec"]["template"]["spec"]["affinity"], affinity());
    assert_eq!(namespace.revisions(), [1, 2, 3]);
}
